/**
 * What the search of `mse` works on instead of weights and importance: integers so small that sums of
 * their products are exact in 32 bits, in whatever order an engine adds them.
 */
import type { Bits } from "../../formats.ts";
import type { QuantizeJob } from "../engine.ts";
import { IMPORTANCE_BOUNDS } from "./block.ts";

/** Units of the integers. */
export interface IntegerUnits {
  /** Units that the extent of a block has: its range, or symmetric its largest magnitude. */
  readonly span: number;
  /**
   * What a search's result must gain for each weight to be taken, in squares of the plain scale:
   * more than the error of a weight is off, which is about 1/12 of that square.
   */
  readonly requiredGain: number;
}

/** Importance of the column of a block that counts most. */
const MOST_SHARES = 64;

/** That of a typical one, which what is required counts with. */
export const TYPICAL_SHARES = 16;

/** The units for codes of `bits`: a step of 8 bits needs a finer one. */
export function integerUnits(bits: Bits): IntegerUnits {
  return bits === 8
    ? { span: 16384, requiredGain: 2 ** -7 }
    : { span: 4096, requiredGain: 2 ** -11 };
}

/**
 * How much the columns of a job count; null where all count alike. With 8 bits they always do: their
 * sums would not fit in 32 bits, and there is next to nothing to gain.
 */
export function importanceOf(
  { method, importance, format }: Pick<QuantizeJob, "method" | "importance" | "format">,
): Float32Array | null {
  return method === "mse" && format.bits !== 8 ? importance ?? null : null;
}

/**
 * Importance as shares of the greatest within each block of `blockLength` columns: that has
 * {@link MOST_SHARES}, none has less than 1.
 */
export function sharesOf(importance: Float32Array, blockLength: number): Uint8Array {
  const { least, most } = IMPORTANCE_BOUNDS;
  const shares = new Uint8Array(importance.length);
  for (let start = 0; start < importance.length; start += blockLength) {
    const end = Math.min(start + blockLength, importance.length);
    let greatest: number = least;
    for (let i = start; i < end; i++) if (importance[i]! > greatest) greatest = importance[i]!;
    if (greatest > most) greatest = most;
    for (let i = start; i < end; i++) {
      const value = importance[i]!;
      const clamped = value < least ? least : value > most ? most : value;
      const share = ((MOST_SHARES * clamped) / greatest + 0.5) | 0;
      shares[i] = share < 1 ? 1 : share;
    }
  }
  return shares;
}
