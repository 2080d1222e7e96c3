/**
 * What the methods promise, on the reference engine: known answers, bounds of the error, `mse` and
 * `hqq` against `rtn`, independence of rows, blocks of zeros, and blocks that can't be quantized.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type BlockFormat,
  highestCode,
  symmetricZeroPoint,
  threeBitPosition,
} from "../../src/formats.ts";
import type { Method, QuantizeJob, QuantizeResult } from "../../src/quantization/engine.ts";
import { float16ToNumber } from "../../src/quantization/half.ts";
import { inversePower } from "../../src/quantization/methods/power.ts";
import { quantizeMatrix } from "../../src/quantization/reference.ts";
import { formatsOf, jobOf, METHODS, QUANTIZE_CASES } from "../quantize_cases.ts";

const FOUR_BITS: BlockFormat = {
  bits: 4,
  symmetric: true,
  blockSize: 16,
  scaleType: "float16",
};

function quantize(
  values: number[] | Float32Array,
  rows: number,
  format: BlockFormat,
  method: Method,
  more: Partial<QuantizeJob> = {},
): QuantizeResult {
  const columns = values.length / rows;
  const entry = { name: "", rows, columns, values: Float32Array.from(values) };
  return quantizeMatrix({ ...jobOf(entry, "rows", format, method), ...more });
}

function scaleAt({ scales }: QuantizeResult, index: number, format: BlockFormat): number {
  const view = new DataView(scales.buffer);
  return format.scaleType === "float32"
    ? view.getFloat32(index * 4, true)
    : float16ToNumber(view.getUint16(index * 2, true));
}

function errorOf(result: QuantizeResult): number {
  assert(result.error);
  return result.error.noise;
}

/** Blocks of weights as models have them: about normal, some with outliers. */
const weights = (length: number) =>
  fc.array(
    fc.tuple(
      fc.double({ min: -1, max: 1, noNaN: true }),
      fc.double({ min: -1, max: 1, noNaN: true }),
      fc.constantFrom(1, 1, 1, 1, 1, 1, 1, 1, 9),
    ).map(([a, b, size]) => Math.fround((a + b) * size)),
    { minLength: length, maxLength: length },
  );

const formats = fc.constantFrom(...formatsOf(16), ...formatsOf(32));

Deno.test("symmetric rtn maps the largest magnitude on the code 0, with a scale of either sign", () => {
  const values = [4, -2, 1, 0, 0.25, 0.3, 3.9, -3.9, 0, 0, 0, 0, 0, 0, 0, 0];
  const result = quantize(values, 1, FOUR_BITS, "rtn");
  assert.equal(scaleAt(result, 0, FOUR_BITS), -0.5);
  // Codes 8 + round(w / -0.5): 4 is code 0, -3.9 would be 15.8 and is held at 15; ties go to even.
  const codes = [0, 12, 6, 8, 8, 7, 0, 15];
  assert.deepEqual(
    [...result.codes],
    [0, 2, 4, 6].map((i) => codes[i]! | (codes[i + 1]! << 4)).concat([0x88, 0x88, 0x88, 0x88]),
  );
  const mirrored = quantize(values.map((v) => -v), 1, FOUR_BITS, "rtn");
  assert.equal(scaleAt(mirrored, 0, FOUR_BITS), 0.5);
  assert.deepEqual(mirrored.codes, result.codes);
});

Deno.test("of a largest magnitude with both signs, symmetric rtn takes the negative one", () => {
  const result = quantize([1, -1, ...new Array(14).fill(0)], 1, FOUR_BITS, "rtn");
  assert.equal(scaleAt(result, 0, FOUR_BITS), 0.125);
  assert.equal(result.codes[0], 15 | (0 << 4));
});

Deno.test("asymmetric rtn spans the range with zero in it", () => {
  const format = { ...FOUR_BITS, symmetric: false };
  const both = quantize([-0.5, 1, ...new Array(14).fill(0)], 1, format, "rtn");
  assert.equal(scaleAt(both, 0, format), float16ToNumber(0x2e66));
  assert.deepEqual([...both.zeroPoints!], [5]);
  assert.equal(both.codes[0], 0 | (15 << 4));
  // Zero keeps a code of its own where all weights are positive.
  const positive = quantize(new Array(16).fill(3), 1, format, "rtn");
  assert.deepEqual([...positive.zeroPoints!], [0]);
  assert.deepEqual([...positive.codes], new Array(8).fill(0xff));
});

Deno.test("codes follow from the scale as it is stored, not as it was computed", () => {
  // 1/8 of the largest rounds down in float16, by enough to move a weight to another code.
  const largest = 1.0004883;
  const result = quantize(
    [-largest, 0.4375 * 1.0002, ...new Array(14).fill(0)],
    1,
    FOUR_BITS,
    "rtn",
  );
  const scale = scaleAt(result, 0, FOUR_BITS);
  assert.notEqual(scale, Math.fround(largest) / 8);
  assert.equal((result.codes[0]! >> 4) - 8, Math.round(0.4375 * 1.0002 / scale));
});

