/**
 * Weights that are larger than what a device binds at once. Such a constant is cut along one axis into
 * parts that are weights of their own. What reads it is divided along the same axis where it can be
 * ({@link ./division.ts}); else every load chooses its part.
 */
import { DTYPES } from "../dtype.ts";
import { InputError } from "../error.ts";
import {
  allGraphs,
  attribute,
  intAttribute,
  type Model,
  type Tensor as Initializer,
} from "../ir.ts";
import {
  apply,
  constant,
  fromInteger,
  type Integer,
  integer,
  load,
  select,
  subtract,
  type Value,
} from "../expr/mod.ts";
import { openTensor } from "../onnx/tensor.ts";
import { type Cut, FlatTensor, Tensor, type WeightPart } from "./program.ts";
import { packedBytes, packedDtype } from "./storage.ts";
import { flatOffset } from "./units.ts";

/** Where a constant is cut: along `axis`, at these positions, the first and the last included. */
interface CutPlan {
  readonly axis: number;
  readonly bounds: readonly number[];
}

const product = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

/**
 * Names of the constants that a matrix product takes as its right side [K, N]: cut along N, each part
 * gives columns of the result.
 */
export function columnWeights(model: Model): ReadonlySet<string> {
  const names = new Set<string>();
  const makers = new Map<string, string>();
  for (const graph of allGraphs(model.graph)) {
    for (const node of graph.nodes) {
      const isPassing = node.opType === "DequantizeLinear" || node.opType === "Cast";
      if (isPassing) makers.set(node.outputs[0] ?? "", node.inputs[0] ?? "");
    }
  }
  for (const graph of allGraphs(model.graph)) {
    for (const node of graph.nodes) {
      const isTransposed = attribute(node, "transB") !== undefined &&
        intAttribute(node, "transB", 0) !== 0;
      const isProduct = ["MatMul", "Gemm", "FusedMatMul", "FusedGemm"].includes(node.opType);
      if (!isProduct || isTransposed) continue;
      const right = node.inputs[1] ?? "";
      names.add(makers.get(right) ?? right);
    }
  }
  return names;
}

/**
 * Where `initializer` is cut so that each part takes `limit` bytes at most; null where it fits whole.
 *
 * @param alongLast that parts along the last axis are wanted.
 * @throws {InputError} where no axis has small enough parts of whole bytes.
 */
export function planCut(
  { name, dtype, dims }: Pick<Initializer, "name" | "dtype" | "dims">,
  limit: number,
  alongLast: boolean,
): CutPlan | null {
  const bytes = packedBytes(dtype, product(dims));
  if (bytes <= limit) return null;
  const { bits } = DTYPES[packedDtype(dtype)];
  const axes = dims.map((_, axis) => axis);
  for (const axis of alongLast ? [axes.length - 1, ...axes] : axes) {
    const extent = dims[axis]!;
    const [outer, inner] = [product(dims.slice(0, axis)), product(dims.slice(axis + 1))];
    // A part begins with a whole word, and so does each run of it that lies in one piece.
    let step = 1;
    while ((step * inner * bits) % 32 !== 0) step *= 2;
    if (outer > 1 && (extent * inner * bits) % 32 !== 0) continue;
    const width = Math.floor((limit * 8) / (step * outer * inner * bits)) * step;
    if (width < 1 || width >= extent) continue;
    const bounds = [0];
    while (bounds.at(-1)! < extent) bounds.push(Math.min(bounds.at(-1)! + width, extent));
    return { axis, bounds };
  }
  throw new InputError(
    `Cannot place the weight "${name}": it takes ${bytes} bytes, a device may bind no more than ` +
      `${limit} at once, and no axis of [${dims.join(", ")}] has smaller parts. Quantize it to ` +
      `fewer bits.`,
  );
}

