/**
 * Least squared error: a search over scales, and zero points where the format has them.
 *
 * For given signed codes q of the weights u the best scale is A / B with A = sum(u q) and
 * B = sum(q q), and the squared error is then sum(u u) - A A / B. So a candidate scale serves only
 * to make codes, and the codes are judged at their own best scale. The winner's best scale is
 * stored (rounded), the codes are made anew with it, and the result is taken if its error, summed
 * directly, is below that of `rtn`.
 */
import { highestCode, symmetricZeroPoint } from "../../formats.ts";
import {
  type Block,
  type Choice,
  normalize,
  type NormalizedBlock,
  orderedSum,
  reciprocal,
  signedBounds,
  signedCode,
  signedLargest,
  storeScale,
} from "./block.ts";
import { ASYMMETRIC_GRIDS, type Grid, lengthClass, SYMMETRIC_GRIDS } from "./grids.ts";
import { chooseByRounding } from "./rtn.ts";

const f = Math.fround;

/** A block's error must fall below this share of that of `rtn`: more than sums are off by. */
const REQUIRED_GAIN = 1 - 2 ** -13;

/** The scale and zero point of least squared error, weighted by importance where there is one. */
export function chooseByError(block: Block): Choice {
  const plain = chooseByRounding(block);
  if (plain.saturated) return plain;
  const normalized = normalize(block);
  let best = { square: 0, sumUQ: 0, sumQQ: 1, zeroPoint: plain.zeroPoint };
  const { format, values, importance, sumScale } = normalized;
  for (const { inverse, zeroPoint } of candidates(normalized, plain.zeroPoint)) {
    const [least, most] = signedBounds(format, zeroPoint);
    const code = (i: number) => signedCode(values[i]!, inverse, least, most);
    const sumUQ = f(
      orderedSum(values.length, (i) => f(f(importance[i]! * values[i]!) * code(i))) * sumScale,
    );
    const sumQQ = f(
      orderedSum(values.length, (i) => f(f(importance[i]! * code(i)) * code(i))) * sumScale,
    );
    const square = f(sumUQ * sumUQ);
    if (f(square * best.sumQQ) > f(best.square * sumQQ)) best = { square, sumUQ, sumQQ, zeroPoint };
  }
  if (best.square === 0) return plain;
  const stored = storeScale(f(f(best.sumUQ / best.sumQQ) * normalized.up), format);
  if (stored.scale === 0) return plain;
  const searched = { ...stored, zeroPoint: best.zeroPoint };
  const limit = f(squaredError(normalized, plain) * REQUIRED_GAIN);
  return squaredError(normalized, searched) < limit ? searched : plain;
}

/** The candidates in order; of equally good ones the first is taken. */
function* candidates(
  { format: { bits, symmetric }, blockLength, extremes: { low, high }, down }: NormalizedBlock,
  zeroPoint: number,
): Generator<{ inverse: number; zeroPoint: number }> {
  const length = lengthClass(blockLength);
  if (symmetric) {
    const center = symmetricZeroPoint(bits);
    const unit = f(1 / -f(signedLargest({ low, high }) * down));
    const { lower, upper } = SYMMETRIC_GRIDS[bits][length];
    for (const steps of stepsOf(lower)) yield { inverse: f(unit * steps), zeroPoint: center };
    for (const steps of stepsOf(upper)) yield { inverse: f(-unit * steps), zeroPoint: center };
    return;
  }
  const range = f(f(Math.max(high, 0) * down) - f(Math.min(low, 0) * down));
  const unit = f(1 / range);
  for (const offset of [0, -1, 1]) {
    const shifted = zeroPoint + offset;
    if (shifted < 0 || shifted > highestCode(bits)) continue;
    for (const steps of stepsOf(ASYMMETRIC_GRIDS[bits][length])) {
      yield { inverse: f(unit * steps), zeroPoint: shifted };
    }
  }
}

function* stepsOf({ first, step, count }: Grid): Generator<number> {
  for (let i = 0; i < count; i++) yield first + step * i;
}

/** Sum of the squared errors of a normalized block, weighted by importance. */
function squaredError(
  { format, values, importance, down }: NormalizedBlock,
  choice: Choice,
): number {
  const scale = f(choice.scale * down);
  const inverse = reciprocal(scale);
  const [least, most] = signedBounds(format, choice.zeroPoint);
  return orderedSum(values.length, (i) => {
    const difference = f(values[i]! - f(scale * signedCode(values[i]!, inverse, least, most)));
    return f(f(importance[i]! * difference) * difference);
  });
}