/** The code of weight `i` of block `block`. */
function codeAt(result: QuantizeResult, block: number, i: number, format: BlockFormat): number {
  const { bits, blockSize } = format;
  if (bits === 3) {
    const { plane, byte, lowBit, highBit } = threeBitPosition(i, blockSize);
    const planeBytes = result.codes.length / 3;
    const at = block * (blockSize / 8) + byte;
    const low = (result.codes[plane * planeBytes + at]! >> lowBit) & 3;
    return low | (((result.codes[2 * planeBytes + at]! >> highBit) & 1) << 2);
  }
  const bit = (block * blockSize + i) * bits;
  return (result.codes[bit >> 3]! >> (bit & 7)) & highestCode(bits);
}

Deno.test("rtn is off by at most half a step, but where a code is held at the ends", () => {
  fc.assert(
    fc.property(weights(64), formats, (values, format) => {
      const result = quantize(values, 2, format, "rtn");
      const { blockSize, bits } = format;
      values.forEach((weight, index) => {
        const block = Math.floor(index / blockSize);
        const code = codeAt(result, block, index % blockSize, format);
        const zeroPoint = result.zeroPoints?.[block] ?? symmetricZeroPoint(bits);
        const scale = scaleAt(result, block, format);
        const atEnd = code === 0 || code === highestCode(bits);
        const error = Math.abs(weight - scale * (code - zeroPoint));
        // Symmetric, -largest maps one step past the highest code; asymmetric, the zero point's
        // rounding moves the ends by half a step. A float16 scale is
        // off by 2^-11 of itself, or by 2^-25.
        const steps = atEnd ? 1 : 0.5;
        const off = Math.max(Math.abs(scale) * 2 ** -10, 2 ** -24);
        const bound = Math.abs(scale) * steps + highestCode(bits) * off;
        assert(error <= bound, `${weight}: ${error} > ${bound}`);
      });
    }),
    { numRuns: 300 },
  );
});

Deno.test("mse is never worse than rtn, on any block", () => {
  fc.assert(
    fc.property(weights(32), fc.constantFrom(...formatsOf(32)), (values, format) => {
      const plain = errorOf(quantize(values, 1, format, "rtn"));
      const searched = errorOf(quantize(values, 1, format, "mse"));
      assert(searched <= plain * (1 + 1e-6) + 1e-30, `${searched} > ${plain}`);
    }),
    { numRuns: 200 },
  );
  for (const entry of QUANTIZE_CASES) {
    for (const format of formatsOf(32)) {
      const [plain, searched] = (["rtn", "mse"] as const).map((method) =>
        errorOf(quantizeMatrix(jobOf(entry, "rows", format, method)))
      );
      assert(!(searched! > plain! * (1 + 1e-6)), `${entry.name}: ${searched} > ${plain}`);
    }
  }
});

/** Normal numbers from a fixed generator. */
function normals(count: number): Float32Array {
  let state = 12345;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 1) / 2 ** 32;
  };
  return Float32Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}

Deno.test("the searches gain on normal weights what they are there for", () => {
  const values = normals(64 * 256);
  // Least gains in dB, block 32: mse and hqq, symmetric and asymmetric.
  const least = { 4: [0.4, 0.4, 0.1, 0.1], 3: [0.5, 0.6, 0.2, 0.2], 2: [0.7, 1.5, 0.3, 0.8] };
  for (const bits of [4, 3, 2] as const) {
    const gains = (["mse", "hqq"] as const).flatMap((method) =>
      [true, false].map((symmetric) => {
        const format = { ...FOUR_BITS, bits, symmetric, blockSize: 32 } as const;
        const plain = errorOf(quantize(values, 64, format, "rtn"));
        return 10 * Math.log10(plain / errorOf(quantize(values, 64, format, method)));
      })
    );
    gains.forEach((gain, i) =>
      assert(gain >= least[bits][i]!, `${bits} bits: gains ${gains} below ${least[bits]}`)
    );
  }
});

Deno.test("importance moves the error to the columns that count less", () => {
  const values = normals(32 * 64);
  const importance = Float32Array.from({ length: 64 }, (_, i) => i % 2 ? 1.9 : 0.1);
  const format = { ...FOUR_BITS, bits: 2, symmetric: false, blockSize: 32 } as const;
  const weighted = quantize(values, 32, format, "mse", { importance });
  const plain = quantize(values, 32, format, "mse");
  const sum = (result: QuantizeResult, odd: number) => {
    let total = 0;
    for (let i = odd; i < values.length; i += 2) {
      const block = Math.floor(i / 32);
      const code = codeAt(result, block, i % 32, format);
      const value = scaleAt(result, block, format) * (code - result.zeroPoints![block]!);
      total += (values[i]! - value) ** 2;
    }
    return total;
  };
  assert(sum(weighted, 1) < 0.97 * sum(plain, 1));
  assert(sum(weighted, 0) > sum(plain, 0));
  const alike = quantize(values, 32, format, "mse", { importance: new Float32Array(64).fill(1) });
  assert.deepEqual(alike.codes, plain.codes);
});

