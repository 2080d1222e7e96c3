/**
 * The prelude's JavaScript against what it is defined by: codes of small floats against a search for
 * the nearest value in tables, values from high precision, and the special cases of IEEE 754.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import * as prelude from "../../src/codegen/runtime/prelude.js";

/** A small float as its definition has it: the value of each code, and what happens past the largest. */
interface SmallFloat {
  readonly name: string;
  readonly bits: number;
  readonly exponentBits: number;
  readonly bias: number;
  /** Codes of infinity and NaN by the magnitude's code; null where all are numbers. */
  readonly special: (magnitude: number) => number | null;
  readonly isUnsignedZero?: boolean;
  readonly decode: (code: number) => number;
  readonly encode: (x: number) => number;
  /** Past the largest: what `encode` gives. */
  readonly past: "infinity" | "NaN" | "largest";
}

const ieee = (exponentBits: number, mantissaBits: number) => (magnitude: number) => {
  const top = (2 ** exponentBits - 1) * 2 ** mantissaBits;
  return magnitude < top ? null : magnitude === top ? Infinity : NaN;
};
const none = () => null;

function both(
  row: Omit<SmallFloat, "encode" | "past">,
  encode: (x: number, saturate: boolean) => number,
  past: SmallFloat["past"],
): SmallFloat[] {
  return [
    { ...row, encode: (x) => encode(x, false), past },
    { ...row, name: `${row.name}, saturated`, encode: (x) => encode(x, true), past: "largest" },
  ];
}

const {
  decodeBF16,
  decodeF16,
  decodeFloat4e2m1,
  decodeFloat6e2m3,
  decodeFloat6e3m2,
  decodeFloat8e4m3fn,
  decodeFloat8e4m3fnuz,
  decodeFloat8e5m2,
  decodeFloat8e5m2fnuz,
} = prelude;

const SMALL_FLOATS: readonly SmallFloat[] = [
  {
    ...{ name: "float16", bits: 16, exponentBits: 5, bias: 15, special: ieee(5, 10) },
    ...{ decode: decodeF16, encode: prelude.encodeF16, past: "infinity" },
  },
  {
    ...{ name: "bfloat16", bits: 16, exponentBits: 8, bias: 127, special: ieee(8, 7) },
    ...{ decode: decodeBF16, encode: prelude.encodeBF16, past: "infinity" },
  },
  ...both(
    {
      ...{ name: "float8e4m3fn", bits: 8, exponentBits: 4, bias: 7, decode: decodeFloat8e4m3fn },
      special: (magnitude) => magnitude === 0x7f ? NaN : null,
    },
    prelude.encodeFloat8e4m3fn,
    "NaN",
  ),
  ...both(
    {
      ...{ name: "float8e4m3fnuz", bits: 8, exponentBits: 4, bias: 8, special: none },
      ...{ decode: decodeFloat8e4m3fnuz, isUnsignedZero: true },
    },
    prelude.encodeFloat8e4m3fnuz,
    "NaN",
  ),
  ...both(
    {
      ...{ name: "float8e5m2", bits: 8, exponentBits: 5, bias: 15, special: ieee(5, 2) },
      decode: decodeFloat8e5m2,
    },
    prelude.encodeFloat8e5m2,
    "infinity",
  ),
  ...both(
    {
      ...{ name: "float8e5m2fnuz", bits: 8, exponentBits: 5, bias: 16, special: none },
      ...{ decode: decodeFloat8e5m2fnuz, isUnsignedZero: true },
    },
    prelude.encodeFloat8e5m2fnuz,
    "NaN",
  ),
  {
    ...{ name: "float4e2m1", bits: 4, exponentBits: 2, bias: 1, special: none },
    ...{ decode: decodeFloat4e2m1, encode: prelude.encodeFloat4e2m1, past: "largest" },
  },
  {
    ...{ name: "float6e2m3", bits: 6, exponentBits: 2, bias: 1, special: none },
    ...{ decode: decodeFloat6e2m3, encode: prelude.encodeFloat6e2m3, past: "largest" },
  },
  {
    ...{ name: "float6e3m2", bits: 6, exponentBits: 3, bias: 3, special: none },
    ...{ decode: decodeFloat6e3m2, encode: prelude.encodeFloat6e3m2, past: "largest" },
  },
];

/** The values of all magnitudes, rising; then infinity and NaN. */
function magnitudes({ bits, exponentBits, bias, special }: SmallFloat): number[] {
  const mantissaBits = bits - 1 - exponentBits;
  return Array.from({ length: 2 ** (bits - 1) }, (_, code) => {
    const known = special(code);
    if (known !== null) return known;
    const exponent = Math.floor(code / 2 ** mantissaBits);
    const fraction = (code % 2 ** mantissaBits) / 2 ** mantissaBits;
    return exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias);
  });
}

