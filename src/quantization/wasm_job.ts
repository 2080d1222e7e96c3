/**
 * The records that the AssemblyScript kernels read from shared memory: a job's fields in the order of
 * `assembly/job.ts`, the candidates of its search, and the table of powers.
 */
import type { BlockFormat } from "../formats.ts";
import type { Method, WeightType } from "./engine.ts";
import {
  ASYMMETRIC_GRIDS,
  ASYMMETRIC_STAGES,
  type Grid,
  lengthClass,
  SYMMETRIC_GRIDS,
} from "./methods/grids.ts";
import { integerUnits, sharesOf } from "./methods/integers.ts";
import { SHRINKAGE } from "./methods/hqq.ts";
import { POWER_OF_EXPONENT, POWER_OF_FRACTION } from "./methods/power.ts";

/** The fields of a job, 32 bits each. */
const JOB_FIELDS = [
  "rows",
  "columns",
  "columnsOrder",
  "weightType",
  "bits",
  "symmetric",
  "blockLength",
  "blocks",
  "wideScales",
  "method",
  "shares",
  "measure",
  "codes",
  "scales",
  "zeroPoints",
  "steps",
  "stepCount",
  "staged",
  "powers",
  "weights",
  "pitch",
  "unitRows",
  "unitBlocks",
  "units",
  "statistics",
  "taken",
] as const;

/** The fields of a job; pointers are offsets in shared memory, 0 for none. */
export type JobRecord = Readonly<Record<typeof JOB_FIELDS[number], number>>;

/** Bytes of a job record. */
export const JOB_BYTES = JOB_FIELDS.length * 4;

/** Where in a record the number of units that are taken is. */
export const TAKEN_OFFSET = JOB_FIELDS.indexOf("taken") * 4;

/** Numbers that the kernels count for each unit of work, in float64. */
export const UNIT_STATISTICS = 6;

export const WEIGHT_TYPE_NUMBERS: Readonly<Record<WeightType, number>> = {
  float32: 0,
  float16: 1,
  bfloat16: 2,
  float64: 3,
};

export const METHOD_NUMBERS: Readonly<Record<Method, number>> = { rtn: 0, mse: 1, hqq: 2 };

/** Writes a job record to `target`, which has room for {@link JOB_BYTES}. */
export function writeJob(target: Uint8Array, record: JobRecord): void {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  JOB_FIELDS.forEach((field, i) => view.setUint32(i * 4, record[field], true));
}

/**
 * The candidates of a format's search, each twice as 16 bits of 2^-15 code steps a unit of a weight's
 * integer; `count` is that of one grid.
 */
export function searchSteps(
  { bits, symmetric, blockSize }: BlockFormat,
  blockLength: number,
): { steps: Int16Array; count: number } {
  const length = lengthClass(blockLength);
  const unit = 2 ** 15 / integerUnits(bits).span;
  const stepsOf = ({ first, step, count }: Grid, sign: 1 | -1) =>
    Array.from({ length: count }, (_, i) => sign * unit * (first + step * i));
  const twice = (steps: number[]) => Int16Array.from(steps.flatMap((one) => [one, one]));
  if (!symmetric && blockSize !== 0) {
    const { coarse, fine } = ASYMMETRIC_STAGES[bits][length];
    const steps = [...coarse, fine].map((one) => one * unit);
    return { steps: twice(steps), count: coarse.length };
  }
  if (!symmetric) {
    const steps = stepsOf(ASYMMETRIC_GRIDS[bits][length], 1);
    return { steps: twice(steps), count: steps.length };
  }
  const { lower, upper } = SYMMETRIC_GRIDS[bits][length];
  return { steps: twice([...stepsOf(lower, 1), ...stepsOf(upper, -1)]), count: lower.count };
}

/** The shares of `columns` columns, padding included, which has none. */
export function shareTable(
  importance: Float32Array,
  blockLength: number,
  columns: number,
): Int16Array {
  const shares = new Int16Array(columns);
  shares.set(sharesOf(importance, blockLength));
  return shares;
}

/** x^-0.3 by exponent and fraction, then the shrinkages of the iterations. */
export function powerTable(): Float32Array {
  const products = POWER_OF_EXPONENT.flatMap((ofExponent) =>
    POWER_OF_FRACTION.map((ofFraction) => Math.fround(ofExponent) * Math.fround(ofFraction))
  );
  return Float32Array.from([...products, ...SHRINKAGE]);
}
