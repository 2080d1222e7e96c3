/**
 * Ops that move elements, against definitions written out: with operands that are constants and
 * operands that are known only when the model runs, of fixed and of symbolic shapes.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Dense } from "./interpret.ts";
import {
  build,
  counting,
  elementAt,
  type Given,
  integers,
  type Place,
  runOp,
} from "./op_models.ts";

const DIMS = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 3 });
const OPERANDS = fc.constantFrom<Place>("constant", "input");
const DATA = fc.constantFrom<Place>("input", "symbolic");
const RUNS = { numRuns: 150 };

function same(result: Dense | undefined, expected: Dense): void {
  assert.deepEqual(result?.dims, expected.dims);
  assert.deepEqual(Array.from(result?.data ?? []), expected.data);
}

/** Some axes of a tensor, each from either end, with a value each. */
function perAxis<T>(dims: readonly number[], value: fc.Arbitrary<T>) {
  return fc.subarray(dims.map((_, d) => d), { minLength: 1 }).chain((axes) =>
    fc.record({
      axes: fc.tuple(...axes.map((d) => fc.constantFrom(d, d - dims.length))),
      values: fc.array(value, { minLength: axes.length, maxLength: axes.length }),
    })
  );
}

const at = (axis: number, rank: number): number => axis < 0 ? axis + rank : axis;

Deno.test("Slice takes what its clamped limits say", () => {
  const limit = fc.oneof(
    fc.integer({ min: -8, max: 8 }),
    fc.constantFrom(2 ** 31 - 1, -(2 ** 31), 2 ** 52, -(2 ** 52)),
  );
  const range = fc.record({
    start: limit,
    end: limit,
    step: fc.constantFrom(1, 2, 3, -1, -2, -3),
  });
  const cases = DIMS.chain((dims) =>
    fc.record({ dims: fc.constant(dims), ranges: perAxis(dims, range), as: OPERANDS, data: DATA })
  );
  fc.assert(
    fc.property(cases, ({ dims, ranges: { axes, values }, as, data }) => {
      const taken = dims.map((extent, d) => {
        const i = axes.findIndex((axis) => at(axis, dims.length) === d);
        const { start, end, step } = values[i] ?? { start: 0, end: extent, step: 1 };
        // Python's own rules, by trying every position.
        const first = start < 0 ? start + extent : start;
        const stop = end < 0 ? end + extent : end;
        const positions: number[] = [];
        const begin = step > 0
          ? Math.min(Math.max(first, 0), extent)
          : Math.min(Math.max(first, -1), extent - 1);
        for (let k = begin; step > 0 ? k < stop : k > stop; k += step) {
          if (k < 0 || k >= extent) break;
          positions.push(k);
        }
        return positions;
      });
      // A start before the first position is clamped to it, also where the step is negative.
      values.forEach(({ start, end, step }, i) => {
        const d = at(axes[i]!, dims.length);
        const extent = dims[d]!;
        if (step < 0 && start + extent < 0 && (end < 0 ? end + extent : end) < 0) taken[d] = [0];
      });
      const x = counting(dims);
      // Past 32 bits only constants can be.
      const wide = values.some((range) =>
        Math.max(-range.start, -range.end, range.start, range.end) > 2 ** 31
      );
      fc.pre(as === "constant" || !wide);
      const [result] = runOp("Slice", [
        { ...x, as: data },
        integers(values.map(({ start }) => start), as),
        integers(values.map(({ end }) => end), as),
        integers(axes, as),
        integers(values.map(({ step }) => step), as),
      ]);
      same(
        result,
        build(
          taken.map((positions) => positions.length),
          (place) => elementAt(x, place.map((k, d) => taken[d]![k]!)),
        ),
      );
    }),
    RUNS,
  );
});

/** Where NumPy's padding reads; null for nowhere. */
const PADDED: Record<string, (position: number, extent: number) => number | null> = {
  constant: (p, n) => p >= 0 && p < n ? p : null,
  edge: (p, n) => Math.min(Math.max(p, 0), n - 1),
  wrap: (p, n) => ((p % n) + n) % n,
  reflect: (p, n) => {
    if (n === 1) return 0;
    while (p < 0 || p >= n) p = p < 0 ? -p : 2 * (n - 1) - p;
    return p;
  },
};

