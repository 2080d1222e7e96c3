/**
 * Least squared error: a search over scales, and zero points where the format has them.
 *
 * For given signed codes q of the weights x the best scale is A / B with A = sum(x q) and
 * B = sum(q q), and the squared error is then sum(x x) - A A / B. So a candidate scale serves only
 * to make codes, and the codes are judged at their own best scale; for that it is enough to see the
 * weights as integers of a few hundred units a step. The winner's best scale is stored (rounded),
 * and the result is taken if with it the error is below that of `rtn` by more than the integers are
 * off. Asymmetric blocks are searched in stages, but for rows that are one block, of which a GPU
 * judges all candidates in one pass.
 */
import { highestCode } from "../../formats.ts";
import {
  type Block,
  type Choice,
  integerSum,
  normalize,
  type NormalizedBlock,
  roundToEven,
  signedBounds,
  signedLargest,
  storeScale,
} from "./block.ts";
import {
  ASYMMETRIC_GRIDS,
  ASYMMETRIC_STAGES,
  type Grid,
  lengthClass,
  SYMMETRIC_GRIDS,
} from "./grids.ts";
import { integerUnits, TYPICAL_SHARES } from "./integers.ts";
import { chooseByRounding } from "./rtn.ts";

const f = Math.fround;

/** The scale and zero point of least squared error, weighted by importance where there is one. */
export function chooseByError(block: Block): Choice {
  const plain = chooseByRounding(block);
  if (plain.saturated) return plain;
  const normalized = normalize(block);
  const integers = integersOf(normalized);
  const { unit, factor, extent, requiredGain } = integers;
  const scaleOf = (choice: Choice) => f(f(choice.scale * normalized.down) * unit);
  const plainScale = scaleOf(plain);
  const rounded = candidateOf(
    integers,
    plainScale === 0 ? 0 : roundToEven(f(STEP / plainScale)),
    plain.zeroPoint,
  );
  const best = search(integers, rounded);
  if (best.square === 0) return plain;
  const scale = f(f(best.sumXQ / best.sumQQ) * extent) * factor;
  const searched = {
    ...storeScale(f(scale * normalized.up), block.format),
    zeroPoint: best.zeroPoint,
  };
  if (searched.scale === 0) return plain;
  const required = f(f(plainScale * plainScale) * requiredGain);
  const limit = f(gainOf(rounded, plainScale) + required);
  return gainOf(best, scaleOf(searched)) > limit ? searched : plain;
}

/** Reciprocals of scales are multiples of 1 / STEP. */
const STEP = 2 ** 15;

/** What makes codes, and how well it does: the greater `square / sumQQ`, the better. */
interface Candidate {
  /** The reciprocal of a scale of the integers, times {@link STEP}. */
  readonly inverse: number;
  readonly zeroPoint: number;
  readonly square: number;
  readonly sumXQ: number;
  readonly sumQQ: number;
}

/** A normalized block as the search sees it: integers, which no engine rounds. */
interface IntegerBlock {
  readonly block: NormalizedBlock;
  /** What the candidates' steps span: the range, or minus the weight of largest magnitude. */
  readonly extent: number;
  /** What takes normalized weights and scales to those of `values`. */
  readonly unit: number;
  readonly values: readonly number[];
  /** Shares of the importance; 1 where all count alike. */
  readonly shares: ArrayLike<number>;
  /** A scale of the normalized weights is A / B times `extent` times this. */
  readonly factor: number;
  /** What {@link gainOf} must grow by, in squares of the plain scale. */
  readonly requiredGain: number;
}

/** Makes integers of a normalized block. */
function integersOf(block: NormalizedBlock): IntegerBlock {
  const { format: { bits, symmetric }, blockLength, extremes, down, sumScale } = block;
  const extent = symmetric
    ? -f(signedLargest(extremes) * down)
    : f(f(Math.max(extremes.high, 0) * down) - f(Math.min(extremes.low, 0) * down));
  const { span, requiredGain } = integerUnits(bits);
  const unit = f(f(1 / extent) * span);
  const values = Array.from(block.values, (value) => roundToEven(f(value * unit)));
  const typical = block.shares === null ? 1 : TYPICAL_SHARES;
  return {
    block,
    extent,
    unit,
    values,
    shares: block.shares ?? new Uint8Array(values.length).fill(1),
    factor: 1 / span,
    requiredGain: f(requiredGain * typical * blockLength * sumScale),
  };
}

