// @ts-check
/** How the commands of a segment are laid out: their parameters, one slot each, and their grids. */
import { ModelError } from "./model_error.js";

const PARAMETER_SLOT = 256;

/**
 * @param {readonly import("./recorded.js").RecordedDispatch[]} commands
 * @param {GPUSupportedLimits} limits
 */
export function layOut(commands, limits) {
  const slots = new Uint32Array(commands.length);
  const grids = new Uint32Array(2 * commands.length);
  let bytes = 0;
  commands.forEach(({ parameters, groups }, i) => {
    slots[i] = bytes;
    bytes += Math.ceil(4 * parameters.length / PARAMETER_SLOT) * PARAMETER_SLOT;
    const most = limits.maxComputeWorkgroupsPerDimension;
    const rows = Math.ceil(groups / most);
    if (rows > most) {
      throw new ModelError("device", `Cannot run the model: ${groups} workgroups are too many.`);
    }
    grids[2 * i] = Math.ceil(groups / rows);
    grids[2 * i + 1] = rows;
  });
  const parameters = new Int32Array(bytes / 4);
  commands.forEach((command, i) => parameters.set(command.parameters, Number(slots[i]) / 4));
  /** @type {number[]} */
  const external = [];
  commands.forEach((command, i) => {
    if (command.tensors.some((tensor) => tensor.external >= 0)) external.push(i);
  });
  return { slots, grids, parameters, external };
}
