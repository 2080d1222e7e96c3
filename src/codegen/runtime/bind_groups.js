// @ts-check
/**
 * The bind groups of segments, kept for as long as the buffers that they bind. Fewer are kept of those
 * with buffers that are not the model's own.
 */
import { roundedBytes } from "./memory.js";

/**
 * @typedef {import("../module.ts").ModuleTables} ModuleTables
 * @typedef {import("./execute.js").Location} Location
 * @typedef {import("./execute.js").PreparedSegment} PreparedSegment
 * @typedef {import("./execute.js").SegmentRun} SegmentRun
 * @typedef {import("./recorded.js").RecordedDispatch} RecordedDispatch
 * @typedef {import("./recorded.js").RecordedTensor} RecordedTensor
 */

/** Bind groups that are kept before all are made anew. */
const KEPT_BIND_GROUPS = 8192;
/** The same for those with buffers that are not the model's own. */
const KEPT_EXTERNAL_GROUPS = 512;

/** Makes and keeps bind groups. */
export class BindGroups {
  /** @type {Map<string, GPUBindGroup>} */
  #groups = new Map();
  /** @type {Map<string, GPUBindGroup>} */
  #externalGroups = new Map();
  /** @type {WeakMap<GPUBuffer, number>} */
  #externalIds = new WeakMap();
  #generation = 0;
  #ids = 0;
  #device;
  #tables;
  #made;
  #locate;

  /**
   * @param {GPUDevice} device
   * @param {ModuleTables} tables
   * @param {import("./pipelines.js").MadePipelines} made
   * @param {(tensor: RecordedTensor, run: SegmentRun) => Location} locate where a tensor lies
   */
  constructor(device, tables, made, locate) {
    this.#device = device;
    this.#tables = tables;
    this.#made = made;
    this.#locate = locate;
  }

  /**
   * Finds or makes the bind groups of a segment.
   * @param {PreparedSegment} prepared
   * @param {SegmentRun} run
   * @param {GPUBuffer | null} parameters the buffer of all parameters
   */
  resolve(prepared, run, parameters) {
    if (this.#groups.size > KEPT_BIND_GROUPS) this.forget();
    if (this.#externalGroups.size > KEPT_EXTERNAL_GROUPS) this.#externalGroups.clear();
    if (prepared.generation !== this.#generation) {
      prepared.generation = this.#generation;
      prepared.groups = prepared.segment.commands.map((command) =>
        this.#group(command, run, parameters)
      );
    } else {
      for (const i of prepared.external) {
        const command = prepared.segment.commands[i];
        if (command === undefined) throw new RangeError(`command ${i}`);
        prepared.groups[i] = this.#group(command, run, parameters);
      }
    }
  }

  /** Forgets all that were made: buffers have changed. */
  forget() {
    this.#groups.clear();
    this.#externalGroups.clear();
    this.#generation++;
  }

  /**
   * @param {RecordedDispatch} command
   * @param {SegmentRun} run
   * @param {GPUBuffer | null} buffer of all parameters
   * @returns {GPUBindGroup}
   */
  #group(command, run, buffer) {
    const { pipeline, tensors, parameters } = command;
    const layout = this.#made.layouts[pipeline];
    let key = `${layout?.id}`;
    let external = false;
    for (const tensor of tensors) {
      if (tensor.kind === "weight") key += `,w${tensor.index}`;
      else if (tensor.external < 0) {
        const place = tensor.place;
        key += `,${place?.bin}:${place?.offset}:${tensor.bytes}`;
      } else {
        external = true;
        key += `,x${this.#externalId(run.externals[tensor.external])}:${tensor.bytes}`;
      }
    }
    const groups = external ? this.#externalGroups : this.#groups;
    const known = groups.get(key);
    if (known !== undefined) return known;
    /** @type {GPUBindGroupEntry[]} */
    const entries = [];
    if (parameters.length > 0 && buffer !== null) {
      const size = roundedBytes(4 * parameters.length, 16);
      entries.push({ binding: 0, resource: { buffer, size } });
    }
    const letters = [...(this.#tables.pipelines[pipeline]?.bindings ?? "")];
    const bindings = letters.flatMap((letter, i) => letter === "." ? [] : i + 1);
    tensors.forEach((tensor, i) => {
      const location = this.#locate(tensor, run);
      const size = roundedBytes(tensor.bytes, 16);
      entries.push({ binding: Number(bindings[i]), resource: { ...location, size } });
    });
    if (!layout) throw new RangeError(`pipeline ${pipeline}`);
    const made = this.#device.createBindGroup({ layout: layout.layout, entries });
    groups.set(key, made);
    return made;
  }

  /** @param {GPUBuffer | null | undefined} buffer */
  #externalId(buffer) {
    if (!buffer) throw new RangeError("an external buffer is missing");
    let id = this.#externalIds.get(buffer);
    if (id === undefined) this.#externalIds.set(buffer, id = ++this.#ids);
    return id;
  }
}
