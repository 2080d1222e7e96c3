/**
 * What the embedded runtime takes and gives: names, dtypes, dimensions, forms of values, buffers on
 * the GPU; and what it says of each that it refuses.
 */
// deno-lint-ignore-file require-yield -- a program without sync points is a generator all the same
import assert from "node:assert/strict";
import type { InputValue, ModuleTables, TensorArray } from "../../src/codegen/module.ts";
import type { DType } from "../../src/dtype.ts";
import {
  doubling,
  elementwise,
  groupsOf,
  input,
  numbersOf,
  openDevice,
  output,
  tablesOf,
  withModel,
} from "./runtime_tables.ts";

/** `z = x + 10 * y` with `x` of [batch, 3] and `y` of [batch, n]. */
function twoInputs(): ModuleTables {
  return tablesOf(
    [input("pixels", ["batch", 3]), input("mask", ["batch", "n"])],
    [output("sum", ["batch", 3])],
    [elementwise("a[i] + 10.0 * b[i % p.y]", "aaa")],
    function* (m) {
      const [batch = 0] = m.dims(0);
      const [, n = 0] = m.dims(1);
      const result = m.tensor(12 * batch);
      const tensors = [m.input(0), m.input(1), result];
      m.dispatch(0, tensors, [3 * batch, batch * n, 0, 0], groupsOf(3 * batch));
      m.output(0, result, [batch, 3]);
    },
  );
}

Deno.test("values may be typed arrays, nested arrays, numbers, with and without dims", async () => {
  await withModel(twoInputs(), async (model) => {
    const forms: Record<string, InputValue>[] = [
      { pixels: { data: Float32Array.of(1, 2, 3), dims: [1, 3] }, mask: [[4, 5]] },
      { pixels: Float32Array.of(1, 2, 3), mask: Float32Array.of(4, 5) },
      { pixels: [[1, 2, 3]], mask: { data: [[4, 5]], dims: [1, 2] } },
      { pixels: [1, 2, 3], mask: [4, 5] },
      { pixels: { data: [1, 2, 3], dims: [1, 3] }, mask: { data: [4, 5], dims: [1, 2] } },
    ];
    for (const form of forms) {
      const { sum } = await model.run(form);
      assert.deepEqual(sum?.dims, [1, 3]);
      assert.deepEqual(numbersOf(sum), [41, 52, 43]);
    }
  });
});

Deno.test("what is wrong with inputs is said by name", async () => {
  await withModel(twoInputs(), async (model) => {
    const mask = [[1, 2]];
    const cases: [Record<string, unknown>, RegExp][] = [
      [
        { pixel: [[1, 2, 3]], mask },
        /input "pixel": it has no such name\. Did you mean "pixels"\?/,
      ],
      [
        { pixels: [[1, 2, 3]] },
        /input "mask" is missing\. It is float32 \[batch, n\]; given: "pix/,
      ],
      [
        { pixels: [[1, 2]], mask },
        /"pixels": its shape is \[1, 2\], the model wants \[batch, 3\].*1 is 3/,
      ],
      [{ pixels: { data: [1, 2, 3], dims: [3] }, mask }, /"pixels": its shape is \[3\]/],
      [
        { pixels: [[1, 2, 3], [4, 5, 6]], mask },
        /"mask": its shape is \[1, 2\], and "batch" is 2 by dimension 0 of "pixels", but 1 by/,
      ],
      [{ pixels: [[1, 2, 3], [4, 5]], mask }, /"pixels": its nested arrays differ in length/],
      [{ pixels: [[1, 2, 3], 4], mask }, /"pixels": its nested arrays differ in depth/],
      [{ pixels: [[1, 2, "3"]], mask }, /"pixels": element 2 is a string/],
      [{ pixels: new Float64Array(3), mask }, /"pixels": it is float32 and wants a Float32Array/],
      [{ pixels: { data: new Int32Array(3), dims: [1, 3] }, mask }, /not a Int32Array/],
      [{ pixels: { data: [1, 2], dims: [1, 3] }, mask }, /\[1, 3\] has 3 elements, its data 2/],
      [{ pixels: { data: [1, 2, 3], dims: [-1, 3] }, mask }, /\[-1, 3\] are no dimensions/],
      [{ pixels: { dims: [1, 3] }, mask }, /neither data nor a buffer/],
      [{ pixels: { data: [1] }, mask }, /"pixels": pass \{ data, dims \}/],
      [{ pixels: [1, 2, 3, 4], mask }, /"pixels": it has 4 values, the model wants \[batch, 3\]/],
      [{ pixels: { buffer: {}, dims: [1, 3] }, mask }, /its buffer is no GPUBuffer/],
      [{ pixels: null, mask }, /input "pixels" is missing/],
    ];
    for (const [inputs, message] of cases) {
      await assert.rejects(model.run(inputs as Record<string, InputValue>), {
        name: "ModelError",
        code: "input",
        message,
      });
    }
    await assert.rejects(
      model.run(undefined as unknown as Record<string, InputValue>),
      /pass an obj/,
    );
    await assert.rejects(
      model.run({ pixels: [[1, 2, 3]], mask }, { gpuOutputs: ["sums"] }),
      /Cannot give output "sums".* Did you mean "sum"\?/,
    );
    // None of it harms the model.
    assert.deepEqual(numbersOf((await model.run({ pixels: [[1, 2, 3]], mask })).sum), [11, 22, 13]);
  });
});

