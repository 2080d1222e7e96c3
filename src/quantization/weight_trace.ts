/**
 * Follows a constant from its tensor to the operators that compute with it, through operators that
 * only move or convert elements. On the way the value is a strided view of the tensor, so that at
 * the end it is known which of the tensor's axes an operator sums over.
 */
import type { DType } from "../dtype.ts";
import { dtypeOfOnnx, DTYPES } from "../dtype.ts";
import type { Node, Tensor } from "../ir.ts";
import { elementCount, hasUnreadAttribute, intAttribute, intsAttribute } from "../ir.ts";
import type { Body, Scopes } from "./scopes.ts";

/** A value as a view of the traced tensor. */
export interface View {
  readonly dims: readonly number[];
  /** Elements of the tensor from one index to the next, an axis; null when it is no such view. */
  readonly strides: readonly number[] | null;
  /** Whether the value holds every element of the tensor exactly once, and nothing else. */
  readonly whole: boolean;
  readonly dtype: DType;
}

/** A place where the traced tensor, or a view of it, is read by something that computes. */
export interface Reading {
  readonly body: Body;
  /** Null where the value leaves its body as an output. */
  readonly node: Node | null;
  readonly input: number;
  readonly view: View;
  /** The moving operators on the way, first one first, and the rank of what each is given. */
  readonly path: readonly { readonly body: Body; readonly node: Node; readonly rank: number }[];
}

/** Values of small integer constants, by tensor; absent for one that can't be read. */
export type IntegerReader = (tensor: Tensor) => readonly number[] | null;

/**
 * Every reading of the value that `body` defines as `name`; null where the ways to them are too many
 * to follow, as in a model that splits and joins a tensor over and over.
 */
export function traceReadings(
  scopes: Scopes,
  body: Body,
  name: string,
  tensor: Tensor,
  integers: IntegerReader,
): Reading[] | null {
  const readings: Reading[] = [];
  let steps = 0;
  const start: View = {
    dims: tensor.dims,
    strides: rowMajorStrides(tensor.dims),
    whole: true,
    dtype: tensor.dtype,
  };
  const follow = (at: Body, value: string, view: View, path: Reading["path"]) => {
    for (const use of scopes.uses(at, value)) {
      if (++steps > MOST_STEPS) return;
      if (use.kind === "output") {
        readings.push({ body: use.body, node: null, input: 0, view, path });
        continue;
      }
      const { node, input } = use;
      const constants = (operand: number): readonly number[] | null => {
        const constant = scopes.constant(use.body, node.inputs[operand] ?? "");
        return constant === null ? null : integers(constant);
      };
      const moved = path.length < MOST_MOVES ? move(node, input, view, constants) : null;
      if (moved === null) {
        readings.push({ body: use.body, node, input, view, path });
        continue;
      }
      for (const [output, next] of moved) {
        const target = node.outputs[output];
        if (target !== undefined && target !== "") {
          const step = { body: use.body, node, rank: view.dims.length };
          follow(use.body, target, next, [...path, step]);
        }
      }
    }
  };
  follow(body, name, start, []);
  return steps > MOST_STEPS ? null : readings;
}

/** Most reads of a value and its views that are followed. */
const MOST_STEPS = 10_000;

/** Longest chain of moving operators that is followed. */
const MOST_MOVES = 16;

/** Strides of a dense tensor in row-major order. */
export function rowMajorStrides(dims: readonly number[]): number[] {
  const strides = new Array<number>(dims.length).fill(1);
  for (let axis = dims.length - 2; axis >= 0; axis--) {
    strides[axis] = strides[axis + 1]! * dims[axis + 1]!;
  }
  return strides;
}

/** What `node` makes of `view` at operand `input`: views by output; null when it is no mover. */
function move(
  node: Node,
  input: number,
  view: View,
  constants: (operand: number) => readonly number[] | null,
): [output: number, view: View][] | null {
  if (node.domain !== "" || hasUnreadAttribute(node)) return null;
  if (node.opType === "Concat") return concatenation(node, view);
  if (input !== 0) return null;
  const one = (next: View): [number, View][] => [[0, next]];
  const rank = view.dims.length;
  switch (node.opType) {
    case "Identity":
      return one(view);
    case "Cast": {
      const dtype = dtypeOfOnnx(intAttribute(node, "to", 0));
      return dtype !== undefined && DTYPES[dtype].kind === "float" ? one({ ...view, dtype }) : null;
    }
    case "Transpose": {
      const order = intsAttribute(node, "perm") ?? view.dims.map((_, axis) => rank - 1 - axis);
      if (order.length !== rank || order.some((axis) => axis < 0 || axis >= rank)) return null;
      return one({
        ...view,
        dims: order.map((axis) => view.dims[axis]!),
        strides: view.strides && order.map((axis) => view.strides![axis]!),
      });
    }
    case "Unsqueeze":
    case "Squeeze": {
      const listed = intsAttribute(node, "axes") ?? constants(1);
      const axes = listed ??
        (node.opType === "Squeeze" && node.inputs.length < 2
          ? [...view.dims.keys()].filter((axis) => view.dims[axis] === 1)
          : null);
      if (axes === null) return null;
      return one(node.opType === "Unsqueeze" ? unsqueeze(view, axes) : squeeze(view, axes));
    }
    case "Flatten": {
      const axis = intAttribute(node, "axis", 1);
      const at = axis < 0 ? axis + rank : axis;
      const outer = elementCount(view.dims.slice(0, at));
      return one(reshape(view, [outer, elementCount(view.dims.slice(at))]));
    }
    case "Reshape": {
      const target = intsAttribute(node, "shape") ?? constants(1);
      const dims = target &&
        resolveShape(view.dims, target, intAttribute(node, "allowzero", 0) !== 0);
      return dims === null ? null : one(reshape(view, dims));
    }
    case "Slice":
      return one(slice(node, view, constants));
    case "Split": {
      const axis = intAttribute(node, "axis", 0);
      const at = axis < 0 ? axis + rank : axis;
      const sizes = intsAttribute(node, "split") ?? constants(1);
      return node.outputs.map((_, output) => {
        const size = sizes?.[output] ?? Math.ceil((view.dims[at] ?? 0) / node.outputs.length);
        const dims = view.dims.map((dim, index) => index === at ? size : dim);
        return [output, { ...view, dims, whole: node.outputs.length === 1 }];
      });
    }
    default:
      return null;
  }
}

