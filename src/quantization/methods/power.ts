/**
 * The power x^-0.3 by two tables, which makes it the same number on every engine. The numbers below
 * are the definition; they are 2^(-0.3 e) and (1 + (i + 1/2) / 32)^-0.3 in binary32.
 */
import { float32Bits } from "../half.ts";

const f = Math.fround;

/** 2^(-0.3 e) for e in -16 .. 10. */
export const POWER_OF_EXPONENT: readonly number[] = [
  27.857618,
  22.627417,
  18.379173,
  14.928528,
  12.125732,
  9.849155,
  8,
  6.498019,
  5.278032,
  4.2870936,
  3.4822023,
  2.828427,
  2.2973967,
  1.866066,
  1.5157166,
  1.2311444,
  1,
  0.8122524,
  0.659754,
  0.5358867,
  0.4352753,
  0.35355338,
  0.28717458,
  0.23325825,
  0.18946457,
  0.15389305,
  0.125,
];

/** x^-0.3 in the middle of the segments [1 + i / 32, 1 + (i + 1) / 32). */
export const POWER_OF_FRACTION: readonly number[] = [
  0.99535954,
  0.98635113,
  0.9776857,
  0.9693408,
  0.961296,
  0.95353276,
  0.9460341,
  0.9387844,
  0.9317695,
  0.9249762,
  0.9183925,
  0.9120071,
  0.90580976,
  0.8997909,
  0.8939415,
  0.88825345,
  0.882719,
  0.8773309,
  0.87208253,
  0.8669675,
  0.86198,
  0.85711455,
  0.85236585,
  0.8477291,
  0.84319973,
  0.83877337,
  0.834446,
  0.8302137,
  0.82607293,
  0.8220201,
  0.8180522,
  0.81416583,
];

const LEAST = 111 << 23;
const MOST = (138 << 23) - 1;

/** About x^-0.3 (within 0.5 %) of a positive x, which counts as 2^-16 below it and 2^11 above. */
export function inversePower(x: number): number {
  const pattern = Math.min(Math.max(float32Bits(x), LEAST), MOST);
  return f(
    f(POWER_OF_EXPONENT[(pattern >>> 23) - 111]!) * f(POWER_OF_FRACTION[(pattern >>> 18) & 31]!),
  );
}
