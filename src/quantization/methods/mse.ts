/**
 * Least squared error: a search over scales, and zero points where the format has them.
 *
 * For given signed codes q of the weights u the best scale is A / B with A = sum(u q) and
 * B = sum(q q), and the squared error is then sum(u u) - A A / B. So a candidate scale serves only
 * to make codes, and the codes are judged at their own best scale. The winner's best scale is
 * stored (rounded), the codes are made anew with it, and the result is taken if its error, summed
 * directly, is below that of `rtn`. Asymmetric blocks are searched in stages, but for rows that are
 * one block, of which a GPU judges all candidates in one pass.
 */
import { highestCode } from "../../formats.ts";
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
  const best = search(normalized, plain.zeroPoint);
  if (best.square === 0) return plain;
  const stored = storeScale(f(f(best.sumUQ / best.sumQQ) * normalized.up), block.format);
  if (stored.scale === 0) return plain;
  const searched = { ...stored, zeroPoint: best.zeroPoint };
  const limit = f(squaredError(normalized, plain) * REQUIRED_GAIN);
  return squaredError(normalized, searched) < limit ? searched : plain;
}

/** A candidate of the search and how well it does: the greater `square / sumQQ`, the better. */
interface Candidate {
  readonly steps: number;
  readonly zeroPoint: number;
  readonly square: number;
  readonly sumUQ: number;
  readonly sumQQ: number;
}

/** The best candidate; of equally good ones the first. Its `square` is 0 where there is none. */
function search(block: NormalizedBlock, zeroPoint: number): Candidate {
  const { format, values, importance, sumScale, blockLength, extremes, down } = block;
  const { bits, symmetric } = format;
  const length = lengthClass(blockLength);
  const extent = symmetric
    ? -f(signedLargest(extremes) * down)
    : f(f(Math.max(extremes.high, 0) * down) - f(Math.min(extremes.low, 0) * down));
  const unit = f(1 / extent);
  let best: Candidate = { steps: 0, zeroPoint, square: 0, sumUQ: 0, sumQQ: 1 };
  const attempt = (steps: number, zeroPoint: number): void => {
    if (zeroPoint < 0 || zeroPoint > highestCode(bits)) return;
    const inverse = f(unit * steps);
    const [least, most] = signedBounds(format, zeroPoint);
    const code = (i: number) => signedCode(values[i]!, inverse, least, most);
    const sumUQ = f(
      orderedSum(values.length, (i) => f(f(importance[i]! * values[i]!) * code(i))) * sumScale,
    );
    const sumQQ = f(
      orderedSum(values.length, (i) => f(f(importance[i]! * code(i)) * code(i))) * sumScale,
    );
    const square = f(sumUQ * sumUQ);
    if (f(square * best.sumQQ) > f(best.square * sumQQ)) {
      best = { steps, zeroPoint, square, sumUQ, sumQQ };
    }
  };
  if (symmetric) {
    const { lower, upper } = SYMMETRIC_GRIDS[bits][length];
    for (const steps of stepsOf(lower)) attempt(steps, zeroPoint);
    for (const steps of stepsOf(upper)) attempt(-steps, zeroPoint);
    return best;
  }
  const grid = ASYMMETRIC_GRIDS[bits][length];
  const steps = [...stepsOf(grid)];
  if (format.blockSize === 0) {
    for (const offset of [0, -1, 1]) steps.forEach((n) => attempt(n, zeroPoint + offset));
    return best;
  }
  best = { ...best, steps: steps[1]! };
  steps.filter((_, i) => i % 2 === 1).forEach((n) => attempt(n, zeroPoint));
  const { steps: found } = best;
  for (const n of [found, found - grid.step, found + grid.step]) {
    for (const offset of [-1, 1]) attempt(n, zeroPoint + offset);
  }
  const { steps: middle, zeroPoint: chosen } = best;
  for (const offset of [-1, 1]) attempt(middle + offset * grid.step, chosen);
  return best;
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
