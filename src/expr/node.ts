/**
 * Values: what one element of a tensor is, as an expression over other tensors' elements. Nodes are
 * interned, so equal expressions are one object, and constructors simplify. Ops are written in these
 * (`src/ops`), the schedule inlines one into another by {@link substitute}, printers make WGSL and
 * JavaScript of them.
 */
import {
  divide,
  isEqual,
  isLess,
  isNotNegative,
  isPositive,
  maximum,
  minimum,
  modulo,
} from "./bounds.ts";
import {
  add,
  asAtom,
  asNumber,
  type Axis,
  elementOf,
  type Integer,
  integer,
  multiply,
  subtract,
  unionOfAxes,
  ZERO,
} from "./integer.ts";
import { freshId, InternTable } from "./interned.ts";
import { operation, type OperationName, type Scalar } from "./operations.ts";

/** Something that has elements to load. */
export interface Source {
  readonly id: number;
  /** The type that an element is loaded as. */
  readonly type: Scalar;
  readonly dims: readonly Integer[];
}

/** How a reduction combines its elements; `arg` forms give the position (i32) of the extreme. */
export type Reduction =
  | "sum"
  | "product"
  | "min"
  | "max"
  | "argmin"
  | "argmax"
  | "argminLast"
  | "argmaxLast";

interface Common {
  readonly id: number;
  readonly type: Scalar;
  readonly axes: readonly Axis[];
}

/** A value. */
export type Value =
  /** bool is 0 or 1. */
  | (Common & { readonly kind: "constant"; readonly value: number })
  | (Common & { readonly kind: "integer"; readonly integer: Integer })
  | (Common & {
    readonly kind: "load";
    readonly source: Source;
    readonly indices: readonly Integer[];
  })
  | (Common & {
    readonly kind: "operation";
    readonly name: OperationName;
    readonly args: readonly Value[];
  })
  /** Only the branch that is taken is computed. */
  | (Common & {
    readonly kind: "select";
    readonly condition: Value;
    readonly yes: Value;
    readonly no: Value;
  })
  /** To another scalar type: floats are truncated towards zero, a bool is 0 or 1. */
  | (Common & { readonly kind: "convert"; readonly value: Value })
  | (Common & { readonly kind: "bitcast"; readonly value: Value })
  /** A call of a function of the prelude that is no operation. */
  | (Common & { readonly kind: "call"; readonly name: string; readonly args: readonly Value[] })
  | (Common & {
    readonly kind: "reduce";
    readonly reduction: Reduction;
    readonly over: readonly Axis[];
    readonly body: Value;
    /** One more than that of any reduction inside; names the axes. */
    readonly level: number;
  });

/** The values of one kind. */
export type Kind<K extends Value["kind"]> = Extract<Value, { kind: K }>;

const INTERNED = new InternTable<Value>();

type Made<T> = T extends Value ? Omit<T, "id" | "axes"> : never;

function intern<T extends Value>(
  key: string,
  axes: () => readonly Axis[],
  make: () => Made<T>,
): T {
  const known = INTERNED.get(key);
  if (known !== undefined) return known as T;
  const made = { ...make(), id: freshId(), axes: axes() } as unknown as T;
  INTERNED.set(key, made);
  return made;
}

const axesOf = (nodes: readonly { readonly axes: readonly Axis[] }[]): readonly Axis[] =>
  unionOfAxes(nodes.map((node) => node.axes));

/** The number `value` as `type`; floats are rounded to float32. */
export function constant(type: Scalar, value: number): Value {
  const stored = type === "f32" ? Math.fround(value) : type === "bool" ? (value ? 1 : 0) : value;
  const key = `c${type}${Object.is(stored, -0) ? "-0" : stored}`;
  return intern<Kind<"constant">>(key, () => [], () => ({
    kind: "constant",
    type,
    value: stored,
  }));
}

/** `value` as an i32. */
export function fromInteger(value: Integer): Value {
  const number = asNumber(value);
  if (number !== null) return constant("i32", number);
  const atom = asAtom(value);
  if (atom?.kind === "element" && atom.value.type === "i32") return atom.value;
  return intern<Kind<"integer">>(`i${value.id}`, () => value.axes, () => ({
    kind: "integer",
    type: "i32",
    integer: value,
  }));
}

