/** How far a module's outputs are from ONNX Runtime's. */
import type { GpuOutput, HostOutput } from "../../src/codegen/module.ts";
import { type HostTensor, toFloat64 } from "../../src/verify/values.ts";

/** The worst relative L2 error of an output that the two have. */
export function difference(
  ours: Readonly<Record<string, HostOutput | GpuOutput>>,
  expected: ReadonlyMap<string, HostTensor>,
): number {
  let worst = 0;
  for (const [name, tensor] of expected) {
    const output = ours[name];
    if (output === undefined || !("data" in output)) throw new Error(`no output "${name}"`);
    const given = toFloat64(tensor);
    let [errors, squares] = [0, 0];
    given.forEach((value, index) => {
      errors += (Number(output.data[index]) - value) ** 2;
      squares += value ** 2;
    });
    worst = Math.max(worst, Math.sqrt(errors / Math.max(squares, Number.MIN_VALUE)));
  }
  return worst;
}