Deno.test("Pad reads inside, or where its mode says", () => {
  const cases = DIMS.chain((dims) =>
    fc.record({
      dims: fc.constant(dims),
      mode: fc.constantFrom("constant", "edge", "wrap", "reflect"),
      pads: perAxis(dims, fc.tuple(fc.integer({ min: 0, max: 7 }), fc.integer({ min: 0, max: 7 }))),
      crop: fc.boolean(),
      as: OPERANDS,
      data: DATA,
    })
  );
  fc.assert(
    fc.property(cases, ({ dims, mode, pads: { axes, values }, crop, as, data }) => {
      const pads = dims.map((extent, d): [number, number] => {
        const i = axes.findIndex((axis) => at(axis, dims.length) === d);
        const [before, after] = values[i] ?? [0, 0];
        return crop && mode === "constant" && i >= 0 && extent > 1 ? [-1, after] : [before, after];
      });
      const named = axes.map((axis) => pads[at(axis, dims.length)]!);
      const x = counting(dims);
      const [result] = runOp(
        "Pad",
        [
          { ...x, as: data },
          integers([...named.map(([before]) => before), ...named.map(([, after]) => after)], as),
          { dims: [], data: [-5] },
          integers(axes, as),
        ],
        { mode },
      );
      same(
        result,
        build(dims.map((extent, d) => extent + pads[d]![0] + pads[d]![1]), (place) => {
          const read = place.map((k, d) => PADDED[mode]!(k - pads[d]![0], dims[d]!));
          return read.some((k) => k === null) ? -5 : elementAt(x, read as number[]);
        }),
      );
    }),
    RUNS,
  );
});

Deno.test("Reshape copies, infers and refuses extents", () => {
  const cases = fc.record({
    factors: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }),
    cuts: fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
    rest: fc.option(fc.nat(3)),
    as: OPERANDS,
    data: DATA,
  });
  const merged = (factors: readonly number[], cuts: readonly boolean[]): number[] => {
    const shape: number[] = [];
    factors.forEach((factor, i) => {
      if (i === 0 || cuts[i]) shape.push(factor);
      else shape[shape.length - 1]! *= factor;
    });
    return shape;
  };
  fc.assert(
    fc.property(cases, ({ factors, cuts, rest, as, data }) => {
      const from = merged(factors, cuts);
      const to = merged(factors, cuts.slice(4));
      const wanted = to.map((extent, i) => i === rest ? -1 : extent === from[i] ? 0 : extent);
      const x = counting(from);
      const [result] = runOp("Reshape", [{ ...x, as: data }, integers(wanted, as)]);
      same(result, { dims: to, data: x.data as number[] });
      assert.throws(
        () => runOp("Reshape", [{ ...x, as: data }, integers([7, ...to], as)]),
        /another number of elements/,
      );
    }),
    RUNS,
  );
});

Deno.test("Unsqueeze adds the dimensions that Squeeze drops", () => {
  const cases = fc.record({
    dims: DIMS,
    places: fc.uniqueArray(fc.nat(3), { minLength: 1, maxLength: 2 }),
    fromEnd: fc.boolean(),
    as: OPERANDS,
    data: DATA,
  });
  fc.assert(
    fc.property(cases, ({ dims, places, fromEnd, as, data }) => {
      const rank = dims.length + places.length;
      const axes = places.filter((place) => place < rank);
      fc.pre(axes.length === places.length);
      const expected: number[] = [];
      const rest = [...dims];
      for (let d = 0; d < rank; d++) expected.push(axes.includes(d) ? 1 : rest.shift()!);
      const named = integers(axes.map((axis) => fromEnd ? axis - rank : axis), as);
      const x = counting(dims);
      const [wide] = runOp("Unsqueeze", [{ ...x, as: data }, named]);
      same(wide, { dims: expected, data: x.data as number[] });
      const [narrow] = runOp("Squeeze", [{ ...wide!, as: data }, named]);
      same(narrow, { dims, data: x.data as number[] });
    }),
    RUNS,
  );
});

Deno.test("Expand and Tile repeat", () => {
  const cases = fc.record({
    dims: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 }),
    outer: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 1 }),
    by: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 3, maxLength: 3 }),
    as: OPERANDS,
    data: DATA,
  });
  fc.assert(
    fc.property(cases, ({ dims, outer, by, as, data }) => {
      const x = counting(dims);
      const [tiled] = runOp("Tile", [{ ...x, as: data }, integers(by.slice(0, dims.length), as)]);
      same(
        tiled,
        build(
          dims.map((extent, d) => extent * by[d]!),
          (place) => elementAt(x, place.map((k, d) => k % dims[d]!)),
        ),
      );
      const target = dims.map((extent, d) => extent === 1 ? by[d]! : by[d] === 1 ? 1 : extent);
      const [wide] = runOp("Expand", [{ ...x, as: data }, integers([...outer, ...target], as)]);
      const shape = [...outer, ...dims.map((extent, d) => Math.max(extent, target[d]!))];
      same(
        wide,
        build(
          shape,
          (place) => elementAt(x, place.slice(outer.length).map((k, d) => dims[d] === 1 ? 0 : k)),
        ),
      );
    }),
    RUNS,
  );
});