/** The whole number `value` as an index or an extent. */
export function toInteger(value: Value): Integer {
  if (value.kind === "integer") return value.integer;
  if (value.kind === "constant") return integer(Math.trunc(value.value));
  if (value.kind === "convert" && value.type !== "bool") {
    const from = value.value;
    if (from.type === "i32" || from.type === "u32") return toInteger(from);
  }
  return elementOf(value);
}

/** The element of `source` at `indices`, one a dimension. */
export function load(source: Source, indices: readonly Integer[]): Value {
  if (indices.length !== source.dims.length) {
    throw new Error(`a load of rank ${source.dims.length} has ${indices.length} indices`);
  }
  const places = indices.map((index, i) => asNumber(source.dims[i]!) === 1 ? ZERO : index);
  const key = `l${source.id}:${places.map((index) => index.id).join(",")}`;
  return intern<Kind<"load">>(key, () => axesOf(places), () => ({
    kind: "load",
    type: source.type,
    source,
    indices: places,
  }));
}

/** `name` of `args`. Constants are folded; arithmetic on integers becomes an {@link Integer}. */
export function apply(name: OperationName, ...args: readonly Value[]): Value {
  return simplified(name, args) ?? rawOperation(name, args);
}

function rawOperation(name: OperationName, args: readonly Value[]): Value {
  const row = operation(name);
  const type = row.result === "first" ? args[0]!.type : row.result;
  const key = `o${name}:${args.map((arg) => arg.id).join(",")}`;
  return intern<Kind<"operation">>(key, () => axesOf(args), () => ({
    kind: "operation",
    type,
    name,
    args,
  }));
}

/** What folds operations whose arguments are all constants; set by `fold.ts`. */
type Folder = (name: OperationName, type: Scalar, args: readonly number[]) => number | null;
let folder: Folder = () => null;

/** Sets the folder of constants, which needs the prelude. */
export function foldWith(made: Folder): void {
  folder = made;
}

function simplified(name: OperationName, args: readonly Value[]): Value | null {
  const row = operation(name);
  const type = row.result === "first" ? args[0]!.type : row.result;
  if (args.every((arg) => arg.kind === "constant")) {
    const value = folder(name, args[0]!.type, args.map((arg) => arg.value));
    if (value !== null) return constant(type, value);
  }
  const [a, b] = args as [Value, Value];
  if (isWhole(a) && (b === undefined || isWhole(b))) {
    const folded = onIntegers(name, a, b);
    if (folded !== null) return folded;
  }
  const isConstant = (value: Value | undefined, number: number): boolean =>
    value?.kind === "constant" && Object.is(value.value, number);
  switch (name) {
    case "add":
      if (a.type !== "f32" && isConstant(a, 0)) return b;
      return isConstant(b, -0) || (a.type !== "f32" && isConstant(b, 0)) ? a : null;
    case "sub":
      return isConstant(b, 0) ? a : null;
    case "mul":
      return isConstant(b, 1) ? a : isConstant(a, 1) ? b : null;
    case "div":
      return isConstant(b, 1) ? a : null;
    case "and":
      if (isConstant(a, 0) || isConstant(b, 0)) return constant("bool", 0);
      return isConstant(a, 1) ? b : isConstant(b, 1) ? a : null;
    case "or":
      if (isConstant(a, 1) || isConstant(b, 1)) return constant("bool", 1);
      return isConstant(a, 0) ? b : isConstant(b, 0) ? a : null;
    case "bitAnd":
      return null;
    default:
      return null;
  }
}

function isWhole(value: Value): boolean {
  return value.kind === "integer" || (value.kind === "constant" && value.type === "i32");
}

/** Arithmetic and comparisons of integers, by what is known of them. */
function onIntegers(name: OperationName, a: Value, b: Value | undefined): Value | null {
  const x = toInteger(a);
  if (name === "negate") return fromInteger(subtract(ZERO, x));
  if (name === "abs" && isNotNegative(x)) return a;
  if (name === "sign" && isPositive(x)) return constant("i32", 1);
  if (b === undefined) return null;
  const y = toInteger(b);
  const known = (yes: boolean, no: boolean): Value | null =>
    yes ? constant("bool", 1) : no ? constant("bool", 0) : null;
  const notLess = (left: Integer, right: Integer): boolean => isNotNegative(subtract(left, right));
  switch (name) {
    case "add":
      return fromInteger(add(x, y));
    case "sub":
      return fromInteger(subtract(x, y));
    case "mul":
      return fromInteger(multiply(x, y));
    case "quotient":
    case "floorDiv":
      return isNotNegative(x) && isNotNegative(y) && y !== ZERO ? fromInteger(divide(x, y)) : null;
    case "remainder":
    case "floorMod":
      return isNotNegative(x) && isNotNegative(y) && y !== ZERO ? fromInteger(modulo(x, y)) : null;
    case "min":
    case "fastMin":
      return fromInteger(minimum(x, y));
    case "max":
    case "fastMax":
      return fromInteger(maximum(x, y));
    case "less":
      return known(isLess(x, y), notLess(x, y));
    case "lessOrEqual":
      return known(notLess(y, x), isLess(y, x));
    case "greater":
      return known(isLess(y, x), notLess(y, x));
    case "greaterOrEqual":
      return known(notLess(x, y), isLess(x, y));
    case "equal":
      return known(isEqual(x, y), isLess(x, y) || isLess(y, x));
    case "notEqual":
      return known(isLess(x, y) || isLess(y, x), isEqual(x, y));
    default:
      return null;
  }
}

