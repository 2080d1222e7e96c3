/**
 * The embedded runtime on hand-written tables: dispatches, memory, shapes, sync points, outputs.
 */
// deno-lint-ignore-file require-yield -- a program without sync points is a generator all the same
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Recorder, StorageArray, Tensor } from "../../src/codegen/module.ts";
import { runtimeText } from "../../src/codegen/runtime_text.ts";
import {
  doubling,
  elementwise,
  groupsOf,
  input,
  numbersOf,
  output,
  single,
  tablesOf,
  withModel,
} from "./runtime_tables.ts";

Deno.test("a chain of steps reuses memory and keeps values apart", async () => {
  const tables = tablesOf(
    [input("x", ["n"])],
    [output("y", ["n"]), output("early", ["n"])],
    [elementwise("a[i] + f32(p.y)", "aa")],
    function* (m) {
      const [n = 0] = m.dims(0);
      let value = m.input(0);
      for (let step = 1; step <= 20; step++) {
        const next = m.tensor(4 * n);
        m.dispatch(0, [value, next], [n, step, 0, 0], groupsOf(n));
        value = next;
        if (step === 3) m.output(1, value, [n]);
      }
      m.output(0, value, [n]);
    },
  );
  await withModel(tables, async (model) => {
    const { y, early } = await model.run({ x: Float32Array.from({ length: 1000 }, (_, i) => i) });
    assert.deepEqual(numbersOf(y), Array.from({ length: 1000 }, (_, i) => i + 210));
    assert.deepEqual(numbersOf(early), Array.from({ length: 1000 }, (_, i) => i + 6));
    const { arenaBytes, liveBytes, dispatches } = model.stats();
    assert.equal(dispatches, 20);
    assert.equal(liveBytes, 3 * 4000);
    assert.ok(arenaBytes <= 1.1 * liveBytes, `${arenaBytes} bytes for ${liveBytes}`);
  });
});

/** A random program: each step adds two earlier values; some steps are followed by a sync point. */
const randomPrograms = fc.record({
  count: fc.integer({ min: 1, max: 300 }),
  steps: fc.array(
    fc.record({ a: fc.nat(), b: fc.nat(), size: fc.integer({ min: 1, max: 3 }), sync: fc.nat(6) }),
    { minLength: 1, maxLength: 40 },
  ),
});

Deno.test("random programs give what plain arithmetic gives, across sync points too", async () => {
  await fc.assert(
    fc.asyncProperty(randomPrograms, async ({ count, steps }) => {
      // Operands of step i: values 0 to i, of which 0 is the input. A value of size s has s * count
      // elements and reads its operands modulo their length.
      const plan = steps.map(({ a, b, size, sync }, i) => {
        const first = a % (i + 1);
        const second = b % (i + 1);
        return { first, second, size, sync: sync === 0 };
      });
      const sizes = [1, ...plan.map(({ size }) => size)].map((size) => size * count);
      const lastUse = sizes.map((_, value) =>
        plan.findLastIndex(({ first, second }) => first === value || second === value)
      );
      const expected = [Int32Array.from({ length: count }, (_, i) => i * 7 - 3)];
      plan.forEach(({ first, second }, i) => {
        const [a, b] = [expected[first]!, expected[second]!];
        expected.push(Int32Array.from(
          { length: sizes[i + 1]! },
          (_, k) => Math.imul(a[k % a.length]!, 3) + b[k % b.length]! + i | 0,
        ));
      });
      const twice = "3 * a[i % p.y] + b[i % p.z] + p.w";
      const once = "3 * a[i % p.y] + a[i % p.y] + p.w";
      const kept = new Set(sizes.keys().filter((value) => value > 0 && value % 5 === 1));
      kept.add(sizes.length - 1);
      const outputs = [...kept];
      const synced: number[] = [];
      const tables = tablesOf(
        [input("x", ["n"], "i32")],
        outputs.map((value) => output(`v${value}`, [null], "i32")),
        [elementwise(twice, "aaa", "i32"), elementwise(once, "aa", "i32")],
        function* (m) {
          const values = [m.input(0)];
          for (const [i, { first, second, sync }] of plan.entries()) {
            const size = sizes[i + 1]!;
            const result = m.tensor(4 * size);
            const [a, b] = [values[first]!, values[second]!];
            const parameters = [size, sizes[first]!, sizes[second]!, i];
            const groups = groupsOf(size);
            if (first === second) m.dispatch(1, [a, result], parameters, groups);
            else m.dispatch(0, [a, b, result], parameters, groups);
            values.push(result);
            const at = outputs.indexOf(i + 1);
            if (at >= 0) m.output(at, result, [size]);
            if (!sync) continue;
            const [read] = yield {
              read: [{ tensor: result, storage: "i32", count: Math.min(size, 3) }],
              live: values.filter((_, value) => value > 0 && lastUse[value]! > i),
            };
            synced.push(...read!);
            assert.deepEqual(Array.from(read!), Array.from(expected[i + 1]!.subarray(0, 3)));
          }
        },
      );
      await withModel(tables, async (model) => {
        for (let run = 0; run < 2; run++) {
          const results = await model.run({ x: expected[0]! });
          for (const value of outputs) {
            assert.deepEqual(numbersOf(results[`v${value}`]), Array.from(expected[value]!));
          }
        }
        const { plans, arenaBytes, liveBytes } = model.stats();
        assert.equal(plans, plan.some(({ sync }) => sync) ? 0 : 1);
        assert.ok(arenaBytes >= liveBytes);
      });
    }),
    { numRuns: 25, seed: 5 },
  );
});

