/**
 * The functions of the prelude, read from its text, with the arguments to try them on and how far
 * their results may be from those of their namesakes in JavaScript.
 */
import * as references from "../../src/codegen/runtime/prelude.js";
import { randomFrom } from "./random_jobs.ts";

/** Types of arguments and results; each is passed as 32 bits. */
export type Type = "f32" | "i32" | "u32" | "bool";

/** A function of the prelude. */
export interface PreludeFunction {
  readonly name: string;
  readonly parameters: readonly Type[];
  readonly result: Type;
  /** Its declaration and those of all that it calls. */
  readonly text: string;
}

type Reference = (...args: (number | boolean)[]) => number | boolean;

/** How far a result may be: by a share of the expected one, and by an absolute amount. */
export interface Tolerance {
  readonly relative: number;
  readonly absolute: number;
  /** Whether arguments or results that float32 holds as subnormals may be taken for zero. */
  readonly flushes: boolean;
}

/** Functions that only others call: their results mean nothing alone. */
const PARTS = [
  ...["log2Parts", "quarterTurns", "sinSeries", "cosSeries", "asinSeries", "atanhSeries"],
  ...["scaleBy", "smallFloatMagnitude", "smallFloatValue", "smallFloatFnuz", "smallestFloatCode"],
];

const FILES = ["prelude_bits.wgsl", "prelude.wgsl", "prelude_small_floats.wgsl"];
const PRELUDE = (await Promise.all(
  FILES.map((name) => Deno.readTextFile(new URL(`../../kernels/ops/${name}`, import.meta.url))),
)).join("\n");

/** Every declaration of the prelude by its name. */
export function declarations(): ReadonlyMap<string, string> {
  const found = PRELUDE.replace(/\/\/[^\n]*/g, "").matchAll(/^fn (\w+)\([^]*?^}/gm);
  return new Map([...found].map(([text, name]) => [name!, text]));
}

/** The functions that shaders call. */
export function preludeFunctions(): readonly PreludeFunction[] {
  const all = declarations();
  return [...all.keys()].filter((name) => !PARTS.includes(name)).map((name) => {
    const wanted = new Set([name]);
    // A set that grows is walked to its end.
    for (const one of wanted) {
      for (const [word] of all.get(one)!.matchAll(/\w+(?=\()/g)) {
        if (all.has(word)) wanted.add(word);
      }
    }
    const [, list, result] = /^fn \w+\(([^)]*)\) -> (\w+)/.exec(all.get(name)!)!;
    return {
      name,
      parameters: [...list!.matchAll(/: (\w+)/g)].map(([, type]) => type as Type),
      result: result as Type,
      text: [...wanted].map((one) => all.get(one)!).join("\n"),
    };
  });
}

/** The function in JavaScript. */
export function referenceOf(name: string): Reference {
  const reference = (references as Readonly<Record<string, unknown>>)[name];
  if (typeof reference !== "function") throw new Error(`prelude.js has no function "${name}"`);
  return reference as Reference;
}

const ULP = 2 ** -23;
const EXACT: Tolerance = { relative: 0, absolute: 0, flushes: false };
const near = (relative: number, absolute = 0): Tolerance => ({ relative, absolute, flushes: true });

/** Tolerances, by function, of the comments in the prelude; exact where there is none. */
const TOLERANCES: Readonly<Record<string, (expected: number, x: number, y: number) => Tolerance>> =
  {
    nanMax: () => near(0),
    nanMin: () => near(0),
    roundEven: () => near(0),
    // The remainder may be subnormal where the sum with y is not.
    floorModF32: () => near(0, 2 ** -126),
    safeSqrt: () => near(3 * ULP),
    // What WGSL promises of exp; e^88.7 may overflow by it.
    safeExp: (_, x) => near((4 + 2 * Math.abs(x)) * ULP),
    safeLog: () => near(2.5e-7),
    safeLog2: () => near(2.5e-7),
    safeLog1p: () => near(3e-7),
    safePow: (_, __, y) => near(Math.abs(y) <= 10 ? 1e-6 : 1e-5),
    safeSin: () => near(2e-7, 1e-10),
    safeCos: () => near(2e-7, 1e-10),
    // The error of the angle counts by the slope.
    safeTan: (expected) => near(4e-7, 1e-10 * (1 + expected ** 2)),
    safeAsin: () => near(3e-7),
    safeAcos: () => near(3e-7),
    safeAtan: () => near(2.5e-7),
    safeSinh: (_, x) => near(Math.abs(x) < 1 ? 2e-7 : (6 + 2 * Math.abs(x)) * ULP),
    safeCosh: (_, x) => near((6 + 2 * Math.abs(x)) * ULP),
    safeTanh: () => near(4e-7),
    safeAsinh: () => near(4e-7),
    safeAcosh: () => near(4e-7),
    safeAtanh: () => near(4e-7),
    erf: () => near(3e-7, 1e-7),
  };

/** Names in the table of tolerances. */
export const TOLERATED: readonly string[] = Object.keys(TOLERANCES);

/** How far the result for `args` may be. */
export function toleranceOf(name: string, expected: number, args: readonly number[]): Tolerance {
  return TOLERANCES[name]?.(expected, args[0] ?? 0, args[1] ?? 0) ?? EXACT;
}

