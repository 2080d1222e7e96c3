/** Made-up inputs: what an input is taken for, its extents, and its values. */
import assert from "node:assert/strict";
import type { InputHints } from "../../src/verify/hints.ts";
import { Random } from "../../src/verify/random.ts";
import type { Port } from "../../src/verify/session.ts";
import {
  dimsOf,
  isRandom,
  type Role,
  roleOf,
  seededTensor,
  unknownsOf,
} from "../../src/verify/seeded.ts";
import { castTensor, type HostType, toFloat64 } from "../../src/verify/values.ts";
import { InputError } from "../../src/error.ts";

const port = (name: string, dtype: HostType, ...dims: (number | string | null)[]): Port => ({
  name,
  dtype,
  dims,
});
const hints = (rows: number | null, ...comparedWith: number[]): InputHints => ({
  vocabulary: rows === null ? null : { rows, table: "embeddings" },
  comparedWith,
  nearbyExtents: [],
});

/** The first thing that would be tried for `ports`, as [name, role, dims]. */
function plan(ports: Port[], known: Record<string, InputHints> = {}) {
  const roles = new Map(
    ports.map((entry) => [entry.name, roleOf(entry, ports, known[entry.name])] as const),
  );
  const assignment = new Map(
    unknownsOf(ports, roles, new Map(Object.entries(known))).map(({ key, candidates }) =>
      [key, candidates[0]!] as const
    ),
  );
  return {
    roles,
    assignment,
    summary: ports.map((entry) => [
      entry.name,
      roles.get(entry.name)!.kind,
      dimsOf(entry, assignment),
    ]),
  };
}

Deno.test("a sentence encoder", () => {
  const ports = [
    port("input_ids", "int64", "batch_size", "sequence_length"),
    port("attention_mask", "int64", "batch_size", "sequence_length"),
    port("token_type_ids", "int64", "batch_size", "sequence_length"),
    port("position_ids", "int64", "batch_size", "sequence_length"),
  ];
  assert.deepEqual(plan(ports, { input_ids: hints(30522) }).summary, [
    ["input_ids", "tokens", [1, 16]],
    ["attention_mask", "mask", [1, 16]],
    ["token_type_ids", "zeros", [1, 16]],
    ["position_ids", "positions", [1, 16]],
  ]);
});

Deno.test("a decoder with a cache: extents by name and by sum", () => {
  const ports = [
    port("input_ids", "int64", "batch", "sequence"),
    port("attention_mask", "int64", "batch", "past_sequence + sequence"),
    port("past_key_values.0.key", "float32", "batch", 4, "past_sequence", 64),
    port("use_cache_branch", "bool", 1),
  ];
  assert.deepEqual(plan(ports, { input_ids: hints(100) }).summary, [
    ["input_ids", "tokens", [1, 16]],
    ["attention_mask", "mask", [1, 16]],
    ["past_key_values.0.key", "state", [1, 4, 0, 64]],
    ["use_cache_branch", "zeros", [1]],
  ]);
});

Deno.test("voice activity: unknown extents, a sample rate that the model tests for", () => {
  const ports = [
    port("input", "float32", null, null),
    port("state", "float32", 2, null, 128),
    port("sr", "int64"),
  ];
  const { summary, roles } = plan(ports, { sr: hints(null, 8000) });
  assert.deepEqual(summary, [
    ["input", "audio", [1, 512]],
    ["state", "state", [2, 1, 128]],
    ["sr", "constant", []],
  ]);
  const role = roles.get("sr")!;
  assert.equal(role.kind === "constant" && role.value, 8000);
});

Deno.test("pictures: channels first or last, lines of text, bytes", () => {
  assert.deepEqual(plan([port("x", "float32", "n", 3, "h", "w")]).summary[0]![2], [1, 3, 224, 224]);
  assert.deepEqual(plan([port("x", "float32", null, 3, 48, null)]).summary[0]![2], [1, 3, 48, 320]);
  assert.deepEqual(plan([port("x", "uint8", 1, "h", "w", 3)]).summary[0]![2], [1, 224, 224, 3]);
  assert.deepEqual(plan([port("x", "float32", 2, 64, 64, 64)]).summary[0], [
    "x",
    "numbers",
    [2, 64, 64, 64],
  ]);
});