/** A part of a concatenation keeps its own strides; the result is no longer only the tensor. */
function concatenation(node: Node, view: View): [number, View][] {
  return [[0, { ...view, whole: view.whole && node.inputs.length === 1 }]];
}

function unsqueeze(view: View, axes: readonly number[]): View {
  const rank = view.dims.length + axes.length;
  const added = new Set(axes.map((axis) => (axis < 0 ? axis + rank : axis)));
  const dims: number[] = [];
  const strides: number[] = [];
  for (let axis = 0, from = 0; axis < rank; axis++) {
    const isNew = added.has(axis);
    dims.push(isNew ? 1 : view.dims[from] ?? 1);
    strides.push(isNew ? 0 : view.strides?.[from] ?? 0);
    if (!isNew) from++;
  }
  return { ...view, dims, strides: view.strides && strides };
}

function squeeze(view: View, axes: readonly number[]): View {
  const rank = view.dims.length;
  const removed = new Set(axes.map((axis) => (axis < 0 ? axis + rank : axis)));
  const keep = (_: number, axis: number) => !removed.has(axis);
  return {
    ...view,
    dims: view.dims.filter(keep),
    strides: view.strides && view.strides.filter(keep),
  };
}

/** The view after a slice: only a slice over everything leaves it whole. */
function slice(
  node: Node,
  view: View,
  constants: (operand: number) => readonly number[] | null,
): View {
  const starts = intsAttribute(node, "starts") ?? constants(1);
  const ends = intsAttribute(node, "ends") ?? constants(2);
  if (starts === null || ends === null) return { ...view, strides: null, whole: false };
  const axes = intsAttribute(node, "axes") ?? constants(3) ?? [...starts.keys()];
  const steps = constants(4);
  const dims = [...view.dims];
  const strides = view.strides === null ? null : [...view.strides];
  let whole = view.whole;
  axes.forEach((axis, index) => {
    const at = axis < 0 ? axis + dims.length : axis;
    const extent = dims[at];
    if (extent === undefined) return;
    const step = steps?.[index] ?? 1;
    const clamp = (value: number) =>
      Math.min(Math.max(value < 0 ? value + extent : value, step < 0 ? -1 : 0), extent);
    const length = Math.max(
      0,
      Math.ceil((clamp(ends[index] ?? extent) - clamp(starts[index] ?? 0)) / (step || 1)),
    );
    if (length !== extent || step !== 1) whole = false;
    dims[at] = length;
    if (strides !== null) strides[at] = strides[at]! * step;
  });
  return { ...view, dims, strides, whole };
}

/** The dims that Reshape makes of `from`, or null where `target` does not fit. */
function resolveShape(
  from: readonly number[],
  target: readonly number[],
  allowZero: boolean,
): number[] | null {
  const dims = target.map((dim, axis) => dim === 0 && !allowZero ? from[axis] ?? 0 : dim);
  const known = dims.filter((dim) => dim !== -1).reduce((product, dim) => product * dim, 1);
  const count = elementCount(from);
  const resolved = dims.map((dim) => dim === -1 ? Math.floor(count / (known || 1)) : dim);
  return elementCount(resolved) === count ? resolved : null;
}

/** The view with other dims over the same elements; without strides where none describe it. */
function reshape(view: View, dims: readonly number[]): View {
  return { ...view, dims, strides: view.strides && reshapedStrides(view.dims, view.strides, dims) };
}

/** Strides of `to` over the elements that `from` and `strides` describe, or null. */
function reshapedStrides(
  from: readonly number[],
  strides: readonly number[],
  to: readonly number[],
): number[] | null {
  const groups: { extent: number; stride: number }[] = [];
  from.forEach((extent, axis) => {
    if (extent === 1) return;
    const last = groups.at(-1);
    if (last !== undefined && last.stride === strides[axis]! * extent) {
      last.extent *= extent;
      last.stride = strides[axis]!;
    } else groups.push({ extent, stride: strides[axis]! });
  });
  const result = new Array<number>(to.length).fill(0);
  let group = groups.length - 1;
  let left = groups[group]?.extent ?? 1;
  let stride = groups[group]?.stride ?? 1;
  for (let axis = to.length - 1; axis >= 0; axis--) {
    const extent = to[axis]!;
    if (extent === 1) continue;
    if (left === 1) {
      group--;
      if (group < 0) return null;
      left = groups[group]!.extent;
      stride = groups[group]!.stride;
    }
    if (left % extent !== 0) return null;
    result[axis] = stride;
    stride *= extent;
    left /= extent;
  }
  return result;
}
