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
  type Stages,
  SYMMETRIC_GRIDS,
  type SymmetricGrids,
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
  // As every memory of WebAssembly, this one is little-endian, and so is every machine that Deno is for.
  const fields = new Uint32Array(target.buffer, target.byteOffset, JOB_FIELDS.length);
  for (let i = 0; i < JOB_FIELDS.length; i++) fields[i] = record[JOB_FIELDS[i]!];
}

/** The candidates of a search: `count` is that of one grid. */
export interface SearchSteps {
  /** Each twice as 16 bits of 2^-15 code steps a unit of a weight's integer. */
  readonly steps: Int16Array;
  readonly count: number;
}

/** The candidates of a format's search, in blocks of `blockLength` with padding. */
export function searchSteps(
  { bits, symmetric, blockSize }: BlockFormat,
  blockLength: number,
): SearchSteps {
  const length = lengthClass(blockLength);
  const key = `${bits} ${symmetric} ${blockSize === 0} ${length}`;
  let found = SEARCH_STEPS.get(key);
  if (found === undefined) {
    const unit = 2 ** 15 / integerUnits(bits).span;
    const { steps, count } = symmetric
      ? symmetricSteps(SYMMETRIC_GRIDS[bits][length])
      : blockSize === 0
      ? gridSteps(ASYMMETRIC_GRIDS[bits][length])
      : stagedSteps(ASYMMETRIC_STAGES[bits][length]);
    found = { steps: Int16Array.from(steps.flatMap((one) => [one * unit, one * unit])), count };
    SEARCH_STEPS.set(key, found);
  }
  return found;
}

/** What was made of the tables: many small jobs would make the same again and again. */
const SEARCH_STEPS = new Map<string, SearchSteps>();

function gridSteps({ first, step, count }: Grid): { steps: number[]; count: number } {
  return { steps: Array.from({ length: count }, (_, i) => first + step * i), count };
}

function symmetricSteps({ lower, upper }: SymmetricGrids): { steps: number[]; count: number } {
  const { steps, count } = gridSteps(lower);
  return { steps: [...steps, ...gridSteps(upper).steps.map((one) => -one)], count };
}

function stagedSteps({ coarse, fine }: Stages): { steps: number[]; count: number } {
  return { steps: [...coarse, fine], count: coarse.length };
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
