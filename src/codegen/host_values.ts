/**
 * What is known of tensors on the host: elements that are constants, that follow from dimensions, or
 * that are read back when the model runs. Shapes, axes and trip counts come from here.
 */
import { add, asNumber, type Integer, integer, modulo, multiply, scaled } from "../expr/mod.ts";
import {
  apply,
  constant,
  elementsIn,
  fromInteger,
  integersOf,
  load,
  partsOf,
  rewrite,
  select,
  substitute,
  type Value,
} from "../expr/value.ts";
import { HostCopy, HostDims, HostScalar, Tensor, Variable } from "./program.ts";

/** Elements that are computed one by one at most. */
const MOST_ELEMENTS = 256;

/** The number of elements of `dims`, or null where that depends on symbols. */
function staticCount(dims: readonly Integer[]): number | null {
  let count = 1;
  for (const extent of dims) {
    const number = asNumber(extent);
    if (number === null) return null;
    count *= number;
  }
  return count;
}

/** The indices of element `offset` of a tensor of static `dims`. */
function indicesOf(dims: readonly Integer[], offset: number): Integer[] {
  const indices: Integer[] = [];
  for (const extent of [...dims].reverse()) {
    const number = asNumber(extent)!;
    indices.unshift(integer(offset % number));
    offset = Math.floor(offset / number);
  }
  return indices;
}

const HOST_VALUES = new WeakMap<Value, boolean>();

/** True where `value` needs no tensor on the GPU. */
export function isHostValue(value: Value): boolean {
  let known = HOST_VALUES.get(value);
  if (known === undefined) {
    known = value.kind !== "reduce" && value.kind !== "bitcast" && value.axes.length === 0 &&
      isOfHost(value) &&
      partsOf(value).every(isHostValue) && integersOf(value).every(isHostInteger);
    HOST_VALUES.set(value, known);
  }
  return known;
}

/** True for all but a load of something that the host has not. */
function isOfHost(value: Value): boolean {
  if (value.kind !== "load") return true;
  const { source } = value;
  return source instanceof HostCopy || source instanceof HostDims ||
    source instanceof HostScalar || source instanceof Variable;
}

/** True where `value` needs no tensor on the GPU and no axis. */
export function isHostInteger(value: Integer): boolean {
  if (value.axes.length > 0) return false;
  for (const inner of elementsIn(value)) if (!isHostValue(inner)) return false;
  return true;
}

const SIZES = new WeakMap<Value | Integer, number>();

/** How long `value` is, written out; a symbol counts as one, whatever defines it. */
function sizeOf(value: Value): number {
  let size = SIZES.get(value);
  if (size === undefined) {
    size = 1;
    for (const part of partsOf(value)) size += sizeOf(part);
    for (const index of integersOf(value)) size += integerSize(index);
    SIZES.set(value, size);
  }
  return size;
}

function integerSize(value: Integer): number {
  let size = SIZES.get(value);
  if (size === undefined) {
    size = 1;
    for (const { factors } of value.terms) {
      for (const factor of factors) {
        size += factor.kind === "element" ? sizeOf(factor.value) : 1;
        if ("a" in factor) size += integerSize(factor.a) + integerSize(factor.b);
      }
    }
    SIZES.set(value, size);
  }
  return size;
}

/** Length past which a value of the host is computed once, and nothing more is found out about it. */
const MOST_SIZE = 64;
const SCALARS = new WeakMap<Value, Value>();

/** `value`, or a number that stands for it where it is long. */
function shortened(value: Value): Value {
  if (sizeOf(value) <= MOST_SIZE) return value;
  let made = SCALARS.get(value);
  if (made === undefined) SCALARS.set(value, made = load(new HostScalar(value), []));
  return made;
}

/** The elements of an expression tensor where they all are known on the host, else null. */
export function expressionElements(
  tensor: Tensor,
  resolve: (source: Tensor, indices: readonly Integer[]) => Value | null,
): Value[] | null {
  if (tensor.origin.kind !== "expression") return null;
  const count = staticCount(tensor.dims);
  if (count === null || count > MOST_ELEMENTS) return null;
  const { axes, body } = tensor.origin;
  const elements: Value[] = [];
  for (let i = 0; i < count; i++) {
    const indices = indicesOf(tensor.dims, i);
    const placed = substitute(body, new Map(axes.map((entry, k) => [entry, indices[k]!])));
    const value = resolved(placed, resolve);
    if (value === null || !isHostValue(value)) return null;
    elements.push(shortened(value));
  }
  return elements;
}