for (const type of SMALL_FLOATS) {
  const values = magnitudes(type);
  const finite = values.filter(Number.isFinite);
  const half = values.length;

  Deno.test(`${type.name}: every code is the value of its definition, and its own code`, () => {
    for (let code = 0; code < 2 * half; code++) {
      const value = values[code % half]! * (code < half ? 1 : -1);
      const expected = type.isUnsignedZero && code === half ? NaN : value;
      assert.ok(Object.is(type.decode(code), expected), `${code} is ${type.decode(code)}`);
      if (Number.isFinite(expected)) assert.equal(type.encode(expected), code);
    }
  });

  /** The nearest value's code, the even one of two. */
  const nearest = (x: number): number => {
    const a = Math.abs(x);
    let low = 0;
    for (let high = finite.length; high - low > 1;) {
      const middle = (low + high) >> 1;
      if (finite[middle]! <= a) low = middle;
      else high = middle;
    }
    const largest = finite.length - 1;
    // Rounding is that of a type with one more value, past which it is out of range.
    const step = finite[largest]! - finite[largest - 1]!;
    const next = finite[low + 1] ?? finite[largest]! + step;
    const [below, above] = [a - finite[low]!, next - a];
    let code = below < above || (below === above && low % 2 === 0) ? low : low + 1;
    if (code > largest) {
      if (type.past === "NaN") return NaN;
      if (type.past === "largest") code = largest;
    }
    return type.isUnsignedZero && code === 0 ? 0 : code + (x < 0 || Object.is(x, -0) ? half : 0);
  };
  const check = (x: number): void => {
    const code = type.encode(x);
    const expected = Number.isNaN(x) ? NaN : nearest(x);
    const isNumber = !Number.isNaN(expected);
    if (isNumber) assert.equal(code, expected, `${type.name} of ${x}`);
    else if (type.special === none && !type.isUnsignedZero) assert.equal(type.decode(code) + 0, 0);
    else assert.ok(Number.isNaN(type.decode(code)), `${type.name} of ${x}`);
  };

  Deno.test(`${type.name}: a float32 becomes the nearest, ties the even one`, () => {
    for (const [i, value] of finite.entries()) {
      const next = finite[i + 1] ?? value + (value - finite[i - 1]!);
      const middle = Math.fround((value + next) / 2);
      const bits = prelude.bitsOfF32(middle);
      const around = [value, middle, prelude.f32OfBits(bits - 1), prelude.f32OfBits(bits + 1)];
      for (const x of around) for (const signed of [x, -x]) check(signed);
    }
    for (const x of [Infinity, -Infinity, NaN, 3.4028235e38, 1e-45, -1e-45, 1e30]) check(x);
    fc.assert(fc.property(fc.float(), check), { numRuns: 5000 });
    fc.assert(fc.property(fc.float({ min: -1000, max: 1000 }), check), { numRuns: 5000 });
  });
}

Deno.test("float8e8m0: a power of two, rounded as asked", () => {
  const { decodeFloat8e8m0, encodeFloat8e8m0 } = prelude;
  for (let code = 0; code < 255; code++) {
    assert.equal(decodeFloat8e8m0(code), 2 ** (code - 127));
    for (const mode of [0, 1, 2]) {
      if (code > 0) assert.equal(encodeFloat8e8m0(2 ** (code - 127), true, mode), code);
    }
  }
  assert.ok(Number.isNaN(decodeFloat8e8m0(255)));
  const [nearest, up, down] = [0, 1, 2];
  const rows: [x: number, saturate: boolean, mode: number, expected: number][] = [
    ...([[1.4, 127], [1.5, 128], [1.6, 128], [-3, 129], [0, 0]] as const)
      .map(([x, code]) => [x, true, nearest, code] as [number, boolean, number, number]),
    ...([[1, 127], [1.0000001, 128], [-3.5, 129], [0, 0]] as const)
      .map(([x, code]) => [x, true, up, code] as [number, boolean, number, number]),
    ...([[1.9999999, 127], [3.9, 128], [0, 0]] as const)
      .map(([x, code]) => [x, true, down, code] as [number, boolean, number, number]),
    [3.4e38, true, up, 254],
    [3.4e38, false, up, 255],
    [3.4e38, false, nearest, 255],
    [3.4e38, false, down, 254],
    [Infinity, true, up, 255],
    [NaN, true, down, 255],
  ];
  for (const [x, saturate, mode, expected] of rows) {
    assert.equal(encodeFloat8e8m0(x, saturate, mode), expected, `${x} ${saturate} ${mode}`);
  }
});