Deno.test("a row's result does not depend on the other rows", () => {
  fc.assert(
    fc.property(weights(96), formats, fc.constantFrom(...METHODS), (values, format, method) => {
      const together = quantize(values, 3, format, method);
      const parts = [2, 0, 1].map((row) =>
        quantize(values.slice(row * 32, (row + 1) * 32), 1, format, method)
      );
      const swapped = quantize(
        [2, 0, 1].flatMap((row) => values.slice(row * 32, (row + 1) * 32)),
        3,
        format,
        method,
      );
      const bytes = swapped.scales.length / 3;
      parts.forEach((part, i) =>
        assert.deepEqual(part.scales, swapped.scales.slice(i * bytes, (i + 1) * bytes))
      );
      assert.deepEqual(
        [...together.scales.slice(2 * bytes)],
        [...swapped.scales.slice(0, bytes)],
      );
      if (format.bits !== 3) {
        const each = swapped.codes.length / 3;
        parts.forEach((part, i) =>
          assert.deepEqual(part.codes, swapped.codes.slice(i * each, (i + 1) * each))
        );
      }
    }),
    { numRuns: 60 },
  );
});

Deno.test("blocks of zeros have the scale 0 and the zero point's code everywhere", () => {
  for (const method of METHODS) {
    for (const format of formatsOf(32)) {
      for (const values of [new Float32Array(32), new Float32Array(32).fill(2 ** -110)]) {
        const result = quantize(values, 1, format, method);
        assert(result.scales.every((byte) => byte === 0));
        if (!format.symmetric) assert.deepEqual([...result.zeroPoints!], [0]);
        const zero = format.symmetric ? symmetricZeroPoint(format.bits) : 0;
        const codes = format.bits === 3
          ? [...new Array(8).fill(zero & 3 ? 0xff : 0), ...new Array(4).fill(zero >> 2 ? 0xff : 0)]
          : new Array(4 * format.bits).fill(
            Array.from({ length: 8 / format.bits }, (_, i) => zero << (i * format.bits))
              .reduce((byte, code) => byte | code),
          );
        assert.deepEqual([...result.codes], codes);
      }
    }
  }
});

Deno.test("blocks that are not finite are counted, the others are not touched by them", () => {
  for (const method of METHODS) {
    for (const format of formatsOf(16)) {
      const values = normals(64);
      const clean = quantize(values, 2, format, method);
      values[3] = NaN;
      values[40] = -Infinity;
      const result = quantize(values, 2, format, method);
      assert.equal(result.nonFinite, 2);
      const bytes = result.scales.length / 4;
      for (const block of [1, 3]) {
        assert.deepEqual(
          result.scales.slice(block * bytes, (block + 1) * bytes),
          clean.scales.slice(block * bytes, (block + 1) * bytes),
        );
      }
      for (const block of [0, 2]) assert.equal(scaleAt(result, block, format), 0);
      assert(Number.isFinite(errorOf(result)));
    }
  }
});

Deno.test("a scale too large for float16 is clamped and counted", () => {
  const values = normals(32).map((v) => v * 2 ** 30);
  const format = { ...FOUR_BITS, blockSize: 32 } as const;
  const result = quantize(values, 1, format, "rtn");
  assert.equal(result.saturated, 1);
  assert.equal(Math.abs(scaleAt(result, 0, format)), 65504);
  assert.equal(quantize(values, 1, { ...format, scaleType: "float32" }, "rtn").saturated, 0);
  const huge = values.map(() => 3e38);
  const wide = { ...format, bits: 2, scaleType: "float32" } as const;
  assert.equal(quantize(huge, 1, wide, "rtn").saturated, 1);
});

Deno.test("8 bits reach every code", () => {
  const format = { ...FOUR_BITS, bits: 8, blockSize: 256, symmetric: false } as const;
  const values = Float32Array.from({ length: 256 }, (_, i) => i - 128);
  const result = quantize(values, 1, { ...format, scaleType: "float32" }, "rtn");
  assert.deepEqual([...result.codes], Array.from({ length: 256 }, (_, i) => i));
  assert.equal(highestCode(8), 255);
});

Deno.test("the table of powers is close to x^-0.3 and steps down", () => {
  let previous = Infinity;
  for (let x = 2 ** -16; x < 2 ** 11; x *= 1.003) {
    const power = inversePower(Math.fround(x));
    assert(Math.abs(power / x ** -0.3 - 1) < 0.005);
    assert(power <= previous);
    previous = power;
  }
  assert.equal(inversePower(0), inversePower(2 ** -16));
  assert.equal(inversePower(1e30), inversePower(2047));
});
