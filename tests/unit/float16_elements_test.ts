/** Elements between float types: against the machine's own rounding, and against exact arithmetic. */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  convertElements,
  emptySurvey,
  FLOAT_BYTES,
  type FloatType,
  surveyElements,
} from "../../src/quantization/float16/elements.ts";

const TYPES: readonly FloatType[] = ["float16", "bfloat16", "float32", "float64"];

/** Bits of precision and exponents of the smallest subnormal and of the largest value. */
const SHAPE: Record<FloatType, { digits: number; lowest: number; highest: number }> = {
  float16: { digits: 11, lowest: -24, highest: 15 },
  bfloat16: { digits: 8, lowest: -133, highest: 127 },
  float32: { digits: 24, lowest: -149, highest: 127 },
  float64: { digits: 53, lowest: -1074, highest: 1023 },
};

/** `value` rounded to `type` by the definition: a whole number of last digits, ties to even. */
function rounded(value: number, type: FloatType): number {
  if (value === 0 || !Number.isFinite(value) || type === "float64") return value;
  const { digits, lowest, highest } = SHAPE[type];
  const exponent = Math.max(exponentOf(value) - digits + 1, lowest);
  const scaled = value / 2 ** exponent;
  const down = Math.floor(scaled);
  const rest = scaled - down;
  const up = rest > 0.5 || (rest === 0.5 && down % 2 !== 0);
  const result = (up ? down + 1 : down) * 2 ** exponent;
  if (Math.abs(result) >= 2 ** (highest + 1)) return Math.sign(value) * Infinity;
  return result === 0 ? (value < 0 ? -0 : 0) : result;
}

function exponentOf(value: number): number {
  let exponent = Math.floor(Math.log2(Math.abs(value)));
  if (2 ** exponent > Math.abs(value)) exponent--;
  if (2 ** (exponent + 1) <= Math.abs(value)) exponent++;
  return exponent;
}

function encode(values: readonly number[], type: FloatType): Uint8Array {
  const bytes = new Uint8Array(values.length * FLOAT_BYTES[type]);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => {
    if (type === "float16") view.setFloat16(2 * i, value, true);
    else if (type === "float32") view.setFloat32(4 * i, value, true);
    else if (type === "float64") view.setFloat64(8 * i, value, true);
    else {
      // Only ever called with values that bfloat16 holds: the upper half of a float32.
      const single = new DataView(new ArrayBuffer(4));
      single.setFloat32(0, value);
      view.setUint16(2 * i, single.getUint16(0), true);
    }
  });
  return bytes;
}

function decode(bytes: Uint8Array, type: FloatType): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return Array.from({ length: bytes.length / FLOAT_BYTES[type] }, (_, i) => {
    if (type === "float16") return view.getFloat16(2 * i, true);
    if (type === "float32") return view.getFloat32(4 * i, true);
    if (type === "float64") return view.getFloat64(8 * i, true);
    const single = new DataView(new ArrayBuffer(4));
    single.setUint16(0, view.getUint16(2 * i, true));
    return single.getFloat32(0);
  });
}

/** Numbers of all magnitudes, with the neighbourhoods of the borders between them. */
const numbers = fc.oneof(
  fc.double(),
  fc.float(),
  fc.tuple(fc.integer({ min: -150, max: 130 }), fc.double({ min: -2, max: 2, noNaN: true }))
    .map(([exponent, digits]) => digits * 2 ** exponent),
  fc.tuple(fc.integer({ min: -26, max: 17 }), fc.integer({ min: -8192, max: 8192 }))
    .map(([exponent, digits]) => (1 + digits / 4096) * 2 ** exponent),
);

Deno.test("an element is rounded once, to nearest, ties to even", () => {
  for (const from of TYPES) {
    for (const to of TYPES) {
      fc.assert(
        fc.property(fc.array(numbers, { minLength: 1, maxLength: 16 }), (drawn) => {
          const values = drawn.map((value) => rounded(value, from));
          const into = new Uint8Array(values.length * FLOAT_BYTES[to]);
          convertElements(encode(values, from), from, to, into);
          assert.deepEqual(decode(into, to), values.map((value) => rounded(value, to)));
        }),
        { numRuns: 300 },
      );
    }
  }
});

