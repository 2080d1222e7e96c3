/**
 * Index expressions: what is simplified means what it says at every number, and index maps of
 * chained views become few divisions.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  add,
  apply,
  asNumber,
  type Axis,
  axis,
  constant,
  convert,
  divide,
  divideUp,
  expanded,
  extentOf,
  fromAtom,
  fromInteger,
  type Integer,
  integer,
  isEqual,
  isLess,
  isNotNegative,
  isPositive,
  load,
  maximum,
  minimum,
  modulo,
  multiply,
  ONE,
  type OperationName,
  reduce,
  rewrite,
  scaled,
  select,
  type Source,
  substitute,
  subtract,
  symbol,
  toInteger,
  type Value,
  ZERO,
} from "../../src/expr/mod.ts";
import { startFolding } from "../../src/expr/fold.ts";
import { reshapedIndices } from "../../src/ops/reshape.ts";
import { Evaluation } from "./evaluate.ts";

startFolding();

const SYMBOLS = ["batch", "height", "width"].map((name) => symbol(name));
const UNSIGNED = symbol("shift", { positive: false });
const EXTENTS: readonly Integer[] = [
  integer(1),
  integer(3),
  integer(8),
  SYMBOLS[0]!,
  SYMBOLS[1]!,
  multiply(SYMBOLS[0]!, SYMBOLS[2]!),
  scaled(SYMBOLS[1]!, 4),
];
const AXES: readonly Axis[] = EXTENTS.map((extent, i) => axis(`x${i}`, extent));

/** Extents that others define: of convolutions in a row, of a clamped slice, of their products. */
const HALF = extentOf(divide(add(SYMBOLS[1]!, ONE), integer(2)));
const QUARTER = extentOf(divide(add(HALF, ONE), integer(2)));
const DEFINED: readonly Integer[] = [
  HALF,
  QUARTER,
  extentOf(minimum(SYMBOLS[1]!, integer(5))),
  extentOf(add(SYMBOLS[0]!, ONE)),
  multiply(SYMBOLS[0]!, QUARTER),
];

/** An expression both as the simplifier makes it and as plain arithmetic. */
interface Pair {
  readonly made: Integer;
  readonly exact: (at: Evaluation) => number;
}

const atom = (made: Integer): Pair => ({ made, exact: (at) => at.integer(made) });
const LEAVES: readonly Pair[] = [
  ...[-7, -1, 0, 1, 2, 5, 12].map((value) => atom(integer(value))),
  ...SYMBOLS.map(atom),
  atom(UNSIGNED),
  ...AXES.map((entry) => atom(fromAtom(entry))),
  ...DEFINED.map(atom),
];
/** What divides: 1 or more, as extents are. */
const DIVISORS: readonly Pair[] = [1, 2, 3, 4, 12].map(integer).concat(EXTENTS).concat([
  multiply(SYMBOLS[1]!, SYMBOLS[2]!),
  scaled(multiply(SYMBOLS[0]!, SYMBOLS[1]!), 6),
  ...DEFINED,
]).map(atom);

function floorDivided(a: number, b: number): number {
  return Math.floor(a / b);
}

const { tree: PAIRS } = fc.letrec<{ tree: Pair }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.constantFrom(...LEAVES),
    fc.tuple(tie("tree"), tie("tree")).map(([a, b]): Pair => ({
      made: add(a.made, b.made),
      exact: (at) => a.exact(at) + b.exact(at),
    })),
    fc.tuple(tie("tree"), tie("tree")).map(([a, b]): Pair => ({
      made: subtract(a.made, b.made),
      exact: (at) => a.exact(at) - b.exact(at),
    })),
    fc.tuple(tie("tree"), fc.constantFrom(...LEAVES, ...DIVISORS)).map(([a, b]): Pair => ({
      made: multiply(a.made, b.made),
      exact: (at) => a.exact(at) * b.exact(at),
    })),
    fc.tuple(tie("tree"), fc.constantFrom(...DIVISORS)).map(([a, b]): Pair => ({
      made: divide(a.made, b.made),
      exact: (at) => floorDivided(a.exact(at), b.exact(at)),
    })),
    fc.tuple(tie("tree"), fc.constantFrom(...DIVISORS)).map(([a, b]): Pair => ({
      made: modulo(a.made, b.made),
      exact: (at) => a.exact(at) - b.exact(at) * floorDivided(a.exact(at), b.exact(at)),
    })),
    fc.tuple(tie("tree"), tie("tree")).map(([a, b]): Pair => ({
      made: minimum(a.made, b.made),
      exact: (at) => Math.min(a.exact(at), b.exact(at)),
    })),
    fc.tuple(tie("tree"), tie("tree")).map(([a, b]): Pair => ({
      made: maximum(a.made, b.made),
      exact: (at) => Math.max(a.exact(at), b.exact(at)),
    })),
  ),
}));

