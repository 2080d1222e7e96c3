/**
 * Half-quadratic quantization: the scale and the integer zero point that make the sum of
 * |w - v|^0.7 small, which forgives a few large errors for many small ones. Badri and Shaji,
 * "Half-Quadratic Quantization of Large Machine Learning Models" (2023), alternate between a
 * shrinkage of the errors and a fit of a continuous zero point with a fixed scale; here the zero
 * point stays an integer in every iteration and the scale is fitted as well.
 */
import { highestCode, symmetricZeroPoint } from "../../formats.ts";
import {
  type Block,
  type Choice,
  normalize,
  type NormalizedBlock,
  orderedSum,
  reciprocal,
  roundToEven,
  signedBounds,
  signedCode,
  signedLargest,
  storeScale,
} from "./block.ts";
import { inversePower } from "./power.ts";
import { chooseByRounding } from "./rtn.ts";

const f = Math.fround;

/** 1 / beta of each iteration, beta = 2 * 1.25^k: what the shrinkage takes off falls with k. */
export const SHRINKAGE: readonly number[] = [
  0.5,
  0.4,
  0.32,
  0.256,
  0.2048,
  0.16384,
  0.131072,
  0.1048576,
];

/**
 * Least scale, of the normalized block, that is iterated with. A smaller one fits some tiny weights
 * at the cost of all others, or was clamped.
 */
const LEAST_SCALE = 2 ** -16;

/** The scale and zero point of the least sum of |error|^0.7 that the iterations meet. */
export function chooseByHalfQuadratic(block: Block): Choice {
  const plain = chooseByRounding(block);
  if (plain.saturated) return plain;
  const normalized = normalize(block);
  let best: Choice | null = null;
  let leastNorm = 0;
  for (const start of starts(normalized, plain)) {
    let choice: Choice | null = start;
    for (let k = 0; choice !== null; k++) {
      const norm: number = errorNorm(normalized, choice);
      if (best === null || norm < leastNorm) {
        best = choice;
        leastNorm = norm;
      }
      const shrinkage = SHRINKAGE[k];
      choice = shrinkage === undefined ? null : refit(normalized, choice, shrinkage);
    }
  }
  return best!;
}

/** `rtn`, and for a symmetric format also its mirror, which maps the largest on 2^(bits-1) - 1. */
function starts({ format, extremes, down, up }: NormalizedBlock, plain: Choice): Choice[] {
  if (!format.symmetric || plain.scale === 0) return [plain];
  const zeroPoint = symmetricZeroPoint(format.bits);
  const largest = f(signedLargest(extremes) * down);
  const mirror = storeScale(f(f(largest / (zeroPoint - 1)) * up), format);
  return isUsable(mirror.scale, down) ? [plain, { ...mirror, zeroPoint }] : [plain];
}

/** A weight in units of the scale, its code and the target that its error's shrinkage leaves. */
interface Split {
  readonly position: number;
  readonly code: number;
  readonly target: number;
}

function split(value: number, inverse: number, bounds: [number, number], shrinkage: number): Split {
  const position = f(value * inverse);
  const code = signedCode(value, inverse, ...bounds);
  const error = f(position - code);
  const magnitude = Math.abs(error);
  const kept = Math.max(f(magnitude - f(inversePower(magnitude) * f(shrinkage))), 0);
  return { position, code, target: f(position - (error < 0 ? -kept : kept)) };
}

/** One iteration; null where it leads nowhere. */
function refit(
  { format, values, down, up, sumScale }: NormalizedBlock,
  { scale: stored, zeroPoint }: Choice,
  shrinkage: number,
): Choice | null {
  const scale = f(stored * down);
  const inverse = reciprocal(scale);
  const part = (i: number, zero: number) =>
    split(values[i]!, inverse, signedBounds(format, zero), shrinkage);
  let zero = zeroPoint;
  if (!format.symmetric) {
    const excess = orderedSum(values.length, (i) => {
      const { code, target } = part(i, zeroPoint);
      return f(code - target);
    });
    const shifted = f(zeroPoint + f(excess / values.length));
    zero = roundToEven(Math.min(Math.max(shifted, 0), highestCode(format.bits)));
  }
  const sumTQ = f(
    orderedSum(values.length, (i) => {
      const { code, target } = part(i, zero);
      return f(target * code);
    }) * sumScale,
  );
  const sumQQ = f(
    orderedSum(values.length, (i) => {
      const { code } = part(i, zero);
      return f(code * code);
    }) * sumScale,
  );
  if (!(sumTQ > 0)) return null;
  const next = storeScale(f(f(scale * f(sumTQ / sumQQ)) * up), format);
  return isUsable(next.scale, down) ? { ...next, zeroPoint: zero } : null;
}

function isUsable(stored: number, down: number): boolean {
  return Math.abs(f(stored * down)) >= LEAST_SCALE;
}

/** Sum of |error|^0.7 over a normalized block. */
function errorNorm({ format, values, down }: NormalizedBlock, choice: Choice): number {
  const scale = f(choice.scale * down);
  const inverse = reciprocal(scale);
  const [least, most] = signedBounds(format, choice.zeroPoint);
  const inUnits = orderedSum(values.length, (i) => {
    const error = Math.abs(
      f(f(values[i]! * inverse) - signedCode(values[i]!, inverse, least, most)),
    );
    return f(error * inversePower(error));
  });
  const magnitude = Math.abs(scale);
  return f(inUnits * f(magnitude * inversePower(magnitude)));
}