/** One input and one output of a dtype, which is handed through the GPU. */
function passing(dtype: DType, storage: "f32" | "i32" | "u32"): ModuleTables {
  return tablesOf(
    [input("x", ["n"], storage, dtype)],
    [output("y", ["n"], storage, dtype)],
    [elementwise("a[i]", "aa", storage)],
    function* (m) {
      const [n = 0] = m.dims(0);
      const y = m.tensor(4 * n);
      m.dispatch(0, [m.input(0), y], [n, 0, 0, 0], groupsOf(n));
      m.output(0, y, [n]);
    },
  );
}

Deno.test("every dtype goes through the GPU and comes back as its own array", async () => {
  const cases: [DType, "f32" | "i32" | "u32", TensorArray][] = [
    ["float32", "f32", Float32Array.of(0, -1.5, 3e38, Infinity)],
    ["float64", "f32", Float64Array.of(0, -1.5, 2 ** 100)],
    ["float16", "f32", Float16Array.of(0, -1.5, 65504, 6e-8, Infinity)],
    ["bfloat16", "f32", Uint16Array.of(0, 0x3f80, 0xbfc0, 0x7f80)],
    ["float8e4m3fn", "f32", Uint8Array.of(0, 0x38, 0x7e, 0xfe)],
    ["float8e4m3fnuz", "f32", Uint8Array.of(0, 0x38, 0x7f, 0xff)],
    ["float8e5m2", "f32", Uint8Array.of(0, 0x3c, 0x7b, 0xfc)],
    ["float8e5m2fnuz", "f32", Uint8Array.of(0, 0x3c, 0x7f, 0xff)],
    ["float8e8m0", "f32", Uint8Array.of(1, 127, 254)],
    ["float6e2m3", "f32", Uint8Array.of(0, 1, 31, 63)],
    ["float6e3m2", "f32", Uint8Array.of(0, 1, 31, 63)],
    ["float4e2m1", "f32", Uint8Array.of(0, 1, 7, 15)],
    ["int8", "i32", Int8Array.of(-128, 0, 127)],
    ["int16", "i32", Int16Array.of(-32768, 0, 32767)],
    ["int32", "i32", Int32Array.of(-(2 ** 31), 0, 2 ** 31 - 1)],
    ["int64", "i32", BigInt64Array.of(-(2n ** 31n), -1n, 0n, 2n ** 31n - 1n)],
    ["uint8", "u32", Uint8Array.of(0, 255)],
    ["uint16", "u32", Uint16Array.of(0, 65535)],
    ["uint32", "u32", Uint32Array.of(0, 2 ** 32 - 1)],
    ["uint64", "u32", BigUint64Array.of(0n, 2n ** 32n - 1n)],
    ["bool", "u32", Uint8Array.of(0, 1, 1)],
    ["int4", "i32", Int8Array.of(-8, 7)],
    ["uint4", "u32", Uint8Array.of(0, 15)],
    ["int2", "i32", Int8Array.of(-2, 1)],
    ["uint2", "u32", Uint8Array.of(0, 3)],
  ];
  const device = await openDevice();
  for (const [dtype, storage, data] of cases) {
    await withModel(passing(dtype, storage), async (model) => {
      const { y } = await model.run({ x: data });
      assert.deepEqual(y, { dtype, dims: [data.length], data });
    }, { device });
  }
  device.destroy();
});

