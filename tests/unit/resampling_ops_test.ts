/**
 * Resize and GridSample against their definitions in float64, and the functions of the host against
 * theirs.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { Lowering } from "../../src/codegen/lower.ts";
import { nonMaxSuppression, nonZero, unique } from "../../src/codegen/runtime/host.js";
import { makeGraph, makeModel, makeNode, makeTensor, makeValueInfo } from "../../src/ir.ts";
import { float, tensor } from "../attributes.ts";
import { type Dense, interpret } from "./interpret.ts";
import { build, elementAt, type Given, integers, type Place, runOp } from "./op_models.ts";

const OPERANDS = fc.constantFrom<Place>("constant", "input");
const DATA = fc.constantFrom<Place>("input", "symbolic");

/** Elements without a pattern that a wrong index could meet. */
const scattered = (dims: readonly number[]): Dense =>
  build(dims, (place) => place.reduce((hash, k) => (hash * 37 + k * 11 + 5) % 101, 7) / 8);

function near(result: Dense | undefined, expected: Dense): void {
  assert.deepEqual(result?.dims, expected.dims);
  for (let i = 0; i < expected.data.length; i++) {
    const distance = Math.abs(result!.data[i]! - expected.data[i]!);
    assert.ok(distance <= 1e-3, `${i}: ${result!.data[i]} for ${expected.data[i]}`);
  }
}

/** The coordinate in the input of a position of the result. */
const COORDINATES: Record<string, (x: number, from: number, to: number, scale: number) => number> =
  {
    half_pixel: (x, _from, _to, scale) => (x + 0.5) / scale - 0.5,
    asymmetric: (x, _from, _to, scale) => x / scale,
    align_corners: (x, from, to) => to === 1 ? 0 : x * (from - 1) / (to - 1),
    pytorch_half_pixel: (x, _from, to, scale) => to > 1 ? (x + 0.5) / scale - 0.5 : 0,
  };

/** How far to round, with a margin for coordinates that fall between. */
const ROUNDED: Record<string, (x: number) => number> = {
  floor: Math.floor,
  ceil: Math.ceil,
  round_prefer_floor: (x) => Math.ceil(x - 0.5),
  round_prefer_ceil: (x) => Math.floor(x + 0.5),
};