/** The candidate of these codes, with its sums. */
function candidateOf(
  { block, values, shares }: IntegerBlock,
  inverse: number,
  zeroPoint: number,
): Candidate {
  const { format, sumScale } = block;
  const [least, most] = signedBounds(format, zeroPoint);
  const code = (i: number) =>
    Math.min(Math.max(Math.floor((values[i]! * inverse) / STEP + 0.5), least), most);
  const sum = (term: (i: number) => number) => f(integerSum(values.length, term) * sumScale);
  const sumXQ = sum((i) => shares[i]! * values[i]! * code(i));
  const sumQQ = sum((i) => shares[i]! * code(i) * code(i));
  return { inverse, zeroPoint, square: f(sumXQ * sumXQ), sumXQ, sumQQ };
}

/** How far below sum(x x) the squared error of a candidate's codes is with `scale`. */
function gainOf({ sumXQ, sumQQ }: Candidate, scale: number): number {
  return f(scale * f(2 * sumXQ - f(scale * sumQQ)));
}

/** The best candidate; of equally good ones the first. Its `square` is 0 where there is none. */
function search(integers: IntegerBlock, plain: Candidate): Candidate {
  const { format, blockLength } = integers.block;
  const { bits, symmetric } = format;
  const length = lengthClass(blockLength);
  const { zeroPoint } = plain;
  const step = STEP / integerUnits(bits).span;
  let best: Candidate = { ...plain, square: 0, sumXQ: 0, sumQQ: 1 };
  const judge = (candidate: Candidate): void => {
    if (f(candidate.square * best.sumQQ) > f(best.square * candidate.sumQQ)) best = candidate;
  };
  const attempt = (inverse: number, zeroPoint: number): void => {
    if (zeroPoint < 0 || zeroPoint > highestCode(bits)) return;
    judge(candidateOf(integers, inverse, zeroPoint));
  };
  judge(plain);
  if (symmetric) {
    const { lower, upper } = SYMMETRIC_GRIDS[bits][length];
    for (const steps of stepsOf(lower)) attempt(steps * step, zeroPoint);
    for (const steps of stepsOf(upper)) attempt(-steps * step, zeroPoint);
    return best;
  }
  if (format.blockSize === 0) {
    const grid = ASYMMETRIC_GRIDS[bits][length];
    for (const offset of [0, -1, 1]) {
      for (const steps of stepsOf(grid)) attempt(steps * step, zeroPoint + offset);
    }
    return best;
  }
  const { coarse, fine } = ASYMMETRIC_STAGES[bits][length];
  for (const steps of coarse) attempt(steps * step, zeroPoint);
  const { inverse, sumXQ, sumQQ } = best;
  attempt(inverse, zeroPoint + towardsCenter(integers, inverse, zeroPoint));
  // Towards its own best scale: a greater one makes fewer steps.
  const grows = f(sumXQ * inverse) > f(sumQQ * STEP);
  attempt(inverse + (grows ? -fine : fine) * step, zeroPoint);
  return best;
}

/** Where the zero point next to `zeroPoint` lies with which both ends are clipped more evenly. */
function towardsCenter(
  { block, values }: IntegerBlock,
  inverse: number,
  zeroPoint: number,
): -1 | 1 {
  const ends = Math.min(...values, 0) + Math.max(...values, 0);
  const codes = Math.floor((ends * inverse) / STEP + 0.5);
  return codes > highestCode(block.format.bits) - 2 * zeroPoint ? -1 : 1;
}

function* stepsOf({ first, step, count }: Grid): Generator<number> {
  for (let i = 0; i < count; i++) yield first + step * i;
}