/** `value` with short reductions written out and loads of tensors replaced by their elements. */
function resolved(
  value: Value,
  resolve: (source: Tensor, indices: readonly Integer[]) => Value | null,
): Value | null {
  const written = writtenOut(value);
  if (written === null) return null;
  let failed = false;
  const made = rewrite(written, {
    load: (source, indices) => {
      if (failed) return constant(source.type, 0);
      if (!(source instanceof Tensor)) return null;
      const found = resolve(source, indices);
      if (found === null) failed = true;
      return found ?? constant(source.type, 0);
    },
  });
  return failed ? null : made;
}

/** `value` with its reductions written out; null where one is long or of unknown length. */
function writtenOut(value: Value): Value | null {
  if (value.kind !== "reduce") {
    if (!hasReduce(value)) return value;
    switch (value.kind) {
      case "operation": {
        const args = value.args.map(writtenOut);
        return args.every((arg) => arg !== null) ? apply(value.name, ...args) : null;
      }
      case "select": {
        const [condition, yes, no] = [value.condition, value.yes, value.no].map(writtenOut);
        return condition && yes && no ? select(condition, yes, no) : null;
      }
      default:
        return null;
    }
  }
  const count = staticCount(value.over.map((entry) => entry.extent));
  if (count === null || count > MOST_ELEMENTS || count === 0) return null;
  const names = { sum: "add", product: "mul", min: "min", max: "max" } as const;
  const { reduction } = value;
  if (!(reduction in names)) return null;
  let total: Value | null = null;
  for (let i = 0; i < count; i++) {
    const indices = indicesOf(value.over.map((entry) => entry.extent), i);
    const part = writtenOut(
      substitute(value.body, new Map(value.over.map((entry, k) => [entry, indices[k]!]))),
    );
    if (part === null) return null;
    total = total === null ? part : apply(names[reduction as keyof typeof names], total, part);
  }
  return total;
}

const WITH_REDUCE = new WeakMap<Value, boolean>();

/** True where a reduction is anywhere in `value`, its indices included. */
export function hasReduce(value: Value): boolean {
  let known = WITH_REDUCE.get(value);
  if (known === undefined) {
    known = value.kind === "reduce" || partsOf(value).some(hasReduce) ||
      integersOf(value).some((index) => [...elementsIn(index)].some(hasReduce));
    WITH_REDUCE.set(value, known);
  }
  return known;
}

/** The element of `tensor` at constant `indices`, on the host; null where only a read-back tells. */
function hostElement(tensor: Tensor, indices: readonly Integer[]): Value | null {
  const elements = knownElements(tensor);
  if (elements === null) return null;
  let offset = 0;
  for (const [i, index] of indices.entries()) {
    const position = asNumber(index);
    if (position === null) return pick(elements, tensor.dims, indices);
    offset = offset * asNumber(tensor.dims[i]!)! + position;
  }
  return elements[offset] ?? null;
}

/** The element at indices that are themselves known only at run time. */
function pick(
  elements: readonly Value[],
  dims: readonly Integer[],
  indices: readonly Integer[],
): Value | null {
  if (!indices.every(isHostInteger) || elements.length === 0) return null;
  let offset: Integer = integer(0);
  for (const [i, index] of indices.entries()) {
    offset = add(scaled(offset, asNumber(dims[i]!)!), modulo(index, dims[i]!));
  }
  return elements.reduceRight((rest, element, i) =>
    select(apply("equal", fromInteger(offset), constant("i32", i)), element, rest)
  );
}

const TRIED = new WeakSet<Tensor>();

/** The elements of `tensor` where no result of the GPU must be read back for them, else null. */
export function knownElements(tensor: Tensor): readonly Value[] | null {
  if (tensor.elements !== null) return tensor.elements;
  if (tensor.origin.kind === "input") return copiedElements(tensor);
  if (TRIED.has(tensor)) return null;
  TRIED.add(tensor);
  tensor.elements = expressionElements(tensor, hostElement);
  return tensor.elements;
}

const COPIES = new WeakMap<Tensor, HostCopy>();

/** The copy of `tensor` on the host. */
export function hostCopy(tensor: Tensor): HostCopy {
  let copy = COPIES.get(tensor);
  if (copy === undefined) {
    copy = new HostCopy(tensor, [multiply(...tensor.dims)]);
    COPIES.set(tensor, copy);
    tensor.hostRead = true;
  }
  return copy;
}

/** The elements of `tensor` from its copy on the host; null where their number is unknown. */
export function copiedElements(tensor: Tensor): readonly Value[] | null {
  const count = staticCount(tensor.dims);
  if (count === null || count > MOST_ELEMENTS) return null;
  const copy = hostCopy(tensor);
  return Array.from({ length: count }, (_, i) => load(copy, [integer(i)]));
}