Deno.test("an unknown last extent is first that of the matrix the input meets", () => {
  const matrix = { x: { ...hints(null), nearbyExtents: [24, 5] } };
  assert.deepEqual(plan([port("x", "float32", null, null)], matrix).summary[0]![2], [1, 24]);
});

Deno.test("values fit their role and repeat with the seed", () => {
  const make = (role: Role, dtype: HostType, dims: number[], seed = "1:0") =>
    toFloat64(seededTensor(port("x", dtype, ...dims), role, dims, new Map(), seed));
  const ids = make({ kind: "tokens", rows: 50, table: "t" }, "int64", [4, 64]);
  assert.ok(ids.every((id) => Number.isInteger(id) && id >= 0 && id < 50));
  assert.ok(new Set(ids).size > 30);
  assert.deepEqual(make({ kind: "mask" }, "float16", [1, 3]), Float64Array.of(1, 1, 1));
  assert.deepEqual(make({ kind: "positions" }, "int64", [2, 3]), Float64Array.of(0, 1, 2, 0, 1, 2));
  for (const dtype of ["float32", "uint8", "int8"] as const) {
    const pixels = make({ kind: "picture" }, dtype, [1, 3, 32, 32]);
    assert.ok(new Set(pixels).size > 20, dtype);
  }
  const numbers = make({ kind: "numbers" }, "float32", [10000]);
  const mean = numbers.reduce((sum, value) => sum + value, 0) / 10000;
  const variance = numbers.reduce((sum, value) => sum + value * value, 0) / 10000;
  assert.ok(Math.abs(mean) < 0.05 && Math.abs(variance - 1) < 0.05, `${mean} ${variance}`);
  assert.deepEqual(make({ kind: "numbers" }, "float32", [10000]), numbers);
  assert.notDeepEqual(make({ kind: "numbers" }, "float32", [10000], "1:1"), numbers);
  assert.equal(isRandom({ kind: "mask" }), false);
  assert.equal(isRandom({ kind: "audio" }), true);
});

Deno.test("random numbers are the same on every machine and evenly spread", () => {
  const random = new Random("modelcast");
  const first = [random.next(), random.next(), random.next()];
  const again = new Random("modelcast");
  assert.deepEqual([again.next(), again.next(), again.next()], first);
  const counts = new Array<number>(10).fill(0);
  for (let i = 0; i < 10000; i++) counts[random.integer(10)]!++;
  assert.ok(counts.every((count) => count > 850 && count < 1150), `${counts}`);
});

Deno.test("casts keep the value or say which element can't be kept", () => {
  const floats = { dtype: "float64", dims: [2], data: Float64Array.of(1, 70000) } as const;
  assert.deepEqual(castTensor(floats, "int64", "x").data, BigInt64Array.of(1n, 70000n));
  assert.throws(() => castTensor(floats, "int16", "x"), /"x": element 1 is 70000/);
  assert.throws(
    () => castTensor({ ...floats, data: Float64Array.of(0.5, 1) }, "int32", "x"),
    InputError,
  );
  const wide = { dtype: "int64", dims: [1], data: BigInt64Array.of(2n ** 53n + 1n) } as const;
  assert.deepEqual(castTensor(wide, "uint64", "x").data, BigUint64Array.of(2n ** 53n + 1n));
  assert.throws(() => castTensor(wide, "int32", "x"), /9007199254740993/);
  assert.throws(
    () => castTensor({ dtype: "string", dims: [1], data: ["a"] }, "float32", "x"),
    /strings/,
  );
  const halves = castTensor(
    { dtype: "float32", dims: [2], data: Float32Array.of(1, 1e6) },
    "float16",
    "x",
  );
  assert.deepEqual(halves.data, Uint16Array.of(0x3c00, 0x7c00));
});