/** The parts of `initializer`, read as elements of `dtype`; null where it is stored whole. */
export function cutOf(
  initializer: Initializer,
  dtype: Tensor["dtype"],
  dims: readonly number[],
  plan: CutPlan | null,
): Cut | null {
  if (plan === null) return null;
  const { axis, bounds } = plan;
  const parts = bounds.slice(1).map((end, i) => {
    const start = bounds[i]!;
    const extents = dims.with(axis, end - start).map(integer);
    const part: WeightPart = { axis, start, end };
    return {
      tensor: new Tensor(dtype, extents, { kind: "weight", initializer, part }),
      start,
      end,
    };
  });
  return { axis, parts };
}

/** True where elements of other types at `dims` are cut where `plan` cuts a constant of `own`. */
export function keepsCut(
  plan: CutPlan | null,
  own: readonly number[],
  dims: readonly number[],
): boolean {
  if (plan === null) return true;
  const axes = plan.axis + 1;
  return own.length >= axes && dims.length >= axes &&
    own.slice(0, axes).every((extent, i) => extent === dims[i]);
}

const FLAT = new WeakMap<Tensor, FlatTensor>();

/** The element of `source` at `indices`, by its offset, from the part that holds it. */
export function flatLoad(source: Tensor, indices: readonly Integer[]): Value {
  if (source.cut !== null) return fromParts(source.cut, indices);
  let flat = FLAT.get(source);
  if (flat === undefined) FLAT.set(source, flat = new FlatTensor(source));
  return load(flat, [flatOffset(source.dims, indices)]);
}

/** A choice between parts that goes away where bounds tell which it is. */
function fromParts({ axis, parts }: Cut, indices: readonly Integer[]): Value {
  const index = indices[axis]!;
  let value: Value | null = null;
  for (const { tensor, start, end } of [...parts].reverse()) {
    const place = indices.with(axis, subtract(index, integer(start)));
    const element = flatLoad(tensor, place);
    value = value === null
      ? element
      : select(apply("less", fromInteger(index), constant("i32", end)), element, value);
    // Where the index is known not to be below `start`, what is before it is never read.
    const isBefore = apply("less", fromInteger(index), constant("i32", start));
    if (isBefore.kind === "constant" && isBefore.value === 0) break;
  }
  if (value === null) throw new Error("a weight has no parts");
  return value;
}

/** Storage bindings that `tensors` take. */
export function bindingCount(tensors: Iterable<Tensor>): number {
  let count = 0;
  for (const { cut } of tensors) count += cut?.parts.length ?? 1;
  return count;
}

/** Bytes that are read at a time. */
const PIECE = 2 ** 20;

/**
 * The bytes of `part` of a constant, as the source holds them, in pieces of whole runs or of parts of
 * one run; all of its bytes where `part` is null.
 */
export async function* readPart(
  initializer: Initializer,
  part: WeightPart | null,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { dims, dtype } = initializer;
  const reader = openTensor(initializer);
  try {
    const axis = part?.axis ?? 0;
    const inner = (product(dims.slice(axis + 1)) * DTYPES[dtype].bits) / 8;
    const runs = part === null ? 1 : product(dims.slice(0, axis));
    const stride = part === null ? 0 : inner * dims[axis]!;
    const from = part === null ? 0 : part.start * inner;
    const run = part === null
      ? reader.byteLength
      : Math.ceil(Math.min(part.end * inner, reader.byteLength)) - from;
    // Short runs are gathered, so that what is written and hashed isn't.
    const together = Math.max(1, Math.floor(PIECE / run));
    for (let first = 0; first < runs; first += together) {
      const count = Math.min(together, runs - first);
      for (let at = 0; at < run; at += PIECE) {
        const length = Math.min(PIECE, run - at);
        const bytes = new Uint8Array(count * length);
        for (let i = 0; i < count; i++) {
          const offset = (first + i) * stride + from + at;
          await reader.read(offset, bytes.subarray(i * length, (i + 1) * length));
        }
        yield bytes;
      }
    }
  } finally {
    reader.close();
  }
}