Deno.test("Concat of what Split makes is the tensor", () => {
  const cases = DIMS.chain((dims) =>
    fc.record({
      dims: fc.constant(dims),
      axis: fc.integer({ min: -dims.length, max: dims.length - 1 }),
      sizes: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 7 }),
      as: OPERANDS,
      data: DATA,
    })
  );
  fc.assert(
    fc.property(cases, ({ dims, axis, sizes, as, data }) => {
      const whole = dims.with(at(axis, dims.length), sizes.reduce((a, b) => a + b));
      const x = counting(whole);
      const parts = runOp(
        "Split",
        [{ ...x, as: data }, integers(sizes, as)],
        { axis },
        sizes.length,
      );
      assert.deepEqual(parts.map((part) => part.dims[at(axis, dims.length)]), sizes);
      const [joined] = runOp("Concat", parts.map((part) => ({ ...part, as: data })), { axis });
      same(joined, { dims: whole, data: x.data as number[] });
    }),
    RUNS,
  );
});

Deno.test("Split without sizes makes the last part smaller", () => {
  for (const as of ["input", "symbolic"] as const) {
    const x = counting([7]);
    const parts = runOp("Split", [{ ...x, as }], { num_outputs: 3 }, 3);
    assert.deepEqual(parts.map((part) => Array.from(part.data)), [
      [1, 2, 3],
      [4, 5, 6],
      [7],
    ]);
  }
});

Deno.test("CenterCropPad keeps the middle", () => {
  fc.assert(
    fc.property(DIMS, fc.integer({ min: 1, max: 8 }), OPERANDS, DATA, (dims, size, as, data) => {
      const x = counting(dims);
      const target = dims.map((_, d) => d === 0 ? size : d + 1);
      const [result] = runOp("CenterCropPad", [{ ...x, as: data }, integers(target, as)]);
      same(
        result,
        build(target, (place) => {
          const read = place.map((k, d) => {
            const extra = target[d]! - dims[d]!;
            return extra >= 0 ? k - Math.floor(extra / 2) : k + Math.floor(-extra / 2);
          });
          return read.some((k, d) => k < 0 || k >= dims[d]!) ? 0 : elementAt(x, read);
        }),
      );
    }),
    RUNS,
  );
});

Deno.test("CumSum and CumProd along an axis that only the run knows", () => {
  const cases = DIMS.chain((dims) =>
    fc.record({
      dims: fc.constant(dims),
      axis: fc.integer({ min: -dims.length, max: dims.length - 1 }),
      exclusive: fc.constantFrom(0, 1),
      reverse: fc.constantFrom(0, 1),
      as: OPERANDS,
      data: DATA,
    })
  );
  fc.assert(
    fc.property(cases, ({ dims, axis, exclusive, reverse, as, data }) => {
      const x = build(dims, (place) => place.reduce((sum, k) => sum + k + 1, 0) % 4 + 1);
      const scalar: Given = { dims: [], data: [axis], dtype: "int64", as };
      const d = at(axis, dims.length);
      for (
        const [name, start, join] of [
          ["CumSum", 0, (a: number, b: number) => a + b],
          ["CumProd", 1, (a: number, b: number) => a * b],
        ] as const
      ) {
        const [result] = runOp(name, [{ ...x, as: data }, scalar], { exclusive, reverse });
        same(
          result,
          build(dims, (place) => {
            let total: number = start;
            for (let k = 0; k < dims[d]!; k++) {
              const before = reverse ? k > place[d]! : k < place[d]!;
              if (before || (k === place[d] && !exclusive)) {
                total = join(total, elementAt(x, place.with(d, k)));
              }
            }
            return total;
          }),
        );
      }
    }),
    RUNS,
  );
});

Deno.test("TopK of long rows is that of their chunks", () => {
  for (
    const [length, k, as] of [[4100, 3, "input"], [4099, 700, "input"], [
      2500,
      4,
      "symbolic",
    ]] as const
  ) {
    for (const largest of [0, 1]) {
      // Few values, so that most are equal, and the greatest key in the last chunk.
      const along = (i: number): number => i === length - 1 ? 99 : (i * 7919) % 61;
      const x = build([length, 2], ([i, column]) => column === 0 ? along(i!) : -along(i!));
      const [values, indices] = runOp(
        "TopK",
        [{ ...x, as }, integers([k])],
        { axis: 0, largest },
        2,
      );
      const orders = [0, 1].map((column) =>
        Array.from({ length }, (_, i) => i).sort((a, b) => {
          const [first, second] = [elementAt(x, [a, column]), elementAt(x, [b, column])];
          return (largest === 1 ? second - first : first - second) || a - b;
        })
      );
      same(indices, build([k, 2], ([rank, column]) => orders[column!]![rank!]!));
      same(
        values,
        build([k, 2], ([rank, column]) => elementAt(x, [orders[column!]![rank!]!, column!])),
      );
    }
  }
});