/** Largest arguments for which a result is promised. */
const LIMITS: Readonly<Record<string, number>> = { safeSin: 1e4, safeCos: 1e4, safeTan: 1e4 };

const floats = new Float32Array(1);
const words = new Uint32Array(floats.buffer);

/** The bits of a float32. */
export function bitsOf(value: number): number {
  floats[0] = value;
  return words[0]!;
}

/** The float32 of bits. */
export function floatOf(bits: number): number {
  words[0] = bits;
  return floats[0]!;
}

/** Floats that functions go wrong on. */
const SPECIAL_FLOATS: readonly number[] = [
  ...[0, 1e-45, 1e-40, 1.1754942e-38, 1.1754944e-38, 1e-20, 1e-7, 2 ** -24, 1e-4, 0.1, 0.17, 0.25],
  ...[0.29, 1 / 3, 0.40999, 0.4142136, 0.5, 0.625, 2 / 3, 0.75, 0.99999994, 1, 1.0000001, 1.5, 2],
  ...[2.4142135, 2.5, 3, 3.5, 4, 5, 6.5, 7, 10, 16, 30, 64, 80, 88, 88.7, 89, 100, 127, 255, 1000],
  ...[3.1415927, 1.5707964, 6.2831855, 31415.926, 65504, 65519, 65520, 448, 464, 465, 57344, 61440],
  ...[
    240,
    248,
    8388608.5,
    16777215,
    16777216,
    33554432,
    2147483520,
    2147483648,
    4294967040,
    2 ** 32,
  ],
  ...[2 ** 63, 2 ** 64, 1e9, 1e10, 1e19, 1e30, 3.4028235e38, Infinity, NaN],
];

const SPECIAL_INTEGERS: readonly number[] = [
  ...[0, 1, 2, 3, 5, 7, 10, 31, 64, 255, 65535, 65536, 1e6, 2 ** 30, 2 ** 31 - 1],
];

/** Bits of arguments to try the function on, an array a parameter. */
export function pointsOf({ name, parameters }: PreludeFunction): readonly Uint32Array[] {
  const random = randomFrom(name.length * 31 + name.charCodeAt(name.length - 1));
  if (parameters.length === 1 && parameters[0] === "u32") {
    return [Uint32Array.from({ length: /16$/.test(name) ? 65536 : 256 }, (_, i) => i)];
  }
  const specials = parameters.map((type) => specialsOf(type, name));
  const points: number[][] = crossed(specials);
  const count = parameters.length === 0 ? 0 : 12_000;
  for (let i = 0; i < count; i++) {
    points.push(parameters.map((type) => randomBits(type, name, i, random)));
  }
  const limit = LIMITS[name] ?? Infinity;
  const kept = points.filter(([first]) => {
    const x = floatOf(first ?? 0);
    return !(Math.abs(x) > limit && Number.isFinite(x));
  });
  return parameters.map((_, at) => Uint32Array.from(kept, (point) => point[at]!));
}

function crossed(lists: readonly (readonly number[])[]): number[][] {
  return lists.reduce<number[][]>(
    (points, list) => points.flatMap((point) => list.map((value) => [...point, value])),
    [[]],
  );
}

function specialsOf(type: Type, name: string): number[] {
  switch (type) {
    case "f32":
      return [...SPECIAL_FLOATS, ...SPECIAL_FLOATS.map((value) => -value)].map(bitsOf);
    case "i32":
      return [...SPECIAL_INTEGERS, ...SPECIAL_INTEGERS.map((value) => -value), -(2 ** 31)]
        .map((value) => value >>> 0);
    case "u32":
      if (!name.endsWith("Float8e8m0")) throw new Error(`${name}: no points for u32`);
      return [0, 1, 2];
    case "bool":
      return [0, 1];
  }
}

/** Random arguments; floats of every magnitude, of magnitudes at home in models, near 1, ties. */
function randomBits(type: Type, name: string, turn: number, random: () => number): number {
  const centered = 2 * random() - 1;
  switch (type) {
    case "f32":
      switch (turn % 7) {
        case 0:
          return Math.floor(random() * 2 ** 32);
        case 1:
          return bitsOf(10 * centered);
        case 2:
          return bitsOf(Math.sign(centered) * Math.exp(24 * random() - 12));
        case 3:
          return bitsOf(1 + centered * 2 ** -Math.floor(22 * random()));
        case 4: {
          // Few bits of mantissa, the last of them 1: halfway between numbers of smaller types.
          const kept = Math.floor(13 * random());
          const mantissa = (2 * Math.floor(random() * 2 ** kept) + 1) * 2 ** (22 - kept);
          const exponent = 100 + Math.floor(50 * random());
          return ((centered < 0 ? 2 ** 31 : 0) + exponent * 2 ** 23 + mantissa) >>> 0;
        }
        case 5:
          return bitsOf(Math.round(200 * centered) / 8);
        default:
          return bitsOf(1e4 * centered);
      }
    case "i32":
      if (turn % 2 === 0) return Math.round(20 * centered) >>> 0;
      return Math.floor(random() * 2 ** 32);
    case "u32":
    case "bool":
      return specialsOf(type, name)[Math.floor(random() * (type === "bool" ? 2 : 3))]!;
  }
}
