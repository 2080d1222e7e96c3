/** The 16-bit floating point types, against the platform's own conversions. */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  bfloat16FromNumber,
  float16FromNumber,
  float16ToNumber,
  float32Bits,
  float32FromBits,
} from "../../src/quantization/half.ts";
import { widen } from "../../src/quantization/widen.ts";

Deno.test("every binary16 pattern survives the way to a number and back", () => {
  const view = new DataView(new ArrayBuffer(2));
  for (let pattern = 0; pattern < 65536; pattern++) {
    view.setUint16(0, pattern);
    const number = float16ToNumber(pattern);
    assert(Object.is(number, view.getFloat16(0)), `0x${pattern.toString(16)}`);
    if (!Number.isNaN(number)) assert.equal(float16FromNumber(number), pattern);
  }
});

Deno.test("rounding to binary16 is to nearest, ties to even", () => {
  const view = new DataView(new ArrayBuffer(2));
  const check = (number: number) => {
    view.setFloat16(0, number);
    assert.equal(float16FromNumber(number), view.getUint16(0), String(number));
  };
  for (const number of [65519.99, 65520, -65520, 2 ** -25, 2 ** -25 * 1.001, 3 * 2 ** -25, 0, -0]) {
    check(Math.fround(number));
  }
  fc.assert(fc.property(fc.float({ noNaN: true }), check), { numRuns: 2000 });
  fc.assert(fc.property(fc.float({ noNaN: true, min: -1, max: 1 }), check), { numRuns: 2000 });
});

Deno.test("rounding to bfloat16 is to nearest, ties to even", () => {
  assert.equal(bfloat16FromNumber(1), 0x3f80);
  assert.equal(bfloat16FromNumber(float32FromBits(0x3f808000)), 0x3f80);
  assert.equal(bfloat16FromNumber(float32FromBits(0x3f818000)), 0x3f82);
  assert.equal(bfloat16FromNumber(float32FromBits(0x3f808001)), 0x3f81);
  assert.equal(bfloat16FromNumber(Infinity), 0x7f80);
  assert.equal(bfloat16FromNumber(3.4e38), 0x7f80);
  assert.equal(bfloat16FromNumber(NaN) & 0x7fff, 0x7fc0);
});

Deno.test("weights of every type widen to the same numbers", () => {
  const numbers = [0, 1, -2.5, 0.0009765625, 240, -0.15625];
  const float64 = new Uint8Array(Float64Array.from(numbers).buffer);
  const float32 = new Uint8Array(Float32Array.from(numbers).buffer);
  const float16 = new Uint8Array(Uint16Array.from(numbers, float16FromNumber).buffer);
  const bfloat16 = new Uint8Array(Uint16Array.from(numbers, bfloat16FromNumber).buffer);
  assert.deepEqual([...widen(float64, "float64")], numbers);
  assert.deepEqual([...widen(float32, "float32")], numbers);
  assert.deepEqual([...widen(float16, "float16")], numbers);
  assert.deepEqual([...widen(bfloat16, "bfloat16")], numbers);
  assert.equal(widen(new Uint8Array(Float64Array.of(1e300).buffer), "float64")[0], Infinity);
  assert.equal(float32Bits(-2), 0xc0000000);
});