Deno.test("integers that have no place are refused, and plain values are checked", async () => {
  const device = await openDevice();
  const cases: [DType, "i32" | "u32", InputValue, RegExp][] = [
    [
      "int64",
      "i32",
      BigInt64Array.of(1n, 2n ** 31n),
      /element 1 is 2147483648; GPUs compute int64 in/,
    ],
    ["int64", "i32", BigInt64Array.of(-(2n ** 31n) - 1n), /element 0 is -2147483649/],
    ["int64", "i32", [2 ** 40], /element 0 is 1099511627776; GPUs compute int64/],
    ["int64", "i32", [1.5], /element 0 is 1.5, which no int64 is/],
    ["uint64", "u32", BigUint64Array.of(2n ** 32n), /element 0 is 4294967296/],
    ["uint8", "u32", [256], /element 0 is 256, which no uint8 is/],
    ["bool", "u32", [2], /element 0 is 2, which no bool is/],
    ["int32", "i32", [NaN], /element 0 is NaN, which no int32 is/],
  ];
  for (const [dtype, storage, x, message] of cases) {
    await withModel(passing(dtype, storage), async (model) => {
      await assert.rejects(model.run({ x }), { name: "ModelError", message });
    }, { device });
  }
  await withModel(passing("bool", "u32"), async (model) => {
    assert.deepEqual(numbersOf((await model.run({ x: [true, false] })).y), [1, 0]);
  }, { device });
  await withModel(passing("int64", "i32"), async (model) => {
    assert.deepEqual(numbersOf((await model.run({ x: [5n, -7] })).y), [5, -7]);
  }, { device });
  await withModel(passing("float16", "f32"), async (model) => {
    const { y } = await model.run({ x: Uint16Array.of(0x3c00, 0xc000) });
    assert.deepEqual(numbersOf(y), [1, -2]);
  }, { device });
  device.destroy();
});

Deno.test("models chain on the GPU, and a buffer serves however it can", async () => {
  const device = await openDevice();
  await withModel(doubling(), async (first) => {
    await withModel(twoInputs(), async (second) => {
      const copied = device.createBuffer({ size: 12, usage: GPUBufferUsage.COPY_SRC | 8 });
      device.queue.writeBuffer(copied, 0, Float32Array.of(1, 2, 3));
      for (let round = 0; round < 3; round++) {
        const { y } = await first.run({ x: [1, 2, 3] }, { gpuOutputs: ["y"] });
        assert.ok(y && "buffer" in y);
        const { buffer } = y;
        const chained = await second.run({ pixels: { buffer, dims: [1, 3] }, mask: [[1]] });
        assert.deepEqual(numbersOf(chained.sum), [13, 15, 17]);
        // The same buffer as two inputs, and one that can only be copied.
        const both = await second.run({
          pixels: { buffer, dims: [1, 3] },
          mask: { buffer, dims: [1, 2] },
        });
        assert.deepEqual(numbersOf(both.sum), [33, 55, 37]);
        const other = await second.run({ pixels: { buffer: copied, dims: [1, 3] }, mask: [[0]] });
        assert.deepEqual(numbersOf(other.sum), [1, 2, 3]);
        y.dispose();
        y.dispose();
      }
      const useless = device.createBuffer({ size: 12, usage: GPUBufferUsage.VERTEX });
      const { mask } = { mask: [[1]] };
      await assert.rejects(
        second.run({ pixels: { buffer: useless, dims: [1, 3] }, mask }),
        /its buffer has no usage COPY_SRC/,
      );
      await assert.rejects(
        second.run({ pixels: { buffer: copied, dims: [2, 3] }, mask }),
        /its buffer has 12 bytes, \[2, 3\] takes 24/,
      );
      copied.destroy();
      await assert.rejects(
        second.run({ pixels: { buffer: copied, dims: [1, 3] }, mask }),
        { name: "ModelError", message: /^Cannot run the model: / },
      );
      useless.destroy();
    }, { device });
  }, { device });
  device.destroy();
});

