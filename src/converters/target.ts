/**
 * A model at one precision, rewritten and waiting to be filled: quantized weights wait for an
 * engine's results, float tensors for converted elements.
 */
import { InputError, InterruptedError, nearestNames } from "../error.ts";
import { allGraphs, elementCount, type Model, type Node, subgraphs } from "../ir.ts";
import { byteLength } from "../dtype.ts";
import { contentKey, openTensor } from "../onnx/tensor.ts";
import { upgradeModel } from "../onnx/upgrade.ts";
import type { ModelWriter } from "../onnx/writer.ts";
import type { ErrorSums } from "../quantization/engine.ts";
import {
  addErrorSums,
  convertElements,
  convertFloats,
  fillFloats,
  FLOAT_BYTES,
  type FloatConversion,
  floatConversionNeeds,
  type FloatConversionOptions,
  type FloatFill,
} from "../quantization/float16.ts";
import { ColumnImportance } from "../quantization/importance.ts";
import { blocksPastFloat16 } from "../quantization/overflow.ts";
import {
  ELEMENT_BYTES,
  type MatrixView,
  type WeightStream,
  type WeightTarget,
} from "../quantization/pipeline.ts";
import {
  applyPlan,
  globMatcher,
  type PlannedWeight,
  planQuantization,
  raiseModel,
  runtimesFor,
} from "../quantization/planner.ts";
import type { Weight } from "../quantization/weights.ts";
import type { SkippedWeight } from "./conversion.ts";
import { type OutputOptions, type Precision, quantizedBits } from "./options.ts";

/** A planned weight and what its quantization showed. */
export interface WeightProgress {
  readonly planned: PlannedWeight;
  /** How much its columns count, where the graph tells. */
  readonly importance: Float32Array | null;
  readonly error: ErrorSums;
  /** Blocks with NaN or infinity, and blocks whose scale float16 could not hold. */
  nonFinite: number;
  saturated: number;
  /** Blocks that float16 activations may make infinite; null where they are float32. */
  overflowing: number | null;
}

/** A float tensor to convert, and what its conversion showed. */
export interface FloatProgress {
  readonly fill: FloatFill;
  readonly error: ErrorSums;
}

/** A model at one precision. */
export interface PreparedTarget {
  readonly model: Model;
  readonly precision: Precision;
  readonly weights: readonly WeightProgress[];
  readonly skipped: readonly SkippedWeight[];
  /** What became of the float constants and of the types; null where nothing was asked. */
  readonly floats: FloatConversion | null;
  readonly floatFills: readonly FloatProgress[];
}

/**
 * Rewrites `model` for `precision`. `nonFinite` holds the `contentKey` of weights to leave as they
 * are because they hold NaN or infinity.
 */
export async function prepareTarget(
  model: Model,
  precision: Precision,
  options: OutputOptions,
  nonFinite: ReadonlySet<string>,
): Promise<PreparedTarget> {
  const bits = quantizedBits(precision);
  if (bits === null) return await prepareFloat(model, precision, options);
  const planned = planQuantization(model, {
    bits,
    symmetric: options.symmetric,
    blockSize: options.blockSize,
    scaleType: options.scales,
    method: options.method,
    encoding: options.encoding,
    activations: options.activations,
    runtimes: options.runtimes,
    exclude: options.exclude,
    nonFinite,
  });
  const plan = raiseModel(model, planned);
  const importance = new Map<Weight, Float32Array | null>();
  // Of 8 bits none counts: see `importanceOf`.
  if (options.method === "mse" && bits !== 8) {
    const columns = new ColumnImportance(plan.scopes);
    for (const { weight, view } of plan.weights) {
      // A whole tensor as one block is seen as one row, in which columns are no channels.
      if (view.columns !== weight.view.columns) continue;
      importance.set(weight, await columns.of(weight));
    }
  }
  const weights = applyPlan(model, plan).map((planned) => ({
    planned,
    importance: importance.get(planned.weight) ?? null,
    error: { signal: 0, noise: 0, dot: 0 },
    nonFinite: 0,
    saturated: 0,
    overflowing: options.activations === "float16" ? 0 : null,
  }));
  const floats = options.activations === "float16"
    ? await convertFloats(model, { to: "float16", form: "compute", io: options.ioFloat16 })
    : null;
  const halved = new Set(floats?.report.converted.map(({ source }) => source));
  return {
    model,
    precision,
    weights,
    skipped: plan.skipped.filter(({ tensor }) => !halved.has(tensor))
      .map(({ name, bytes, reason }) => ({ name, bytes, reason })),
    floats,
    floatFills: (floats?.fills ?? []).map(unfilled),
  };
}

