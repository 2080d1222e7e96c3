/**
 * A model at one precision, rewritten and waiting to be filled: quantized weights wait for an
 * engine's results, float tensors for converted elements.
 */
import { InputError } from "../error.ts";
import { elementCount, type Model, type Node } from "../ir.ts";
import { byteLength } from "../dtype.ts";
import { openTensor } from "../onnx/tensor.ts";
import { upgradeModel } from "../onnx/upgrade.ts";
import type { ModelWriter } from "../onnx/writer.ts";
import type { ErrorSums } from "../quantization/engine.ts";
import { convertFloats, type FloatConversion, type FloatFill } from "../quantization/float16.ts";
import { ELEMENT_BYTES, type WeightStream, type WeightTarget } from "../quantization/pipeline.ts";
import {
  applyPlan,
  globExpression,
  type PlannedWeight,
  planQuantization,
} from "../quantization/planner.ts";
import type { SkippedWeight } from "./conversion.ts";
import { type OutputOptions, type Precision, quantizedBits } from "./options.ts";

/** A planned weight and what its quantization showed. */
export interface WeightProgress {
  readonly planned: PlannedWeight;
  readonly error: ErrorSums;
  /** Blocks with NaN or infinity, and blocks whose scale float16 could not hold. */
  nonFinite: number;
  saturated: number;
}

/** A model at one precision. */
export interface PreparedTarget {
  readonly model: Model;
  readonly precision: Precision;
  readonly weights: readonly WeightProgress[];
  readonly skipped: readonly SkippedWeight[];
  /** What became of the float constants and of the types; null where nothing was asked. */
  readonly floats: FloatConversion | null;
  readonly floatFills: readonly FloatFill[];
}

/**
 * Rewrites `model` for `precision`. `nonFinite` names weights to leave as they are because they hold
 * NaN or infinity.
 */
export async function prepareTarget(
  model: Model,
  precision: Precision,
  options: OutputOptions,
  nonFinite: ReadonlySet<string>,
): Promise<PreparedTarget> {
  const bits = quantizedBits(precision);
  if (bits === null) return await prepareFloat(model, precision, options);
  const plan = planQuantization(model, {
    bits,
    symmetric: options.symmetric,
    blockSize: options.blockSize,
    scaleType: options.scales,
    method: options.method,
    encoding: options.encoding,
    runtimes: options.runtimes,
    exclude: [...options.exclude, ...nonFinite],
  });
  const weights = applyPlan(model, plan).map((planned) => ({
    planned,
    error: { signal: 0, noise: 0, dot: 0 },
    nonFinite: 0,
    saturated: 0,
  }));
  const floats = options.activations === "float16"
    ? await convertFloats(model, { to: "float16", form: "compute", io: options.ioFloat16 })
    : null;
  return {
    model,
    precision,
    weights,
    skipped: plan.skipped.map(({ name, bytes, reason }) => ({
      name,
      bytes,
      reason: nonFinite.has(name) ? "it holds NaN or infinity" : reason,
    })),
    floats,
    floatFills: floats?.fills ?? [],
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
  const patterns = options.exclude.map(globExpression);
  const matches = (name: string) => patterns.some((pattern) => pattern.test(name));
  const keep = new Set<string>();
  if (patterns.length > 0) {
    for (const name of constantNames(model)) if (matches(name)) keep.add(name);
  }
  const to = half
    ? "float16"
    : precision === "bfloat16" || precision === "float16"
    ? precision
    : "float32";
  // The lowest opset whose Cast takes bfloat16.
  if (to === "bfloat16") upgradeModel(model, { opset: 13 });
  const floats = await convertFloats(model, {
    to,
    // Runtimes lack bfloat16 operators: weights are stored in it and computed with in float32.
    form: to === "bfloat16" ? "storage" : "compute",
    io: options.ioFloat16,
    keep,
    exclude: (node: Node) => matches(node.name) || node.outputs.some(matches),
  });
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
    floatFills: floats.fills,
  };
}

function* constantNames(model: Model): Generator<string> {
  for (const tensor of model.graph.initializers) yield tensor.name;
  for (const node of model.graph.nodes) {
    if (node.opType === "Constant") yield* node.outputs;
  }
}

/** The weights of all `outputs`, those with the same bytes in the source as one stream. */
export function streamsOf(
  outputs: readonly { readonly target: PreparedTarget; readonly writer: ModelWriter }[],
): WeightStream[] {
  const streams = new Map<string, { stream: WeightStream; targets: WeightTarget[] }>();
  for (const { target, writer } of outputs) {
    for (const weight of target.weights) {
      const { planned } = weight;
      const key = streamKey(planned, streams.size);
      const entry = streams.get(key);
      const consumer = consume(weight, writer);
      if (entry !== undefined) {
        entry.targets.push(consumer);
        continue;
      }
      const targets = [consumer];
      const { view } = planned;
      streams.set(key, {
        targets,
        stream: {
          view,
          byteLength: view.batch * view.rows * view.columns * ELEMENT_BYTES[view.weightType],
          open: () => openTensor(planned.weight.tensor),
          targets,
        },
      });
    }
  }
  return [...streams.values()].map(({ stream }) => stream);
}

/** Weights with one key have the same source bytes and the same matrices. */
function streamKey(planned: PlannedWeight, unique: number): string {
  const { tensor } = planned.weight;
  const { data } = tensor;
  const view = JSON.stringify(planned.view);
  if (data.kind === "file") return `${data.path}\0${data.offset}\0${view}`;
  if (data.kind === "typed") return `${data.path}\0${data.ranges[0]?.offset}\0${view}`;
  return `memory ${unique}`;
}

/** Hands the results of a weight to the tensors that it fills. */
function consume(weight: WeightProgress, writer: ModelWriter): WeightTarget {
  const { planned } = weight;
  return {
    format: planned.format,
    method: planned.method,
    async accept(result, tile) {
      weight.nonFinite += result.nonFinite;
      weight.saturated += result.saturated;
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

/** Number of weights of a planned weight. */
export function weightCount(planned: PlannedWeight): number {
  return elementCount(planned.dims);
}