/** `yes` where `condition` holds, else `no`; only the one that is taken is computed. */
export function select(condition: Value, yes: Value, no: Value): Value {
  if (condition.kind === "constant") return condition.value !== 0 ? yes : no;
  if (yes === no) return yes;
  const key = `?${condition.id},${yes.id},${no.id}`;
  return intern<Kind<"select">>(key, () => axesOf([condition, yes, no]), () => ({
    kind: "select",
    type: yes.type,
    condition,
    yes,
    no,
  }));
}

/** `value` as another scalar type. */
export function convert(type: Scalar, value: Value): Value {
  if (value.type === type) return value;
  if (value.kind === "constant") {
    const to = type === "f32" || type === "bool" ? value.value : Math.trunc(value.value);
    if (Number.isFinite(to) && (type !== "u32" || to >= 0)) return constant(type, to);
  }
  if (type === "bool" && value.kind === "integer" && isPositive(value.integer)) {
    return constant("bool", 1);
  }
  const key = `v${type}${value.id}`;
  return intern<Kind<"convert">>(key, () => value.axes, () => ({ kind: "convert", type, value }));
}

/** The bits of `value` as another scalar type. */
export function bitcast(type: Scalar, value: Value): Value {
  if (value.type === type) return value;
  const key = `b${type}${value.id}`;
  return intern<Kind<"bitcast">>(key, () => value.axes, () => ({ kind: "bitcast", type, value }));
}

/** A call of the prelude's function `name`, which gives `type`. */
export function call(name: string, type: Scalar, ...args: readonly Value[]): Value {
  const key = `f${name}:${type}${args.map((arg) => arg.id).join(",")}`;
  return intern<Kind<"call">>(key, () => axesOf(args), () => ({
    kind: "call",
    type,
    name,
    args,
  }));
}

/** A reduction of `body` over axes that are already named; {@link reduce} names them. */
export function reduction(
  combination: Reduction,
  over: readonly Axis[],
  body: Value,
  level: number,
): Value {
  const key = `r${combination}:${over.map((entry) => entry.id).join(",")}:${body.id}`;
  const free = (): readonly Axis[] =>
    unionOfAxes([
      body.axes.filter((entry) => !over.includes(entry)),
      ...over.map((entry) => entry.extent.axes),
    ]);
  return intern<Kind<"reduce">>(key, free, () => ({
    kind: "reduce",
    type: combination.startsWith("arg") ? "i32" : body.type,
    reduction: combination,
    over,
    body,
    level,
  }));
}

/** The values that `value` is directly made of. */
export function partsOf(value: Value): readonly Value[] {
  switch (value.kind) {
    case "constant":
    case "integer":
    case "load":
      return [];
    case "operation":
    case "call":
      return value.args;
    case "select":
      return [value.condition, value.yes, value.no];
    case "convert":
    case "bitcast":
      return [value.value];
    case "reduce":
      return [value.body];
  }
}

/** The integers that `value` directly holds: its indices, or itself. */
export function integersOf(value: Value): readonly Integer[] {
  return value.kind === "load" ? value.indices : value.kind === "integer" ? [value.integer] : [];
}

/** The values inside the `element` atoms of `index`. */
export function* elementsIn(index: Integer): Generator<Value> {
  for (const term of index.terms) {
    for (const factor of term.factors) {
      if (factor.kind === "element") yield factor.value;
      else if ("a" in factor) {
        yield* elementsIn(factor.a);
        yield* elementsIn(factor.b);
      }
    }
  }
}