/** float32, float16 or bfloat16 weights. */
async function prepareFloat(
  model: Model,
  precision: Precision,
  options: OutputOptions,
): Promise<PreparedTarget> {
  const half = options.activations === "float16";
  if (precision === "bfloat16" && half) {
    throw new InputError(
      "Cannot convert to bfloat16 weights with float16 activations: no operator takes both. " +
        "Take --precision float16.",
    );
  }
  // Every runtime takes these types; none takes every model.
  if (options.runtimes.length > 0) runtimesFor(model, options.runtimes);
  const patterns = options.exclude.map(globMatcher);
  const matches = (name: string) => patterns.some((pattern) => pattern.test(name));
  const isExcluded = (node: Node) => matches(node.name) || node.outputs.some(matches);
  if (patterns.length > 0) {
    const names = [...allNodes(model)].flatMap(({ name, outputs }) => [name, ...outputs]);
    checkExclusions(options.exclude, [...constantNames(model), ...names]);
  }
  const to = half
    ? "float16"
    : precision === "bfloat16" || precision === "float16"
    ? precision
    : "float32";
  const conversion: FloatConversionOptions = {
    to,
    // Runtimes lack bfloat16 operators: weights are stored in it and computed with in float32.
    form: to === "bfloat16" || options.storeFloats === true ? "storage" : "compute",
    io: options.ioFloat16,
    keep: matches,
    exclude: isExcluded,
  };
  upgradeModel(model, floatConversionNeeds(conversion));
  const floats = await convertFloats(model, conversion);
  if (options.nan === "error") {
    const names = floats.report.kept
      .filter(({ elements, reason }) => elements > 1 && /^holds \d+ (NaN|infinities)$/.test(reason))
      .map(({ name }) => name);
    refuseNonFinite(model.path, names);
  }
  return {
    model,
    precision,
    weights: [],
    skipped: floats.report.kept.map(({ name, dtype, elements, reason }) => ({
      name,
      bytes: byteLength(dtype, elements),
      reason,
    })),
    floats,
    floatFills: floats.fills.map(unfilled),
  };
}

function unfilled(fill: FloatFill): FloatProgress {
  return { fill, error: { signal: 0, noise: 0, dot: 0 } };
}

/** Throws where `names`, weights of the model `path` with NaN or infinity, are not none. */
export function refuseNonFinite(path: string, names: readonly string[]): void {
  if (names.length === 0) return;
  const one = names.length === 1;
  throw new InputError(
    `Cannot convert "${path}": the ${one ? "weight" : "weights"} ` +
      `${names.map((name) => `"${name}"`).join(", ")} ${one ? "holds" : "hold"} NaN or infinity. ` +
      "Check the model, or take --nan keep to leave them as they are.",
  );
}

/** Throws where a pattern of `exclude` matches none of `names`. */
function checkExclusions(exclude: readonly string[], names: readonly string[]): void {
  for (const pattern of exclude) {
    const expression = globMatcher(pattern);
    if (names.some((name) => expression.test(name))) continue;
    const nearest = nearestNames(pattern, new Set(names.filter((name) => name !== "")));
    throw new InputError(
      `Cannot exclude "${pattern}": no constant and no node has such a name. ` +
        `The nearest are ${nearest.join(", ") || "none"}.`,
    );
  }
}

/** The nodes of all graphs and functions. */
function* allNodes(model: Model): Generator<Node> {
  const below = function* (nodes: readonly Node[]): Generator<Node> {
    for (const node of nodes) {
      yield node;
      for (const graph of subgraphs(node)) yield* below(graph.nodes);
    }
  };
  yield* below(model.graph.nodes);
  for (const { nodes } of model.functions) yield* below(nodes);
}

/** The names of constants in all graphs and functions. */
function* constantNames(model: Model): Generator<string> {
  for (const { initializers } of allGraphs(model.graph)) {
    for (const tensor of initializers) yield tensor.name;
  }
  for (const node of allNodes(model)) if (node.opType === "Constant") yield* node.outputs;
}

/** A target and the writer of its files. */
export interface TargetOutput {
  readonly target: PreparedTarget;
  readonly writer: ModelWriter;
}

/** What is to be done to fill the pending tensors of several targets. */
export interface Work {
  /** The weights, those with the same bytes in the source as one stream. */
  readonly streams: readonly WeightStream[];
  /** Float tensors that are no weight of another target: each converts its source on its own. */
  readonly floats: readonly FloatWork[];
}