Deno.test("all 65,536 float16 and bfloat16 values come back unchanged from float32", () => {
  for (const type of ["float16", "bfloat16"] as const) {
    const halves = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const bytes = new Uint8Array(halves.buffer);
    const wide = new Uint8Array(65536 * 4);
    convertElements(bytes, type, "float32", wide);
    const back = new Uint8Array(65536 * 2);
    convertElements(wide, "float32", type, back);
    const values = decode(bytes, type);
    new Uint16Array(back.buffer).forEach((half, i) => {
      if (!Number.isNaN(values[i]!)) assert.equal(half, i);
      else assert.ok(Number.isNaN(decode(back.subarray(2 * i, 2 * i + 2), type)[0]!));
    });
  }
});

Deno.test("a double between two singles is not rounded twice", () => {
  // 1 + 2^-8 is the tie between two bfloat16; a little more must go up, though a single can't tell.
  const value = 1 + 2 ** -8 + 2 ** -40;
  const into = new Uint8Array(2);
  convertElements(encode([value], "float64"), "float64", "bfloat16", into);
  assert.deepEqual(decode(into, "bfloat16"), [1 + 2 ** -7]);
  convertElements(encode([-(2 - value)], "float64"), "float64", "bfloat16", into);
  assert.deepEqual(decode(into, "bfloat16"), [-(1 - 2 ** -8)]);
});

Deno.test("bytes need not be aligned", () => {
  const source = new Uint8Array(1 + 8);
  source.set(encode([1.5, -2.25], "float32"), 1);
  const into = new Uint8Array(1 + 4);
  convertElements(source.subarray(1), "float32", "float16", into.subarray(1));
  assert.deepEqual(decode(into.slice(1), "float16"), [1.5, -2.25]);
  const survey = emptySurvey();
  surveyElements(source.subarray(1), "float32", "float16", survey);
  assert.equal(survey.ordinary, 2);
});

Deno.test("too little room is an error, not a short result", () => {
  assert.throws(
    () => convertElements(new Uint8Array(8), "float32", "float16", new Uint8Array(3)),
    RangeError,
  );
});

Deno.test("a limit replaces what would overflow and leaves infinities and the rest", () => {
  const values = [-3.4e38, 70000, 65519, 65504, -1e-9, Infinity, -Infinity, 0];
  const into = new Uint8Array(values.length * 2);
  convertElements(encode(values, "float32"), "float32", "float16", into, 32752);
  assert.deepEqual(
    decode(into, "float16"),
    [-32752, 32752, 65504, 65504, -0, Infinity, -Infinity, 0],
  );
});

Deno.test("a survey counts what the conversion does to each element", () => {
  for (
    const [from, to] of [["float32", "float16"], ["float64", "bfloat16"], [
      "bfloat16",
      "float16",
    ], ["float64", "float32"]] as const
  ) {
    fc.assert(
      fc.property(fc.array(numbers, { minLength: 1, maxLength: 16 }), (drawn) => {
        const values = drawn.map((value) => rounded(value, from));
        const survey = emptySurvey();
        surveyElements(encode(values, from), from, to, survey);
        const results = values.map((value) => rounded(value, to));
        const count = (holds: (before: number, after: number) => boolean) =>
          values.filter((value, i) => holds(value, results[i]!)).length;
        const normal = 2 ** (SHAPE[to].lowest + SHAPE[to].digits - 1);
        const finite = Number.isFinite;
        const lost = (before: number) => before !== 0 && Math.abs(before) < normal;
        assert.equal(survey.overflowed, count((before, after) => finite(before) && !finite(after)));
        assert.equal(survey.infinite, count((before) => Math.abs(before) === Infinity));
        assert.equal(survey.notANumber, count((before) => Number.isNaN(before)));
        assert.equal(survey.vanished, count((before, after) => before !== 0 && after === 0));
        assert.equal(survey.subnormal, count((before, after) => lost(before) && after !== 0));
      }),
      { numRuns: 300 },
    );
  }
});