Deno.test("symbolic dimensions are bound at each run, and each shape is recorded once", async () => {
  const tables = doubling();
  let recorded = 0;
  const counting = {
    ...tables,
    program: (m: Recorder) => {
      recorded++;
      return tables.program(m);
    },
  };
  await withModel(counting, async (model) => {
    for (const n of [5, 700, 1, 5, 64, 700, 5]) {
      const { y } = await model.run({ x: Float32Array.from({ length: n }, (_, i) => i) });
      assert.deepEqual(numbersOf(y), Array.from({ length: n }, (_, i) => 2 * i + 1));
    }
    assert.equal(recorded, 4);
    assert.equal(model.stats().plans, 4);
    assert.equal(model.stats().pipelines, 1);
    for (let n = 100; n < 150; n++) await model.run({ x: new Float32Array(n) });
    assert.equal(model.stats().plans, 32);
  });
});

Deno.test("a sync point reads a size that depends on data", async () => {
  const tables = tablesOf(
    [input("x", ["n"])],
    [output("indices", [null], "i32", "int64")],
    [
      single(
        "var k = 0; for (var i = 0; i < p.x; i++) { if (a[i] != 0.0) { b[k] = i; k++; } } c[0] = k;",
        ["f32", "i32", "i32"],
      ),
      elementwise("a[i] * 10", "aa", "i32"),
    ],
    function* (m) {
      const [n = 0] = m.dims(0);
      const [found, counted] = [m.tensor(4 * n), m.tensor(4)];
      m.dispatch(0, [m.input(0), found, counted], [n], 1);
      const [counts] = yield {
        read: [{ tensor: counted, storage: "i32", count: 1 }],
        live: [found],
      };
      const count = counts![0]!;
      const result = m.tensor(4 * count);
      m.dispatch(1, [found, result], [count, 0, 0, 0], groupsOf(count));
      m.output(0, result, [count]);
    },
  );
  await withModel(tables, async (model) => {
    for (const x of [[0, 1, 0, 2, 3], [0, 0, 0], [4], [0, 0, 0, 0, 0, 1]]) {
      const { indices } = await model.run({ x });
      const expected = x.flatMap((value, i) => value === 0 ? [] : [10 * i]);
      assert.deepEqual(indices?.dims, [expected.length]);
      assert.ok("data" in indices && indices.data instanceof BigInt64Array);
      assert.deepEqual(numbersOf(indices), expected);
    }
  });
});

Deno.test("a loop runs until the GPU says so, and what it gathers grows", async () => {
  const tables = tablesOf(
    [input("x", []), input("limit", [])],
    [output("last", []), output("all", [null])],
    [elementwise("a[i] * 2.0", "aa"), elementwise("select(b[0], a[i], i < p.y)", "aaa")],
    function* (m) {
      const limit = m.host(1)[0] ?? 0;
      let value = m.input(0);
      let all = m.tensor(0);
      let count = 0;
      for (;;) {
        const [now]: StorageArray[] = yield {
          read: [{ tensor: value, storage: "f32", count: 1 }],
          live: [value, all],
        };
        const longer = m.tensor(4 * (count + 1));
        m.dispatch(1, [all, value, longer], [count + 1, count, 0, 0], groupsOf(count + 1));
        all = longer;
        count++;
        if (now![0]! >= limit) break;
        const next: Tensor = m.tensor(4);
        m.dispatch(0, [value, next], [1, 0, 0, 0], 1);
        value = next;
      }
      m.output(0, value, []);
      m.output(1, all, [count]);
    },
  );
  await withModel(tables, async (model) => {
    for (const limit of [1, 1000, 2 ** 100, 3]) {
      const { last, all } = await model.run({ x: 1, limit });
      const expected = [1];
      while (expected.at(-1)! < limit) expected.push(expected.at(-1)! * 2);
      assert.deepEqual(numbersOf(all), expected);
      assert.deepEqual(last?.dims, []);
      assert.deepEqual(numbersOf(last), [expected.at(-1)]);
    }
    assert.equal(model.stats().plans, 0);
  });
});