/** The conversion of one float tensor. */
export interface FloatWork {
  /** Bytes of its source. */
  readonly byteLength: number;
  /** Converts it; tells `onProgress` the bytes done since the last call. Stops once aborted. */
  convert(onProgress: (bytes: number) => void, signal: AbortSignal): Promise<void>;
}

/** Plans the filling of all `outputs` so that each weight is read once. */
export function workOf(outputs: readonly TargetOutput[]): Work {
  const streams = new Map<string, { stream: WeightStream; targets: WeightTarget[] }>();
  const byContent = new Map<string, { stream: WeightStream; targets: WeightTarget[] }>();
  for (const { target, writer } of outputs) {
    for (const weight of target.weights) {
      const { view, weight: { tensor } } = weight.planned;
      const content = contentKey(tensor);
      const key = `${JSON.stringify(view)} ${content}`;
      let entry = streams.get(key);
      if (entry === undefined) {
        const targets: WeightTarget[] = [];
        const stream = {
          view,
          byteLength: view.batch * view.rows * view.columns * ELEMENT_BYTES[view.weightType],
          open: () => openTensor(tensor),
          targets,
        };
        streams.set(key, entry = { stream, targets });
        byContent.set(content, entry);
      }
      entry.targets.push(quantizeInto(weight, writer));
    }
  }
  const floats: FloatWork[] = [];
  for (const { target, writer } of outputs) {
    for (const float of target.floatFills) {
      const shared = byContent.get(contentKey(float.fill.source));
      if (shared !== undefined) {
        shared.targets.push(convertInto(float, shared.stream.view, writer));
      } else {
        floats.push(convertAlone(float, writer));
      }
    }
  }
  return { streams: [...streams.values()].map(({ stream }) => stream), floats };
}

/** Hands the results of a weight to the tensors that it fills. */
function quantizeInto(weight: WeightProgress, writer: ModelWriter): WeightTarget {
  const { planned, importance } = weight;
  return {
    kind: "quantize",
    format: planned.format,
    method: planned.method,
    ...(importance === null ? {} : { importance }),
    async accept(result, tile) {
      weight.nonFinite += result.nonFinite;
      weight.saturated += result.saturated;
      if (weight.overflowing !== null) {
        weight.overflowing += blocksPastFloat16(result, planned.format);
      }
      if (result.error !== undefined) {
        weight.error.signal += result.error.signal;
        weight.error.noise += result.error.noise;
        weight.error.dot += result.error.dot;
      }
      for (const fill of planned.fills) {
        const piece = fill.pack(result, tile);
        if (piece !== null) await writer.write(fill.tensor, piece.offset, piece.bytes);
      }
    },
  };
}

/** Converts the elements that a stream reads for another target. */
function convertInto(
  { fill, error }: FloatProgress,
  view: MatrixView,
  writer: ModelWriter,
): WeightTarget {
  const { from, to, limit, tensor } = fill;
  return {
    kind: "elements",
    async accept(bytes, tile) {
      const converted = new Uint8Array(bytes.length / FLOAT_BYTES[from] * FLOAT_BYTES[to]);
      convertElements(bytes, from, to, converted, limit);
      addErrorSums(bytes, from, converted, to, error);
      const matrix = tile.batch * view.rows * view.columns;
      if (view.order === "rows" || tile.rows === view.rows) {
        const first = matrix + tile.firstRow * (view.order === "rows" ? view.columns : 1);
        return await writer.write(tensor, first * FLOAT_BYTES[to], converted);
      }
      const length = tile.rows * FLOAT_BYTES[to];
      for (let column = 0; column < view.columns; column++) {
        const first = matrix + column * view.rows + tile.firstRow;
        const piece = converted.subarray(column * length, (column + 1) * length);
        await writer.write(tensor, first * FLOAT_BYTES[to], piece);
      }
    },
  };
}

/** Converts a tensor that nothing else reads. */
function convertAlone({ fill, error }: FloatProgress, writer: ModelWriter): FloatWork {
  const { from, to, tensor, source: { dtype, dims } } = fill;
  return {
    byteLength: byteLength(dtype, elementCount(dims)),
    convert: (onProgress, signal) =>
      fillFloats(fill, async (offset, converted, source) => {
        if (signal.aborted) throw new InterruptedError("interrupted");
        addErrorSums(source, from, converted, to, error);
        await writer.write(tensor, offset, converted);
        onProgress(source.length);
      }),
  };
}
