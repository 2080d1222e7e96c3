// @ts-check
/**
 * What the generated program calls: it records a run's commands up to a sync point or the end, and
 * when each tensor is first and last touched. Nothing here touches the GPU.
 */
import { ModelError, quoted } from "./model_error.js";
import { RecordedTensor } from "./recorded.js";
import { KernelSelection, LEAST_ABILITIES } from "./selection.js";

/**
 * @typedef {import("../module.ts").ModuleTables} ModuleTables
 * @typedef {import("../module.ts").Storage} Storage
 * @typedef {import("../module.ts").SyncPoint} SyncPoint
 * @typedef {import("./recorded.js").RecordedDispatch} RecordedDispatch
 * @typedef {import("./recorded.js").RecordedSegment} RecordedSegment
 *
 * @typedef {object} RunContext what the recorder knows of a run
 * @property {readonly (readonly number[])[]} dims of each input
 * @property {(input: number) => ArrayLike<number>} host
 * @property {readonly boolean[]} external inputs that are bound where they are
 * @property {readonly (ModelError | null)[]} [refusals] why inputs can't be on the GPU
 * @property {number} maxBinding bytes of the largest binding
 * @property {KernelSelection} [selection] by default what every device can do
 *
 * @typedef {object} OpenChoice a kernel of a run whose best candidate is not known
 * @property {number} kernel
 * @property {readonly number[]} sizes
 * @property {readonly RecordedTensor[]} tensors
 * @property {number[]} parameters
 */

/** Dispatches between two sync points at most: a loop may go on for any number of turns. */
const MOST_COMMANDS = 2 ** 17;

/** Implements `Recorder` of module.ts. */
export class ProgramRecorder {
  /** Whether the program read host values that its table does not announce. */
  readsHost = false;
  /** @type {({ tensor: RecordedTensor, dims: number[] } | null)[]} */
  outputs;
  /** Choices that tuning is to make, by their keys. @type {Map<string, OpenChoice>} */
  open = new Map();
  /** @type {RecordedDispatch[]} */
  #commands = [];
  /** @type {RecordedTensor[]} */
  #tensors = [];
  /** @type {RecordedTensor[]} */
  #inputs = [];
  /** @type {RecordedTensor[]} */
  #weights = [];
  #segment = 0;
  #tables;
  #context;
  #selection;

  /**
   * @param {ModuleTables} tables
   * @param {RunContext} context
   */
  constructor(tables, context) {
    this.#tables = tables;
    this.#context = context;
    this.#selection = context.selection ??
      new KernelSelection(tables.kernels, LEAST_ABILITIES, false);
    this.outputs = tables.outputs.map(() => null);
  }