Deno.test("tensors of no elements", async () => {
  const tables = tablesOf(
    [input("x", ["n"]), input("y", ["n"])],
    [output("sum", []), output("both", ["n"])],
    [
      single(
        "var s = 0.0; for (var i = 0; i < p.x; i++) { s += a[i] + b[i]; } c[0] = s;",
        ["f32", "f32", "f32"],
      ),
      elementwise("a[i] + b[i]", "aaa"),
    ],
    function* (m) {
      const [n = 0] = m.dims(0);
      const [sum, both] = [m.tensor(4), m.tensor(4 * n)];
      m.dispatch(0, [m.input(0), m.input(1), sum], [n], 1);
      m.dispatch(1, [m.input(0), m.input(1), both], [n, 0, 0, 0], groupsOf(n));
      m.output(0, sum, []);
      m.output(1, both, [n]);
    },
  );
  await withModel(tables, async (model) => {
    const none = await model.run({ x: [], y: new Float32Array(0) });
    assert.deepEqual(numbersOf(none["sum"]), [0]);
    assert.deepEqual(none["both"], { dtype: "float32", dims: [0], data: new Float32Array(0) });
    const some = await model.run({ x: [1, 2], y: [3, 4] });
    assert.deepEqual(numbersOf(some["sum"]), [10]);
    const onGpu = await model.run({ x: [], y: [] }, { gpuOutputs: ["both"] });
    assert.ok(onGpu["both"] && "buffer" in onGpu["both"]);
    onGpu["both"].dispose();
  });
});

Deno.test("more than 65,535 workgroups are laid out in two dimensions", async () => {
  await withModel(doubling(), async (model) => {
    const n = 64 * 65_535 + 65;
    const { y } = await model.run({ x: new Float32Array(n).fill(3) });
    assert.ok("data" in y! && y.data.length === n);
    assert.ok(y.data.every((value) => value === 7));
  });
});

Deno.test("uploads, and outputs that are inputs, weights' neighbours or each other", async () => {
  const tables = tablesOf(
    [input("x", ["n"])],
    [output("same", ["n"]), output("y", ["n"]), output("again", ["n"]), output("five", [5])],
    [elementwise("a[i] + b[i % 3]", "aaa")],
    function* (m) {
      const [n = 0] = m.dims(0);
      const y = m.tensor(4 * n);
      m.dispatch(0, [m.input(0), m.upload([10, 20, 30], "f32"), y], [n, 0, 0, 0], groupsOf(n));
      m.output(0, m.input(0), [n]);
      m.output(1, y, [n]);
      m.output(2, y, [n]);
      m.output(3, m.upload([1, 2, 3, 4, 5], "f32"), [5]);
    },
  );
  await withModel(tables, async (model) => {
    for (const gpuOutputs of [[], ["same", "y", "again", "five"], ["again"], ["y"]]) {
      const outputs = await model.run({ x: [1, 2, 3, 4] }, { gpuOutputs });
      const expected: Record<string, number[]> = {
        same: [1, 2, 3, 4],
        y: [11, 22, 33, 14],
        again: [11, 22, 33, 14],
        five: [1, 2, 3, 4, 5],
      };
      const buffers = new Set<GPUBuffer>();
      for (const [name, values] of Object.entries(expected)) {
        const result = outputs[name]!;
        assert.equal("buffer" in result, gpuOutputs.includes(name));
        if (!("buffer" in result)) {
          assert.deepEqual(numbersOf(result), values);
          continue;
        }
        buffers.add(result.buffer);
        const { same } = await model.run({ x: { buffer: result.buffer, dims: result.dims } });
        assert.deepEqual(numbersOf(same), values);
        result.dispose();
      }
      assert.equal(buffers.size, gpuOutputs.length);
    }
  });
});

Deno.test("a profile times each dispatch", async () => {
  await withModel(doubling(), async (model) => {
    const rows = await model.profile({ x: new Float32Array(300) });
    assert.equal(rows.length, 1);
    assert.equal(rows[0]?.label, "Elementwise aa");
    assert.equal(rows[0]?.groups, 5);
    assert.ok(rows[0].microseconds > 0);
  });
});

Deno.test("the joined text is a module that loads and runs", async () => {
  const text = `${runtimeText()}\nexport { loadModel, ModelError };`;
  assert.doesNotMatch(text, /\/\*\*|^\s*(import|\/\/)/m);
  assert.ok(text.length < 85_000, `${text.length} characters`);
  const runtime = await import(`data:text/javascript,${encodeURIComponent(text)}`);
  const model = await runtime.loadModel(doubling());
  try {
    assert.deepEqual(numbersOf((await model.run({ x: [1, 2] })).y), [3, 5]);
    await assert.rejects(model.run({ z: [1] }), runtime.ModelError);
  } finally {
    model.dispose();
  }
});