Deno.test("TopK sorts, ties by position and NaN as the greatest", () => {
  const number = fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constant(NaN));
  const cases = fc.record({
    values: fc.array(number, { minLength: 1, maxLength: 9 }),
    largest: fc.constantFrom(0, 1),
    as: OPERANDS,
    data: DATA,
  });
  fc.assert(
    fc.property(cases, fc.nat(), ({ values, largest, as, data }, seed) => {
      const k = 1 + seed % values.length;
      const key = (value: number): number => Number.isNaN(value) ? 100 : value;
      const order = values.map((_, i) => i).sort((a, b) => {
        const distance = key(values[a]!) - key(values[b]!);
        return (largest ? -distance : distance) || a - b;
      }).slice(0, k);
      const [top, indices] = runOp(
        "TopK",
        [{ dims: [values.length], data: values, as: data }, integers([k], as)],
        { largest },
        2,
      );
      same(indices, { dims: [k], data: order });
      same(top, { dims: [k], data: order.map((i) => values[i]!) });
    }),
    RUNS,
  );
});

Deno.test("scattered updates combine in order, few or many, whoever hits whom", () => {
  const cases = fc.record({
    extent: fc.integer({ min: 1, max: 6 }),
    columns: fc.integer({ min: 1, max: 3 }),
    targets: fc.array(fc.nat(), { minLength: 1, maxLength: 8 }),
    reduction: fc.constantFrom("none", "add", "mul", "max", "min"),
    data: DATA,
  });
  const JOIN: Record<string, (a: number, b: number) => number> = {
    none: (_, b) => b,
    add: (a, b) => a + b,
    mul: (a, b) => a * b,
    max: Math.max,
    min: Math.min,
  };
  fc.assert(
    fc.property(cases, ({ extent, columns, targets, reduction, data }) => {
      // Without a reduction, no element may be hit twice where updates are stored over a copy.
      const hits = targets.map((target, i) => reduction === "none" ? i : target % extent)
        .filter((target) => target < extent);
      const signed = hits.map((target, i) => i % 2 ? target - extent : target);
      const x = counting([extent, columns]);
      const updates = build([hits.length, columns], ([i, k]) => 3 * i! - 2 * k! - 4);
      const expected = build([extent, columns], (place) => elementAt(x, place)).data as number[];
      hits.forEach((target, i) => {
        for (let k = 0; k < columns; k++) {
          const flat = target * columns + k;
          expected[flat] = JOIN[reduction]!(expected[flat]!, elementAt(updates, [i, k]));
        }
      });
      const indices = build([hits.length, columns], ([i]) => signed[i!]!);
      const [elements] = runOp(
        "ScatterElements",
        [
          { ...x, as: data },
          { ...indices, dtype: "int64", as: data },
          { ...updates, as: data },
        ],
        { reduction },
      );
      same(elements, { dims: x.dims, data: expected });
      const [rows] = runOp(
        "ScatterND",
        [
          { ...x, as: data },
          { dims: [hits.length, 1], data: signed, dtype: "int64" },
          { ...updates, as: data },
        ],
        { reduction },
      );
      same(rows, { dims: x.dims, data: expected });
    }),
    RUNS,
  );
});

Deno.test("what a hostile operand asks for is refused", () => {
  const x: Given = counting([2, 3]);
  const refused = (pattern: RegExp, run: () => unknown) => assert.throws(run, pattern);
  for (const as of ["constant", "input"] as const) {
    refused(
      /step of 0/,
      () => runOp("Slice", [x, integers([0], as), integers([1], as), null, integers([0], as)]),
    );
    refused(/sizes aren't those of axis/, () => runOp("Split", [x, integers([1, 2], as)], {}, 2));
    refused(/its k is more/, () => runOp("TopK", [x, integers([4], as)], {}, 2));
    refused(/isn't 1/, () => runOp("Squeeze", [x, integers([0], as)]));
    refused(/can't be broadcast/, () => runOp("Expand", [x, integers([2, 2], as)]));
  }
  refused(
    /outside a tensor/,
    () => runOp("Slice", [x, integers([0]), integers([1]), integers([2])]),
  );
  refused(/no order of the 2 dimensions/, () => runOp("Transpose", [x], { perm: [0, 0] }));
  refused(/pads for/, () => runOp("Pad", [x, integers([1, 1, 1])]));
  refused(
    /mode "mirror" is not known/,
    () => runOp("Pad", [x, integers([1, 1, 1, 1])], { mode: "mirror" }),
  );
});