/** Numbers for symbols and positions of axes, each position a part of its extent. */
const WORLDS = fc.record({
  symbols: fc.tuple(...SYMBOLS.map(() => fc.integer({ min: 1, max: 9 }))),
  shift: fc.integer({ min: -9, max: 9 }),
  positions: fc.tuple(...AXES.map(() => fc.double({ min: 0, max: 1, noNaN: true }))),
});
type Numbers = typeof WORLDS extends fc.Arbitrary<infer T> ? T : never;

function evaluationOf({ symbols, shift, positions }: Numbers): Evaluation {
  const numbers: Record<string, number> = {
    batch: symbols[0]!,
    height: symbols[1]!,
    width: symbols[2]!,
    shift,
  };
  const outer = new Evaluation({
    symbol: (name) => numbers[name]!,
    load: (source, indices) => element(source, indices),
  });
  return outer.at(
    new Map(AXES.map((entry, i) => {
      const extent = outer.integer(entry.extent);
      return [entry, Math.min(extent - 1, Math.floor(positions[i]! * extent))];
    })),
  );
}

/** A pseudorandom element. */
function element(source: Source, indices: readonly number[]): number {
  const hash = indices.reduce((sum, index) => (sum * 31 + index + 7) % 1009, source.id % 97);
  return source.type === "f32" ? hash / 16 : hash % 23;
}

