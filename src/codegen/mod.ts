/**
 * The compiler from ONNX to a WebGPU module: upgrade, passes, lowering, schedule, text. Weights stay
 * in the source's file until they are written.
 */
import { InputError, ModelcastError } from "../error.ts";
import {
  allGraphs,
  attribute,
  elementCount,
  type Model,
  type Tensor as Initializer,
} from "../ir.ts";
import { type DType, DTYPES } from "../dtype.ts";
import { startAnew } from "../expr/interned.ts";
import { tensorBytes } from "../onnx/tensor.ts";
import { upgradeModel } from "../onnx/upgrade.ts";
import { HIGHEST_OPSET } from "../onnx/upgrade/table.ts";
import { runPasses } from "../passes/mod.ts";
import { VERSION } from "../version.ts";
import { emit } from "./emit.ts";
import type { Emitted, EmittedDispatch, EmittedWeight } from "./emitted.ts";
import { encodeJson } from "./encode.ts";
import {
  isSmallConstant,
  isStackOverflow,
  MOST_NODES,
  type SmallConstants,
  smallElements,
} from "./lower.ts";
import type {
  InputTable,
  KernelTable,
  OutputTable,
  PipelineTable,
  WeightTables,
} from "./module.ts";
import type { Program, Tensor } from "./program.ts";
import { lowerPrograms } from "./programs.ts";
import { runtimeText } from "./runtime_text.ts";
import { schedule } from "./schedule.ts";
import { packTables } from "./shader_texts.ts";
import { hostText, scriptPreludeText } from "./script_text.ts";
import { packedBytes, packedDtype, storageOf } from "./storage.ts";
import { readPart } from "./weight_parts.ts";
import { BUFFER_BYTES, type WeightSource } from "./weights_file.ts";

/** A constant to write, or a part of one that is too large for one binding. */
export interface CompiledWeight extends WeightSource {
  readonly dtype: DType;
  readonly dims: readonly number[];
}

/** How to compile. */
export interface CompileOptions {
  /** The largest extents that a run may give to symbolic dimensions, by name. */
  readonly limits?: ReadonlyMap<string, number>;
  /** Bytes of a weight past which it is stored in parts, a multiple of 256. */
  readonly bindingBytes?: number;
}

/** A compiled model: everything but the weights file, whose table the text needs. */
export interface CompiledModule {
  readonly inputs: readonly InputTable[];
  readonly outputs: readonly OutputTable[];
  readonly pipelines: readonly PipelineTable[];
  readonly kernels: readonly KernelTable[];
  /** Constants to write, in order of use. */
  readonly weights: readonly CompiledWeight[];
  /** Ops whose results are computed on the host, and in what node. */
  readonly hostNodes: readonly string[];
  /** What each dispatch in the program's text is of. */
  readonly dispatches: readonly EmittedDispatch[];
  /** Statements that declare the generator function `program`. */
  readonly program: string;
  /** The module's text, for a weights file that is called `name`. */
  javaScript(name: string, weights: WeightTables): string;
}

/**
 * Compiles `model`, which is changed by it: its opset is raised.
 *
 * @throws {InputError} for an op or a use of one that can't be compiled, naming the node.
 */
export async function compileModel(
  model: Model,
  { limits = new Map(), bindingBytes = BUFFER_BYTES }: CompileOptions = {},
): Promise<CompiledModule> {
  let nodes = 0;
  for (const graph of allGraphs(model.graph)) nodes += graph.nodes.length;
  if (nodes > MOST_NODES) {
    throw new InputError(
      `Cannot compile "${model.path}": it has ${nodes} nodes, more than ${MOST_NODES}.`,
    );
  }
  upgradeModel(model, { opset: HIGHEST_OPSET });
  await runPasses(model);
  const { programs, emitted } = generated(model, await smallConstants(model), bindingBytes);
  const [program] = programs as [Program];
  const inputs = program.inputs.map(({ name, dims, tensor }, i): InputTable => ({
    name,
    dtype: tensor.dtype,
    storage: storageOf(tensor.dtype),
    dims,
    ...(emitted.hostInputs.has(i) && { host: true }),
    ...(dims.some((dim) => limits.has(String(dim))) && {
      limits: dims.map((dim) => typeof dim === "string" ? limits.get(dim) ?? null : null),
    }),
  }));
  const outputs = program.outputs.map((output, i): OutputTable => ({
    name: output.name,
    dtype: output.tensor.dtype,
    storage: storageOf(output.tensor.dtype),
    dims: programs.map((other): OutputTable["dims"] => outputDims(other, other.outputs[i]!.tensor))
      .reduce(joinedDims),
  }));
  const prelude = scriptPreludeText(emitted.preludeFunctions);
  const host = hostText(emitted.hostFunctions);
  return {
    inputs,
    outputs,
    pipelines: emitted.pipelines,
    kernels: emitted.kernels,
    weights: emitted.weights.map(weightSource),
    hostNodes: emitted.hostNodes,
    dispatches: emitted.dispatches,
    program: `${emitted.program}\n${prelude}\n${host}`,
    javaScript: (name, weights) => {
      // Shaders hold no names: they are texts of the compiler's own.
      const packed = packTables(emitted);
      const tables = { inputs, outputs, weights, features: [] };
      // Bundlers find the file by this form and a plain text alone.
      const address = JSON.stringify(`./${encodeURIComponent(name)}`);
      return `// Made by modelcast ${VERSION}: a model for WebGPU, with all that it needs but its weights.
${emitted.program}
const tables = { ...${encodeJson(tables)}, ...unpackTables(${JSON.stringify(packed)}), program };
export const inputs = tables.inputs.map(({ name, dtype, dims }) => ({ name, dtype, dims }));
export const outputs = tables.outputs.map(({ name, dtype, dims }) => ({ name, dtype, dims }));
export function load(options) {
  return loadModel(tables, options, new URL(${address}, import.meta.url));
}
${prelude}
${host}
${runtimeText()}`;
    },
  };
}