  /** @param {number} input */
  dims(input) {
    return [...(this.#context.dims[input] ?? [])];
  }

  /** @param {number} input */
  host(input) {
    if (!this.#tables.inputs[input]?.host) this.readsHost = true;
    return this.#context.host(input);
  }

  /**
   * @param {number} input
   * @returns {RecordedTensor}
   */
  input(input) {
    const known = this.#inputs[input];
    if (known !== undefined) return known;
    const dims = this.#context.dims[input];
    if (dims === undefined) throw wrong(`there is no input ${input}`);
    const refusal = this.#context.refusals?.[input];
    if (refusal) throw refusal;
    const tensor = new RecordedTensor("input", input, 4 * dims.reduce((a, b) => a * b, 1));
    this.#limit(tensor.bytes, `input ${quoted(String(this.#tables.inputs[input]?.name))}`);
    if (this.#context.external[input]) tensor.external = input;
    tensor.kept = true;
    tensor.segment = -1;
    this.#inputs[input] = tensor;
    return tensor;
  }

  /**
   * @param {number} index
   * @returns {RecordedTensor}
   */
  weight(index) {
    const known = this.#weights[index];
    if (known !== undefined) return known;
    const row = this.#tables.weights.tensors[index];
    if (row === undefined) throw wrong(`there is no weight ${index}`);
    return this.#weights[index] = new RecordedTensor("weight", index, row[2]);
  }

  /**
   * @param {number} bytes
   * @param {string} [label] what it is of, for errors
   * @returns {RecordedTensor}
   */
  tensor(bytes, label) {
    if (!(bytes >= 0)) throw wrong(`a tensor has ${bytes} bytes`);
    this.#limit(bytes, label && `the result of ${label}`);
    const tensor = new RecordedTensor("activation", -1, bytes);
    tensor.segment = -1;
    return tensor;
  }

  /**
   * @param {number} value
   * @param {string} label
   * @returns {number}
   */
  extent(value, label) {
    if (Number.isSafeInteger(value) && value >= 0) return value;
    throw new ModelError(
      "input",
      `Cannot run the model on these inputs: a dimension of ${label} comes to ${value}.`,
    );
  }

  /**
   * @param {ArrayLike<number>} values
   * @param {Storage} storage
   * @returns {RecordedTensor}
   */
  upload(values, storage) {
    const tensor = new RecordedTensor("upload", -1, 4 * values.length);
    this.#limit(tensor.bytes);
    tensor.segment = -1;
    tensor.values = storage === "f32"
      ? Float32Array.from(values)
      : storage === "i32"
      ? Int32Array.from(values)
      : Uint32Array.from(values);
    return tensor;
  }

  /**
   * @param {number} pipeline
   * @param {RecordedTensor[]} tensors
   * @param {number[]} parameters
   * @param {number} groups
   */
  dispatch(pipeline, tensors, parameters, groups) {
    const table = this.#tables.pipelines[pipeline];
    if (table === undefined) throw wrong(`there is no pipeline ${pipeline}`);
    const where = `pipeline ${pipeline} (${table.label})`;
    if (!(groups >= 0)) throw wrong(`${where} has ${groups} groups`);
    checkCounts(table, where, tensors, parameters);
    if (groups === 0) return;
    const large = parameters.find((parameter) => parameter !== (parameter | 0));
    if (large !== undefined) {
      throw new ModelError(
        "input",
        `Cannot run the model on these inputs: ${table.label} counts to ${large}, and GPUs count ` +
          "in 32 bits. Run it on smaller inputs.",
      );
    }
    const at = this.#commands.length;
    if (at === MOST_COMMANDS) {
      throw new ModelError(
        "input",
        `Cannot run the model on these inputs: it takes more than ${MOST_COMMANDS} dispatches in a ` +
          `row; the next is of ${table.label}. Run it on smaller inputs.`,
      );
    }
    const bound = tensors.filter((_, i) => table.bindings[i] !== ".");
    const letters = table.bindings.replaceAll(".", "");
    for (let i = 0; i < bound.length; i++) {
      const tensor = bound[i];
      if (tensor === undefined) throw wrong(`${where}: tensor ${i} is missing`);
      const weight = tensor.kind === "weight";
      if (weight !== (letters[i] === "w")) {
        throw wrong(`${where}: tensor ${i} is ${weight ? "a" : "no"} weight`);
      }
      if (weight) continue;
      if (bound.indexOf(tensor) < i) throw wrong(`${where} has one tensor twice`);
      this.#touch(tensor, at);
    }
    this.#commands.push({ pipeline, tensors: bound, parameters, groups });
  }

  /**
   * @param {number} kernel
   * @param {RecordedTensor[]} tensors
   * @param {number[]} parameters
   */
  kernel(kernel, tensors, parameters) {
    const table = this.#tables.kernels[kernel];
    if (table === undefined) throw wrong(`there is no kernel ${kernel}`);
    checkCounts(table, `kernel ${kernel} (${table.label})`, tensors, parameters);
    const sizes = table.sizes.map((size) =>
      typeof size === "number" ? size : Number(parameters[size[0]])
    );
    const { index, open } = this.#selection.choose(kernel, sizes);
    if (open !== null) this.open.set(open, { kernel, sizes, tensors, parameters });
    this.candidate(kernel, index, tensors, parameters, sizes);
  }

  /**
   * Records the passes of one candidate of a kernel.
   * @param {number} kernel
   * @param {number} index
   * @param {RecordedTensor[]} tensors
   * @param {number[]} parameters
   * @param {readonly number[]} sizes
   */
  candidate(kernel, index, tensors, parameters, sizes) {
    const candidate = this.#tables.kernels[kernel]?.candidates[index];
    if (candidate === undefined) throw wrong(`kernel ${kernel} has no candidate ${index}`);
    const { variant: { passes, between }, pipelines } = candidate;
    const bound = between === undefined
      ? tensors
      : [...tensors, this.tensor(4 * tileCount(between, sizes))];
    const groups = passes.map(({ tiles, share }) => Math.ceil(tileCount(tiles, sizes) / share));
    // Where there is nothing to store there is nothing to prepare for it either.
    if (groups[groups.length - 1] === 0) return;
    groups.forEach((count, pass) => {
      this.dispatch(Number(pipelines[pass]), bound, parameters, count);
    });
  }

  /**
   * @param {number} index
   * @param {RecordedTensor} tensor
   * @param {number[]} dims
   */
  output(index, tensor, dims) {
    const table = this.#tables.outputs[index];
    if (table === undefined) throw wrong(`there is no output ${index}`);
    const bytes = 4 * dims.reduce((a, b) => a * b, 1);
    if (tensor.bytes < bytes) {
      throw wrong(`output ${index} of ${bytes} bytes has a tensor of ${tensor.bytes}`);
    }
    tensor.kept = true;
    this.outputs[index] = { tensor, dims };
  }

  /**
   * @param {string} message
   * @returns {never}
   */
  fail(message) {
    throw new ModelError("input", `Cannot run the model: ${message}`);
  }

  /**
   * Ends a segment at a sync point, or, with none, at the end of the program.
   * @param {SyncPoint | null} sync
   * @returns {RecordedSegment}
   */
  cut(sync) {
    const end = this.#commands.length;
    const reads = (sync?.read ?? []).map(({ tensor, storage, count }) => {
      const recorded = asRecorded(tensor);
      if (4 * count > recorded.bytes) throw wrong(`${count} elements of ${recorded.bytes} bytes`);
      return { tensor: recorded, storage, count };
    });
    if (sync === null) {
      for (let i = 0; i < this.outputs.length; i++) {
        const output = this.outputs[i];
        if (!output) throw wrong(`output ${i} was not made`);
        if (output.tensor.kind !== "weight") this.#touch(output.tensor, end);
      }
    }
    for (const { tensor } of reads) if (tensor.kind !== "weight") this.#touch(tensor, end);
    /** @type {Set<RecordedTensor>} */
    const live = new Set();
    for (const tensor of sync?.live ?? []) live.add(asRecorded(tensor));
    const segment = { commands: this.#commands, tensors: this.#tensors, reads };
    this.#segment++;
    this.#commands = [];
    this.#tensors = [];
    if (sync === null) return segment;
    for (const tensor of segment.tensors) {
      if (!tensor.kept && !live.has(tensor)) continue;
      tensor.last = end;
      // What the next segment starts with. Its first and last command there are set by `carry`.
      this.#tensors.push(tensor);
    }
    return segment;
  }

  /** Forgets the commands of this segment. */
  restart() {
    this.#commands = [];
    this.#tensors = this.#tensors.filter((tensor) => {
      tensor.first = -1;
      tensor.last = -1;
      // What was carried over has its place.
      if (tensor.place === null) tensor.segment = -1;
      return tensor.place !== null;
    });
  }

  /** Starts the next segment, once the tensors of the last have their places. */
  carry() {
    for (const tensor of this.#tensors) {
      tensor.segment = this.#segment;
      tensor.first = -1;
      tensor.last = -1;
    }
  }

  /**
   * @param {RecordedTensor} tensor
   * @param {number} at
   */
  #touch(tensor, at) {
    if (tensor.segment !== this.#segment) {
      if (tensor.segment >= 0) throw wrong("a tensor is used past the sync point that ended it");
      tensor.segment = this.#segment;
      tensor.first = tensor.kind === "activation" ? at : -1;
      this.#tensors.push(tensor);
    }
    if (tensor.last < at) tensor.last = at;
  }

  /**
   * @param {number} bytes
   * @param {string} [what]
   */
  #limit(bytes, what = "a tensor") {
    if (bytes <= this.#context.maxBinding) return;
    throw new ModelError(
      "device",
      `Cannot run the model on these inputs: ${what} takes ${bytes} bytes, this GPU binds at ` +
        `most ${this.#context.maxBinding}. Run it on smaller inputs.`,
    );
  }
}

/**
 * @param {import("../module.ts").Tensor} tensor
 * @returns {RecordedTensor}
 */
function asRecorded(tensor) {
  if (tensor instanceof RecordedTensor) return tensor;
  throw wrong("a value that is no tensor");
}

/**
 * @param {{ bindings: string, parameters: number }} table
 * @param {string} where
 * @param {readonly RecordedTensor[]} tensors
 * @param {readonly number[]} parameters
 */
function checkCounts(table, where, tensors, parameters) {
  if (tensors.length === table.bindings.length && parameters.length === table.parameters) return;
  throw wrong(
    `${where} takes ${table.bindings.length} tensors and ${table.parameters} parameters, ` +
      `was given ${tensors.length} and ${parameters.length}`,
  );
}

/**
 * @param {import("../module.ts").Tiles} tiles
 * @param {readonly number[]} sizes
 */
function tileCount(tiles, sizes) {
  return tiles.reduce((count, [size, tile]) => count * Math.ceil(Number(sizes[size]) / tile), 1);
}

/** @param {string} what */
function wrong(what) {
  return new ModelError("internal", `Cannot run the model: its program is wrong: ${what}.`);
}