Deno.test("erf is that of high precision", () => {
  // mpmath, 30 digits.
  const known: readonly (readonly [x: number, value: number])[] = [
    [1e-10, 1.128379167095513e-10],
    [0.0009765625, 0.001101932430071815],
    [0.1, 0.1124629160182849],
    [0.5, 0.5204998778130465],
    [0.84375, 0.7672256612323416],
    [1, 0.8427007929497149],
    [1.25, 0.9229001282564582],
    [2, 0.9953222650189527],
    [2.875, 0.9999521451602562],
    [3, 0.9999779095030014],
    [3.125, 0.9999901032653748],
    [4, 0.9999999845827421],
    [6.5, 1],
  ];
  for (const [x, value] of known) {
    for (const sign of [1, -1]) {
      const error = Math.abs(prelude.erf(sign * x) - sign * value);
      assert.ok(error <= 6e-8 * value, `erf(${sign * x})`);
    }
  }
  assert.deepEqual([prelude.erf(Infinity), prelude.erf(-Infinity), prelude.erf(NaN)], [1, -1, NaN]);
  assert.ok(Object.is(prelude.erf(-0), -0));
});

Deno.test("pow is that of IEEE 754 in its special cases", () => {
  const rows: readonly (readonly [x: number, y: number, value: number])[] = [
    ...[[-2, 3, -8], [-2, 2, 4], [-2, -3, -0.125], [-2, 0.5, NaN], [0, 0, 1], [NaN, 0, 1]] as const,
    ...[[1, NaN, 1], [1, Infinity, 1], [-1, Infinity, 1], [-1, -Infinity, 1]] as const,
    ...[[0, 3, 0], [-0, 3, -0], [-0, 2, 0], [0, -1, Infinity], [-0, -1, -Infinity]] as const,
    ...[[-0, -2, Infinity], [0.5, Infinity, 0], [0.5, -Infinity, Infinity]] as const,
    ...[[2, Infinity, Infinity], [2, -Infinity, 0], [Infinity, -1, 0], [Infinity, 2, Infinity]],
    ...[[-Infinity, 3, -Infinity], [-Infinity, 2, Infinity], [-Infinity, -3, -0]],
    ...[[-2, 16777217, Infinity], [10, 39, Infinity], [10, -60, 0]],
  ] as const;
  for (const [x, y, value] of rows) {
    assert.ok(Object.is(prelude.safePow(x!, y!), value), `${x}^${y} is ${prelude.safePow(x!, y!)}`);
  }
});

Deno.test("whole numbers are divided, raised and made as stated", () => {
  const { floorDiv, floorMod, floorModF32, powI32, toI32, toU32, roundEven } = prelude;
  assert.deepEqual([[7, 2], [-7, 2], [7, -2], [-7, -2]].map(([a, b]) => floorDiv(a!, b!)), [
    ...[3, -4, -4, 3],
  ]);
  assert.deepEqual(
    [[7, 2], [-7, 2], [7, -2], [-7, -2], [-4, 2], [5, 0]].map(([a, b]) => floorMod(a!, b!)),
    [1, 1, -1, -1, 0, 0],
  );
  fc.assert(fc.property(fc.maxSafeInteger(), fc.integer(), (a, b) => {
    if (b === 0) return;
    const [q, r] = [floorDiv(a, b), floorMod(a, b)];
    assert.equal(BigInt(q) * BigInt(b) + BigInt(r), BigInt(a));
    assert.ok(b > 0 ? r >= 0 && r < b : r <= 0 && r > b);
  }));
  assert.deepEqual([floorModF32(-1, 3), floorModF32(1, -3), floorModF32(-1, Infinity)], [
    ...[2, -2, Infinity],
  ]);
  assert.ok(Object.is(floorModF32(6, -3), -0));
  assert.deepEqual([powI32(3, 4), powI32(-2, 31), powI32(2, 32), powI32(7, 0)], [
    ...[81, -(2 ** 31), 0, 1],
  ]);
  assert.deepEqual([powI32(0, -1), powI32(-1, -3), powI32(-1, -2), powI32(5, -1)], [0, -1, 1, 0]);
  const outside = -(2 ** 31);
  assert.deepEqual([3.9, -3.9, 2147483520, 2 ** 31, -(2 ** 31), 1e30, NaN, -Infinity].map(toI32), [
    ...[3, -3, 2147483520, outside, outside, outside, outside, outside],
  ]);
  assert.deepEqual([3.9, -1, 4294967040, 2 ** 32, 2 ** 33 + 1024, NaN, Infinity].map(toU32), [
    ...[3, 2 ** 32 - 1, 4294967040, 0, 1024, 0, 0],
  ]);
  assert.deepEqual([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 1e20, Infinity, NaN].map(roundEven), [
    ...[0, 2, 2, -0, -2, -2, 1e20, Infinity, NaN],
  ]);
});