Deno.test("a cache of keys stays on the GPU from run to run", async () => {
  const tables = tablesOf(
    [input("past", ["n"]), input("token", [1])],
    [output("present", ["m"]), output("sum", [])],
    [
      elementwise("select(b[0], a[min(i, p.y - 1)], i < p.y)", "aaa"),
      elementwise("a[0] + a[p.y - 1]", "aa"),
    ],
    function* (m) {
      const [n = 0] = m.dims(0);
      const present = m.tensor(4 * (n + 1));
      const sum = m.tensor(4);
      m.dispatch(0, [m.input(0), m.input(1), present], [n + 1, n, 0, 0], groupsOf(n + 1));
      m.dispatch(1, [present, sum], [1, n + 1, 0, 0], 1);
      m.output(0, present, [n + 1]);
      m.output(1, sum, []);
    },
  );
  await withModel(tables, async (model) => {
    let past: InputValue = { data: [100], dims: [1] };
    let release = () => {};
    for (let token = 1; token <= 60; token++) {
      const { present, sum } = await model.run({ past, token: [token] }, {
        gpuOutputs: ["present"],
      });
      release();
      assert.deepEqual(numbersOf(sum), [100 + token]);
      assert.ok(present && "buffer" in present);
      past = { buffer: present.buffer, dims: present.dims };
      release = () => present.dispose();
    }
    assert.ok(model.stats().buffers < 16, `${model.stats().buffers} buffers`);
  });
});

Deno.test("host values come from arrays and from the GPU, and are part of a plan's key", async () => {
  const tables = tablesOf(
    [input("x", ["n"]), { ...input("shift", ["k"], "i32", "int64"), host: true }],
    [output("y", ["n"])],
    [elementwise("a[i] + f32(p.y)", "aa")],
    function* (m) {
      const [n = 0] = m.dims(0);
      const y = m.tensor(4 * n);
      const shift = Array.from(m.host(1)).reduce((a, b) => a + b, 0);
      m.dispatch(0, [m.input(0), y], [n, shift, 0, 0], groupsOf(n));
      m.output(0, y, [n]);
    },
  );
  const device = await openDevice();
  await withModel(tables, async (model) => {
    const buffer = device.createBuffer({ size: 8, usage: GPUBufferUsage.COPY_SRC | 8 });
    device.queue.writeBuffer(buffer, 0, Int32Array.of(3, -5));
    const cases: [InputValue, number][] = [
      [BigInt64Array.of(7n), 7],
      [[7], 7],
      [[1, 2, 3], 6],
      [{ buffer, dims: [2] }, -2],
      [{ data: [], dims: [0] }, 0],
      [BigInt64Array.of(7n), 7],
    ];
    for (const [shift, sum] of cases) {
      assert.deepEqual(numbersOf((await model.run({ x: [1, 2], shift })).y), [1 + sum, 2 + sum]);
    }
    assert.equal(model.stats().plans, 4);
    await assert.rejects(model.run({ x: [1], shift: BigInt64Array.of(2n ** 60n) }), /in 32 bits/);
    buffer.destroy();
  }, { device });
  device.destroy();
});