/** Keys' cubic convolution. */
function cubic(t: number, a: number): number {
  const d = Math.abs(t);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

const KERNELS: Record<string, { reach: number; weight: (t: number) => number }> = {
  linear: { reach: 1, weight: (t) => Math.max(0, 1 - Math.abs(t)) },
  cubic: { reach: 2, weight: (t) => cubic(t, -0.75) },
};

/** One line of elements, weighed around `x`. */
function weighed(line: readonly number[], x: number, mode: string, exclude: boolean): number {
  const { reach, weight } = KERNELS[mode]!;
  let [sum, total] = [0, 0];
  for (let i = Math.floor(x) - reach; i <= Math.floor(x) + reach + 1; i++) {
    if (exclude && (i < 0 || i >= line.length)) continue;
    sum += weight(i - x) * line[Math.min(Math.max(i, 0), line.length - 1)]!;
    total += weight(i - x);
  }
  return exclude ? sum / total : sum;
}

Deno.test("Resize reads where its coordinates say, by scales and sizes of any time", () => {
  const side = fc.integer({ min: 1, max: 6 });
  const cases = fc.record({
    dims: fc.tuple(side, side),
    scales: fc.tuple(...[0, 1].map(() => fc.constantFrom(0.5, 1, 1.5, 2, 3))),
    sizes: fc.option(fc.tuple(side, side)),
    transformation: fc.constantFrom(...Object.keys(COORDINATES)),
    mode: fc.constantFrom("nearest", "linear", "cubic"),
    rounding: fc.constantFrom(...Object.keys(ROUNDED)),
    exclude: fc.boolean(),
    as: OPERANDS,
    data: DATA,
  });
  fc.assert(
    fc.property(
      cases,
      ({ dims, scales, sizes, transformation, mode, rounding, exclude, as, data }) => {
        const to = dims.map((extent, d) => sizes?.[d] ?? Math.floor(extent * scales[d]!));
        const scale = dims.map((extent, d) => sizes === null ? scales[d]! : sizes[d]! / extent);
        // Where an extent is rounded down, aligned corners have no agreed meaning.
        fc.pre(to.every((extent, d) => extent > 0 && (scale[d]! * dims[d]! === extent)));
        const at = (d: number, k: number): number =>
          COORDINATES[transformation]!(k, dims[d]!, to[d]!, scale[d]!);
        // A tie that only an inexact quotient makes may go either way.
        const exact = sizes === null && scales.every((value) => value !== 3 && value !== 1.5) &&
          transformation !== "align_corners";
        const tied = to.some((extent, d) =>
          Array.from({ length: extent }, (_, k) => at(d, k)).some((x) =>
            Math.abs(2 * x - Math.round(2 * x)) < 1e-4
          )
        );
        fc.pre(mode !== "nearest" || exact || !tied);
        const x = scattered(dims);
        const clamp = (d: number, k: number): number => Math.min(Math.max(k, 0), dims[d]! - 1);
        const expected = build(to, ([i, k]) => {
          const [y, z] = [at(0, i!), at(1, k!)];
          if (mode === "nearest") {
            const round = ROUNDED[rounding]!;
            return elementAt(x, [clamp(0, round(y)), clamp(1, round(z))]);
          }
          const rows = Array.from({ length: dims[0]! }, (_, row) =>
            weighed(
              Array.from(
                { length: dims[1]! },
                (_, column) => elementAt(x, [row, column]),
              ),
              z,
              mode,
              exclude,
            ));
          return weighed(rows, y, mode, exclude);
        });
        const scaled: Given = { dims: [2], data: scales, as };
        const [result] = runOp(
          "Resize",
          [{ ...x, as: data }, null, sizes === null ? scaled : null, sizes && integers(sizes, as)],
          {
            mode,
            coordinate_transformation_mode: transformation,
            nearest_mode: rounding,
            exclude_outside: exclude ? 1 : 0,
          },
        );
        near(result, expected);
      },
    ),
    { numRuns: 200 },
  );
});

Deno.test("GridSample reads between elements, and past the border as its padding says", () => {
  const cases = fc.record({
    dims: fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 })),
    place: fc.tuple(...[0, 1].map(() => fc.integer({ min: -190, max: 190 }))),
    padding: fc.constantFrom("zeros", "border", "reflection"),
    aligned: fc.constantFrom(0, 1),
    data: DATA,
  });
  fc.assert(
    fc.property(cases, ({ dims: [height, width], place, padding, aligned, data }) => {
      const x = scattered([1, 1, height, width]);
      const [gx, gy] = place.map((value) => Math.fround(value / 100)) as [number, number];
      const inElements = (g: number, extent: number): number =>
        aligned ? (g + 1) / 2 * (extent - 1) : ((g + 1) * extent - 1) / 2;
      const read = (row: number, column: number): number => {
        const back = (k: number, extent: number): number => {
          if (padding === "border") return Math.min(Math.max(k, 0), extent - 1);
          if (padding === "zeros") return k;
          if (aligned && extent === 1) return 0;
          const [first, last] = aligned ? [0, 2 * (extent - 1)] : [-1, 2 * extent - 1];
          while (k < 0 || k >= extent) k = (k < 0 ? first : last) - k;
          return k;
        };
        const [r, c] = [back(row, height), back(column, width)];
        return r < 0 || c < 0 || r >= height || c >= width ? 0 : elementAt(x, [0, 0, r, c]);
      };
      const [px, py] = [inElements(gx, width), inElements(gy, height)];
      const brought = (p: number, extent: number): number => {
        if (padding === "border") return Math.min(Math.max(p, 0), extent - 1);
        if (padding === "zeros") return p;
        const [low, high] = aligned ? [0, extent - 1] : [-0.5, extent - 0.5];
        if (high === low) return low;
        while (p < low || p > high) p = p < low ? 2 * low - p : 2 * high - p;
        return p;
      };
      const [u, v] = [brought(px, width), brought(py, height)];
      const [column, row] = [Math.floor(u), Math.floor(v)];
      const [a, b] = [u - column, v - row];
      const expected = (1 - b) * ((1 - a) * read(row, column) + a * read(row, column + 1)) +
        b * ((1 - a) * read(row + 1, column) + a * read(row + 1, column + 1));
      const [result] = runOp(
        "GridSample",
        [{ ...x, as: data }, { dims: [1, 1, 1, 2], data: [gx, gy], as: data }],
        { mode: "linear", padding_mode: padding, align_corners: aligned },
      );
      near(result, { dims: [1, 1, 1, 1], data: [expected] });
    }),
    { numRuns: 300 },
  );
});

Deno.test("NonZero names every element that isn't 0, in order", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -1, max: 1 }), { maxLength: 24 }), (values) => {
      const data = values.slice(0, 4 * Math.floor(values.length / 4));
      const dims = [data.length / 4, 2, 2];
      const [found] = nonZero([{ dims, data }]);
      const count = found!.dims[1]!;
      const places = Array.from(
        { length: count },
        (_, k) => [0, 1, 2].reduce((flat, d) => flat * dims[d]! + found!.data[d * count + k]!, 0),
      );
      assert.deepEqual(places, data.flatMap((value, i) => value === 0 ? [] : [i]));
    }),
  );
});