/** The programs of a model, and what is printed of them. */
function generated(
  model: Model,
  small: SmallConstants,
  bindingBytes: number,
): { readonly programs: readonly Program[]; readonly emitted: Emitted } {
  startAnew();
  try {
    const programs = lowerPrograms(model, small, bindingBytes);
    const scheduled = programs.map((program) => ({
      program,
      block: schedule(program, model.path),
    }));
    return { programs, emitted: emit(scheduled) };
  } catch (cause) {
    // Types and ranks are taken to be what ONNX says of each op; a model where they aren't ends here.
    if (cause instanceof ModelcastError || !(cause instanceof Error)) throw cause;
    if (isStackOverflow(cause)) {
      throw new InputError(
        `Cannot compile "${model.path}": its graphs or its expressions are nested too deep.`,
        { cause },
      );
    }
    throw new InputError(
      `Cannot compile "${model.path}": ${cause.message}. If ONNX's checker finds nothing wrong ` +
        `with the model, this is a fault of modelcast's that should be reported.`,
      { cause },
    );
  }
}

/** The dims of an output as far as they are numbers or symbols of the inputs. */
function outputDims(
  program: Program,
  tensor: Tensor,
): (number | string | null)[] {
  const symbols = new Map<number, string>();
  for (const input of program.inputs) {
    for (const [i, extent] of input.tensor.dims.entries()) {
      const dim = input.dims[i]!;
      if (typeof dim === "string") symbols.set(extent.id, dim);
    }
  }
  return tensor.dims.map((extent) => {
    if (extent.terms.length === 0) return extent.constant;
    return symbols.get(extent.id) ?? null;
  });
}

/** Dims that hold for both; null where the ranks differ. */
function joinedDims(a: OutputTable["dims"], b: OutputTable["dims"]): OutputTable["dims"] {
  if (a === null || b === null || a.length !== b.length) return null;
  return a.map((dim, i) => dim === b[i] ? dim : null);
}

/** The elements of every constant that conversion must know. */
async function smallConstants(model: Model): Promise<Map<Initializer, readonly number[]>> {
  const found = new Map<Initializer, readonly number[]>();
  const read = async (tensor: Initializer): Promise<void> => {
    if (isSmallConstant(tensor)) {
      found.set(tensor, smallElements(tensor, await tensorBytes(tensor)));
    }
  };
  for (const graph of allGraphs(model.graph)) {
    for (const tensor of graph.initializers) await read(tensor);
    for (const node of graph.nodes) {
      const value = attribute(node, "value");
      if (value?.type === "tensor") await read(value.value);
    }
  }
  return found;
}

/** A constant as it is written: packed, 64-bit elements as 32-bit ones. */
function weightSource({ initializer, part }: EmittedWeight): CompiledWeight {
  const { dtype } = initializer;
  const dims = part === null
    ? initializer.dims
    : initializer.dims.with(part.axis, part.end - part.start);
  const bytes = packedBytes(dtype, elementCount(dims));
  return {
    name: initializer.name,
    dtype,
    dims,
    bytes,
    async *read() {
      let written = 0;
      for await (const piece of readPart(initializer, part)) {
        const packed = packedDtype(dtype) === dtype ? piece : narrowed(initializer, piece);
        written += packed.length;
        yield packed;
      }
      if (written < bytes) yield new Uint8Array(bytes - written);
    },
  };
}

/** 64-bit elements as 32-bit ones. Integers past the range of 32 bits become its ends. */
function narrowed({ dtype }: Initializer, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const made = new DataView(new ArrayBuffer(bytes.byteLength / 2));
  for (let i = 0; i < bytes.byteLength / 8; i++) {
    if (dtype === "float64") {
      made.setFloat32(4 * i, view.getFloat64(8 * i, true), true);
    } else if (DTYPES[dtype].kind === "uint") {
      const value = view.getBigUint64(8 * i, true);
      made.setUint32(4 * i, Number(value > 0xffffffffn ? 0xffffffffn : value), true);
    } else {
      const value = view.getBigInt64(8 * i, true);
      const [least, most] = [-(2n ** 31n), 2n ** 31n - 1n];
      made.setInt32(4 * i, Number(value < least ? least : value > most ? most : value), true);
    }
  }
  return new Uint8Array(made.buffer);
}