Deno.test("simplified integers are equal to what they were made of", () => {
  fc.assert(
    fc.property(PAIRS, WORLDS, ({ made, exact }, numbers) => {
      const at = evaluationOf(numbers);
      assert.equal(at.integer(made) + 0, exact(at) + 0);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("what is proved of integers holds", () => {
  fc.assert(
    fc.property(PAIRS, PAIRS, WORLDS, (a, b, numbers) => {
      const at = evaluationOf(numbers);
      const [x, y] = [a.exact(at), b.exact(at)];
      if (isLess(a.made, b.made)) assert.ok(x < y);
      if (isNotNegative(a.made)) assert.ok(x >= 0);
      if (isPositive(a.made)) assert.ok(x >= 1);
      if (isEqual(a.made, b.made)) assert.equal(x + 0, y + 0);
      assert.equal(at.integer(expanded(a.made)) + 0, x + 0);
      if (a.made.axes.length > 0) return;
      const extent = extentOf(maximum(a.made, ONE));
      assert.equal(at.integer(extent), Math.max(x, 1));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("extents that come to the same are one, however they were reached", () => {
  const [batch, height] = SYMBOLS as [Integer, Integer];
  // Strides of 2, 2 and 2, and one of 8.
  const eighth = extentOf(divide(add(QUARTER, ONE), integer(2)));
  assert.equal(eighth, extentOf(divide(add(height, integer(7)), integer(8))));
  assert.ok(isEqual(eighth, divide(add(height, integer(7)), integer(8))));
  // A table's rows up to a length, behind rows that went before.
  assert.equal(
    extentOf(subtract(minimum(add(height, ONE), extentOf(add(height, ONE))), ONE)),
    height,
  );
  // A product stays one, so that it can be divided.
  const joined = extentOf(multiply(batch, QUARTER));
  assert.equal(divide(joined, QUARTER), batch);
  assert.equal(extentOf(multiply(batch, divide(add(HALF, ONE), integer(2)))), joined);
  // Twice the half is at least the whole, twice twice the quarter too.
  assert.ok(isNotNegative(subtract(scaled(HALF, 2), height)));
  assert.ok(isNotNegative(subtract(scaled(QUARTER, 4), height)));
  assert.ok(!isNotNegative(subtract(height, scaled(HALF, 2))));
  assert.equal(
    apply("equal", fromInteger(scaled(QUARTER, 2)), fromInteger(HALF)).kind,
    "operation",
  );
});

Deno.test("comparisons and arithmetic of integers as values are folded rightly", () => {
  const names: readonly OperationName[] = [
    "add",
    "sub",
    "mul",
    "min",
    "max",
    "less",
    "lessOrEqual",
    "greater",
    "greaterOrEqual",
    "equal",
    "notEqual",
  ];
  const exact: Record<string, (a: number, b: number) => number> = {
    add: (a, b) => a + b,
    sub: (a, b) => a - b,
    mul: (a, b) => a * b,
    min: Math.min,
    max: Math.max,
    less: (a, b) => Number(a < b),
    lessOrEqual: (a, b) => Number(a <= b),
    greater: (a, b) => Number(a > b),
    greaterOrEqual: (a, b) => Number(a >= b),
    equal: (a, b) => Number(a === b),
    notEqual: (a, b) => Number(a !== b),
  };
  fc.assert(
    fc.property(PAIRS, PAIRS, fc.constantFrom(...names), WORLDS, (a, b, name, numbers) => {
      const at = evaluationOf(numbers);
      const [x, y] = [a.exact(at), b.exact(at)];
      fc.pre(Math.abs(x * y) < 2 ** 31);
      const value = apply(name, fromInteger(a.made), fromInteger(b.made));
      assert.equal(at.value(value), exact[name]!(x, y) + 0);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("replacing axes is evaluating at what they are replaced by", () => {
  fc.assert(
    fc.property(PAIRS, fc.tuple(...AXES.map(() => PAIRS)), WORLDS, (a, by, numbers) => {
      const at = evaluationOf(numbers);
      // An axis may only be replaced by what is in its range.
      const within = by.map((pair, i) => modulo(pair.made, AXES[i]!.extent));
      const replaced = toInteger(
        substitute(fromInteger(a.made), new Map(AXES.map((entry, i) => [entry, within[i]!]))),
      );
      const moved = at.at(new Map(AXES.map((entry, i) => [entry, at.integer(within[i]!)])));
      assert.equal(at.integer(replaced) + 0, moved.integer(a.made) + 0);
    }),
    { numRuns: 400 },
  );
});

const source = (id: number, ...dims: readonly Integer[]): Source => ({ id, type: "f32", dims });

Deno.test("a reduction captures no axis that is free in what it holds", () => {
  const n = integer(4);
  const [matrix, vector] = [source(1, n, n), source(2, n)];
  const row = axis("row", n);
  const sum = reduce("sum", [n], ([k]) => load(matrix, [fromAtom(row), k!]));
  assert.equal(sum.kind, "reduce");
  const [inner] = sum.kind === "reduce" ? sum.over : [];
  // The free axis becomes the very axis that the reduction is over.
  const replaced = substitute(sum, new Map([[row, fromAtom(inner!)]]));
  const world = { symbol: () => 0, load: element };
  for (let i = 0; i < 4; i++) {
    const at = new Evaluation(world).at(new Map([[inner!, i]]));
    const expected = [0, 1, 2, 3].reduce((total, k) => total + element(matrix, [i, k]), 0);
    assert.equal(at.value(replaced), expected);
  }
  const nested = reduce(
    "sum",
    [n],
    ([i]) => reduce("sum", [n], ([k]) => apply("mul", load(matrix, [i!, k!]), load(vector, [i!]))),
  );
  let expected = 0;
  for (let i = 0; i < 4; i++) {
    for (let k = 0; k < 4; k++) expected += element(matrix, [i, k]) * element(vector, [i]);
  }
  assert.equal(new Evaluation(world).value(nested), expected);
});

Deno.test("equal reductions are one value, whoever made them and however deep", () => {
  const n = SYMBOLS[0]!;
  const matrix = source(3, n, n);
  const row = axis("row", n);
  const norm = (): Value => reduce("sum", [n], ([k]) => load(matrix, [fromAtom(row), k!]));
  assert.equal(norm(), norm());
  const total = (): Value => reduce("max", [n], ([i]) => substitute(norm(), new Map([[row, i!]])));
  assert.equal(total(), total());
  // Inlining the reduction into another, by its loads, gives what was written at once.
  const stored = source(4, n);
  const later = reduce("max", [n], ([i]) => load(stored, [i!]));
  const inlined = rewrite(later, {
    load: (from, [i]) => from === stored ? substitute(norm(), new Map([[row, i!]])) : null,
  });
  assert.equal(inlined, total());
});

Deno.test("a reduction over one position has no loop, one over none its neutral element", () => {
  const matrix = source(5, integer(1), integer(3));
  const sum = reduce("sum", [ONE, integer(3)], ([i, k]) => load(matrix, [i!, k!]));
  assert.equal(sum.kind === "reduce" && sum.over.length, 1);
  assert.equal(reduce("argmax", [ONE], () => constant("f32", 2)), constant("i32", 0));
  const world = { symbol: () => 0, load: element };
  const empty = reduce("product", [ZERO], ([i]) => load(matrix, [ZERO, i!]));
  assert.equal(new Evaluation(world).value(empty), 1);
});

Deno.test("only the branch that is taken is computed", () => {
  const vector = source(6, integer(4));
  const i = AXES[3]!;
  const inRange = apply("less", fromInteger(fromAtom(i)), constant("i32", 4));
  const value = select(inRange, load(vector, [fromAtom(i)]), constant("f32", -1));
  const world = { symbol: () => 9, load: element };
  const at = (position: number) => new Evaluation(world).at(new Map([[i, position]])).value(value);
  assert.equal(at(2), element(vector, [2]));
  assert.equal(at(7), -1);
});

Deno.test("conversions keep their meaning where they are folded", () => {
  const at = new Evaluation({ symbol: () => 1, load: element });
  fc.assert(
    fc.property(fc.double({ min: -3e9, max: 3e9, noNaN: true }), (number) => {
      const value = Math.fround(number);
      fc.pre(Math.abs(value) < 2 ** 31);
      assert.equal(at.value(convert("i32", constant("f32", value))), Math.trunc(value) + 0);
      assert.equal(at.value(convert("bool", constant("f32", value))), value === 0 ? 0 : 1);
    }),
  );
});

/** How many divisions and remainders are in an integer. */
function divisions(value: Integer, seen = new Set<number>()): number {
  let count = 0;
  for (const { factors } of value.terms) {
    for (const factor of factors) {
      if (seen.has(factor.id) || !("a" in factor)) continue;
      seen.add(factor.id);
      count += (factor.kind === "div" || factor.kind === "mod" ? 1 : 0) +
        divisions(factor.a, seen) + divisions(factor.b, seen);
    }
  }
  return count;
}

/** One step of a chain of views: its shape, or the order of its dimensions. */
type View = { readonly shape: readonly Integer[] } | { readonly order: readonly number[] };

/** The shape after each view. */
function shapesOf(start: readonly Integer[], views: readonly View[]): (readonly Integer[])[] {
  const shapes = [start];
  for (const view of views) {
    const last = shapes.at(-1)!;
    shapes.push("shape" in view ? view.shape : view.order.map((d) => last[d]!));
  }
  return shapes;
}

/** Where an element of the last view lies in the tensor that the chain begins with. */
function through(
  start: readonly Integer[],
  views: readonly View[],
  indices: readonly Integer[],
): readonly Integer[] {
  const shapes = shapesOf(start, views);
  return views.reduceRight<readonly Integer[]>((place, view, i) => {
    if ("shape" in view) return reshapedIndices(shapes[i]!, view.shape, place);
    const moved: Integer[] = [];
    view.order.forEach((from, to) => moved[from] = place[to]!);
    return moved;
  }, indices);
}

const [B, H, W] = SYMBOLS as [Integer, Integer, Integer];
const C = integer(96);
const SIDE = integer(7);

/** Swin's partition into windows of 7 x 7, of a picture of H x W windows. */
const PARTITION: readonly View[] = [
  { shape: [B, H, SIDE, W, SIDE, C] },
  { order: [0, 1, 3, 2, 4, 5] },
  { shape: [multiply(B, H, W), integer(49), C] },
];
const REVERSE: readonly View[] = [
  { shape: [B, H, W, SIDE, SIDE, C] },
  { order: [0, 1, 3, 2, 4, 5] },
  { shape: [B, scaled(H, 7), scaled(W, 7), C] },
];
const PICTURE: readonly Integer[] = [B, scaled(H, 7), scaled(W, 7), C];

function axesOfShape(shape: readonly Integer[]): readonly Axis[] {
  return shape.map((extent, i) => axis(`o${i}`, extent));
}

Deno.test("windows that are cut and put together again need no division at all", () => {
  const axes = axesOfShape(PICTURE);
  const place = through(PICTURE, [...PARTITION, ...REVERSE], axes.map(fromAtom));
  assert.deepEqual(place, axes.map(fromAtom));
});

Deno.test("a partition into windows needs as many divisions as its shape has digits", () => {
  const shape = shapesOf(PICTURE, PARTITION).at(-1)!;
  const place = through(PICTURE, PARTITION, axesOfShape(shape).map(fromAtom));
  const count = place.reduce((total, index) => total + divisions(index), 0);
  assert.ok(count <= 6, `${count} divisions`);
});

Deno.test("attention heads that are split and joined again are the identity", () => {
  const start = [B, H, integer(384)];
  const heads: readonly View[] = [
    { shape: [B, H, integer(12), integer(32)] },
    { order: [0, 2, 1, 3] },
    { order: [0, 2, 1, 3] },
    { shape: start },
  ];
  const axes = axesOfShape(start);
  assert.deepEqual(through(start, heads, axes.map(fromAtom)), axes.map(fromAtom));
  // Split alone: no division, since heads and their elements are axes of their own.
  const split = heads.slice(0, 2);
  const shape = shapesOf(start, split).at(-1)!;
  const place = through(start, split, axesOfShape(shape).map(fromAtom));
  assert.equal(place.reduce((total, index) => total + divisions(index), 0), 0);
});

/** A shape and a chain of views of it: factors shuffled, merged and split again. */
const CHAINS = fc.array(
  fc.record({
    order: fc.infiniteStream(fc.integer({ min: 0, max: 1000 })),
    cuts: fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
  }),
  { minLength: 1, maxLength: 4 },
);
const FACTORS = fc.array(
  fc.constantFrom(ONE, integer(2), integer(3), integer(5), B, H, W, scaled(H, 2)),
  { minLength: 2, maxLength: 5 },
);

/** Neighbouring factors multiplied, cut where `cuts` says. */
function merged(factors: readonly Integer[], cuts: readonly boolean[]): readonly Integer[] {
  const shape: Integer[] = [];
  factors.forEach((factor, i) => {
    if (i === 0 || cuts[i]) shape.push(factor);
    else shape[shape.length - 1] = multiply(shape.at(-1)!, factor);
  });
  return shape;
}

Deno.test("chains of reshapes and transposes read what they read step by step", () => {
  fc.assert(
    fc.property(FACTORS, CHAINS, WORLDS, (factors, chain, numbers) => {
      const views: View[] = [];
      let own = factors;
      for (const { order, cuts } of chain) {
        views.push({ shape: own });
        const keys = own.map(() => order.next().value as number);
        const moved = own.map((_, i) => i).sort((a, b) => keys[a]! - keys[b]! || a - b);
        views.push({ order: moved });
        own = moved.map((i) => own[i]!);
        views.push({ shape: merged(own, cuts) });
      }
      const shapes = shapesOf(factors, views);
      const at = evaluationOf(numbers);
      const sizes = shapes.map((shape) => shape.map((extent) => at.integer(extent)));
      const last = shapes.at(-1)!;
      const axes = axesOfShape(last);
      const place = through(factors, views, axes.map(fromAtom));
      const count = sizes.at(-1)!.reduce((a, b) => a * b, 1);
      for (let k = 0; k < 12; k++) {
        const flat = Math.floor((k * count) / 12);
        const positions = digits(flat, sizes.at(-1)!);
        const here = at.at(new Map(axes.map((entry, i) => [entry, positions[i]!])));
        const expected = views.reduceRight((indices, view, i) => {
          if ("shape" in view) return digits(number(indices, sizes[i + 1]!), sizes[i]!);
          const moved: number[] = [];
          view.order.forEach((from, to) => moved[from] = indices[to]!);
          return moved;
        }, positions);
        assert.deepEqual(place.map((index) => here.integer(index)), expected);
      }
    }),
    { numRuns: 400 },
  );
});

function digits(flat: number, sizes: readonly number[]): number[] {
  return sizes.map((size, i) => {
    const stride = sizes.slice(i + 1).reduce((a, b) => a * b, 1);
    return Math.floor(flat / stride) % size;
  });
}

function number(indices: readonly number[], sizes: readonly number[]): number {
  return indices.reduce((flat, index, i) => flat * sizes[i]! + index, 0);
}

Deno.test("rounding up and constants", () => {
  assert.equal(asNumber(divideUp(integer(7), integer(2))), 4);
  assert.equal(divideUp(scaled(B, 8), integer(4)), scaled(B, 2));
  assert.equal(divide(ZERO, B), ZERO);
  assert.equal(modulo(multiply(B, H), H), ZERO);
});