Deno.test("NonZero of what is the same everywhere asks no host", () => {
  const compiled = (value: number) => {
    const bytes = new Uint8Array(BigInt64Array.of(BigInt(value)).buffer);
    const ones = makeTensor("value", "int64", [1], { kind: "memory", bytes });
    const fill = tensor("value", ones);
    const graph = makeGraph("counting", {
      nodes: [
        makeNode("ConstantOfShape", "", ["shape"], ["filled"], [fill]),
        makeNode("NonZero", "", ["filled"], ["positions"]),
      ],
      initializers: [],
      inputs: [makeValueInfo("shape", "int64", [2])],
      outputs: [makeValueInfo("positions", "int64", null)],
    });
    const model = makeModel("counting.onnx", 14, new Map([["", 28]]), graph);
    return new Lowering(model, new Map([[ones, [value]]])).run();
  };
  const program = compiled(3);
  assert.ok(program.block.steps.every(({ kind }) => kind !== "host"));
  const shape = { dims: [2], data: [2, 3] };
  const [positions] = interpret(program, new Map([["shape", shape]]), () => []).values();
  assert.deepEqual(positions?.dims, [2, 6]);
  assert.deepEqual(Array.from(positions.data), [0, 0, 0, 1, 1, 1, 0, 1, 2, 0, 1, 2]);
  assert.ok(compiled(0).block.steps.some(({ kind }) => kind === "host"));
});

Deno.test("Unique finds each slice's first, in order of values or of occurrence", () => {
  const values = fc.array(fc.constantFrom(0, 1, 2, NaN), { minLength: 2, maxLength: 12 });
  fc.assert(
    fc.property(values, fc.constantFrom(0, 1), (list, sorted) => {
      const data = list.slice(0, 2 * Math.floor(list.length / 2));
      const rows = data.length / 2;
      const key = (row: number): string => String(data.slice(2 * row, 2 * row + 2));
      const [first, counts, inverse] = unique([{ dims: [rows, 2], data }], [0, sorted]);
      const keys = Array.from(first!.data, key);
      assert.equal(new Set(keys).size, keys.length);
      for (let row = 0; row < rows; row++) {
        assert.equal(keys[inverse!.data[row]!], key(row));
        assert.ok(first!.data[inverse!.data[row]!]! <= row);
      }
      const total = Array.from(counts!.data).reduce((a, b) => a + b, 0);
      assert.equal(total, rows);
      const order = sorted ? keys.toSorted((a, b) => a < b ? -1 : 1) : keys;
      // "0,1" < "0,NaN" as text too: digits come before letters.
      assert.deepEqual(keys, order);
      if (!sorted) {
        assert.deepEqual(
          Array.from(first!.data),
          Array.from(first!.data).toSorted((a, b) => a - b),
        );
      }
    }),
  );
});

Deno.test("NonMaxSuppression keeps the best of boxes that overlap", () => {
  const boxes = { dims: [1, 4, 4], data: [0, 0, 2, 2, 0, 0.2, 2, 2.2, 5, 5, 6, 6, 2, 2, 0, 0] };
  const scores = { dims: [1, 1, 4], data: [0.5, 0.9, 0.7, 0.9] };
  const scalar = (value: number): Dense => ({ dims: [], data: [value] });
  const kept = (most: number, overlap: number, least: number | null): number[] => {
    const limits = [scalar(most), scalar(overlap), least === null ? null : scalar(least)];
    const [rows] = nonMaxSuppression([boxes, scores, ...limits], [0]);
    return Array.from(rows!.data).filter((_, i) => i % 3 === 2);
  };
  assert.deepEqual(kept(9, 0.5, null), [1, 2]);
  assert.deepEqual(kept(9, 1, null), [1, 3, 2, 0]);
  assert.deepEqual(kept(9, 0.5, 0.7), [1]);
  assert.deepEqual(kept(1, 0.5, null), [1]);
  assert.deepEqual(kept(0, 0.5, null), []);
  const center = { dims: [1, 2, 4], data: [1, 1, 2, 2, 1, 1.5, 2, 2] };
  const [rows] = nonMaxSuppression(
    [center, { dims: [1, 1, 2], data: [0.2, 0.3] }, scalar(5), scalar(0.55), null],
    [1],
  );
  assert.deepEqual(Array.from(rows!.data), [0, 0, 1]);
});

Deno.test("a Resize that isn't defined is refused", () => {
  const x: Given = scattered([1, 1, 4, 4]);
  const scales: Given = { dims: [4], data: [1, 1, 2, 2], as: "constant" };
  const text = (name: string, value: string) => ({ [name]: value });
  for (
    const [attributes, pattern] of [
      [text("mode", "spline"), /mode "spline" is not known/],
      [text("nearest_mode", "up"), /nearest_mode "up" is not known/],
      [text("coordinate_transformation_mode", "here"), /transformation_mode "here" is not known/],
    ] as const
  ) {
    assert.throws(() => runOp("Resize", [x, null, scales], attributes), pattern);
  }
  const two: Given = { dims: [2], data: [2, 2], as: "constant" };
  assert.throws(() => runOp("Resize", [x, null, two]), /2 scales or sizes for 4 dimensions/);
  const offset = float("cubic_coeff_a", -0.5);
  const [result] = runOp("Resize", [x, null, scales], { mode: "cubic", cubic_coeff_a: offset });
  assert.deepEqual(result!.dims, [1, 1, 8, 8]);
});
