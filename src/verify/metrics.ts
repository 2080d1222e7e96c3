/**
 * How far a model's outputs are from the original's: errors of float outputs, equality of the others,
 * and signs that an output has collapsed. Sums are in float64; elements that are not finite are
 * counted and left out of them.
 */
import { formatDims, type HostTensor, isFloatType, toFloat64 } from "./values.ts";

/** Counts of one thing in the original's values and in the result's. */
export interface BothCounts {
  readonly original: number;
  readonly result: number;
}

/** One output of the original and of the result, compared over all samples. */
export interface OutputComparison {
  readonly name: string;
  /** Element type in the original, and in the result. */
  readonly dtype: { readonly original: string; readonly result: string };
  /** Extents in the first sample. */
  readonly dims: readonly number[];
  /** Elements compared, over all samples. */
  readonly elements: number;
  /** Errors of a float output; null for an output of another type. */
  readonly float: FloatErrors | null;
  /** Share of elements that are equal: of integers, booleans and strings all that counts. */
  readonly equalShare: number;
  /** Why the result's values are of no use, in words; null where nothing of the kind was seen. */
  readonly collapsed: string | null;
}

/** Errors of a float output. A ratio is null where the original has no signal to compare with. */
export interface FloatErrors {
  /** Largest |result - original|. */
  readonly maxAbsError: number;
  /** Mean over the samples of |result - original|_2 / |original|_2. */
  readonly relativeL2: number | null;
  /** Largest relative L2 of a sample. */
  readonly worstRelativeL2: number | null;
  /** |result - original|_2 / |original|_2 over all samples together. */
  readonly pooledRelativeL2: number | null;
  /** Cosine of the angle between all original and all result values. */
  readonly cosine: number | null;
  /** 10 log10 (signal / noise) over all samples; null where there is no noise or no signal. */
  readonly sqnr: number | null;
  readonly nan: BothCounts;
  readonly infinite: BothCounts;
  /** Elements that are not finite in one of the two, or differ in how. */
  readonly nonFiniteMismatches: number;
  /**
   * Share of the rows along the last axis whose largest element is at the same place; null for
   * outputs of fewer than two rows or columns.
   */
  readonly sameLargest: number | null;
}

/** Two tensors that can't be compared because their extents differ. */
export class ShapeMismatch extends Error {
  override readonly name = "ShapeMismatch";
}

/** SQNR in decibels below which an output has hardly anything of the original's. */
const COLLAPSED_SQNR = 3;

/** Rows of which it says something that all have their largest value at one place: two may by chance. */
const TELLING_ROWS = 8;

/** Floats that JavaScript reads as numbers. */
type Floats = Float32Array | Float64Array;

/** Compares one output over samples. */
export class OutputComparator {
  readonly #name: string;
  #dtype: { original: string; result: string } | null = null;
  #isFloat = false;
  #dims: readonly number[] = [];
  #elements = 0;
  #equal = 0;
  #samples = 0;
  #maxAbsError = 0;
  #relative: (number | null)[] = [];
  #signal = 0;
  #noise = 0;
  #dot = 0;
  #energy = 0;
  #nan = { original: 0, result: 0 };
  #infinite = { original: 0, result: 0 };
  #nonFiniteMismatches = 0;
  #rows = 0;
  #sameLargest = 0;
  #largest = { original: new Map<number, number>(), result: new Map<number, number>() };
  #lowest = { original: Infinity, result: Infinity };
  #highest = { original: -Infinity, result: -Infinity };
  /** Values of the first sample, to see whether later samples differ. */
  #first: { original: Floats; result: Floats } | null = null;
  /** Largest relative distance of a later sample from the first one. */
  #spread = { original: 0, result: 0 };

  constructor(name: string) {
    this.#name = name;
  }

  /** Adds one sample. Throws a `ShapeMismatch` where the extents differ. */
  add(original: HostTensor, result: HostTensor): void {
    requireSameDims(original, result);
    if (this.#dtype === null) {
      this.#dtype = { original: original.dtype, result: result.dtype };
      this.#dims = [...original.dims];
      this.#isFloat = isFloatType(original.dtype) || isFloatType(result.dtype);
    }
    this.#samples++;
    this.#elements += original.data.length;
    if (!this.#isFloat) this.#equal += countEqual(original, result);
    else this.#addFloats(toFloats(original), toFloats(result), original.dims);
  }

  /** The comparison over the samples added. */
  finish(): OutputComparison {
    const { original, result } = this.#dtype ?? { original: "none", result: "none" };
    const float = this.#isFloat ? this.#floatErrors() : null;
    return {
      name: this.#name,
      dtype: { original, result },
      dims: this.#dims,
      elements: this.#elements,
      float,
      equalShare: this.#elements === 0 ? 1 : this.#equal / this.#elements,
      collapsed: float === null ? null : this.#collapsed(float),
    };
  }

  #addFloats(a: Floats, b: Floats, dims: readonly number[]): void {
    let signal = 0;
    let noise = 0;
    for (let i = 0; i < a.length; i++) {
      const x = a[i]!;
      const y = b[i]!;
      if (x === y || (x !== x && y !== y)) this.#equal++;
      if (!Number.isFinite(x) || !Number.isFinite(y)) {
        this.#countNonFinite(x, y);
        continue;
      }
      const error = Math.abs(y - x);
      if (error > this.#maxAbsError) this.#maxAbsError = error;
      signal += x * x;
      noise += error * error;
      this.#dot += x * y;
      this.#energy += y * y;
      this.#lowest.original = Math.min(this.#lowest.original, x);
      this.#highest.original = Math.max(this.#highest.original, x);
      this.#lowest.result = Math.min(this.#lowest.result, y);
      this.#highest.result = Math.max(this.#highest.result, y);
    }
    this.#signal += signal;
    this.#noise += noise;
    this.#relative.push(signal > 0 ? Math.sqrt(noise / signal) : noise === 0 ? 0 : null);
    this.#countLargest(a, b, dims);
    if (this.#first === null) this.#first = { original: a, result: b };
    else if (this.#first.original.length === a.length) {
      this.#spread.original = Math.max(this.#spread.original, distance(this.#first.original, a));
      this.#spread.result = Math.max(this.#spread.result, distance(this.#first.result, b));
    }
  }

  #countNonFinite(x: number, y: number): void {
    if (x !== x) this.#nan.original++;
    else if (!Number.isFinite(x)) this.#infinite.original++;
    if (y !== y) this.#nan.result++;
    else if (!Number.isFinite(y)) this.#infinite.result++;
    if (!Object.is(x, y)) this.#nonFiniteMismatches++;
  }

  #countLargest(a: Floats, b: Floats, dims: readonly number[]): void {
    const columns = dims.at(-1) ?? 0;
    if (dims.length < 2 || columns < 2) return;
    for (let start = 0; start + columns <= a.length; start += columns) {
      const inOriginal = indexOfLargest(a, start, columns);
      const inResult = indexOfLargest(b, start, columns);
      this.#rows++;
      if (inOriginal === inResult) this.#sameLargest++;
      const { original, result } = this.#largest;
      original.set(inOriginal, (original.get(inOriginal) ?? 0) + 1);
      result.set(inResult, (result.get(inResult) ?? 0) + 1);
    }
  }

  #floatErrors(): FloatErrors {
    const known = this.#relative.filter((value) => value !== null);
    const all = known.length === this.#relative.length && known.length > 0;
    const norms = Math.sqrt(this.#signal * this.#energy);
    return {
      maxAbsError: this.#maxAbsError,
      relativeL2: all ? known.reduce((sum, value) => sum + value, 0) / known.length : null,
      worstRelativeL2: all ? Math.max(...known) : null,
      pooledRelativeL2: this.#signal > 0
        ? Math.sqrt(this.#noise / this.#signal)
        : this.#noise === 0
        ? 0
        : null,
      cosine: norms > 0 ? Math.min(1, this.#dot / norms) : null,
      sqnr: this.#noise > 0 && this.#signal > 0
        ? 10 * Math.log10(this.#signal / this.#noise)
        : null,
      nan: { ...this.#nan },
      infinite: { ...this.#infinite },
      nonFiniteMismatches: this.#nonFiniteMismatches,
      sameLargest: this.#rows >= 2 ? this.#sameLargest / this.#rows : null,
    };
  }

  /** The plainest true sentence about a collapse, or null. */
  #collapsed(errors: FloatErrors): string | null {
    if (errors.nan.result > errors.nan.original) {
      return `${errors.nan.result} of its ${this.#elements} values are NaN`;
    }
    if (errors.infinite.result > errors.infinite.original) {
      return `${errors.infinite.result} of its ${this.#elements} values are infinite`;
    }
    const { original: low, result: resultLow } = this.#lowest;
    const { original: high, result: resultHigh } = this.#highest;
    if (low < high && resultLow === resultHigh) {
      return resultLow === 0
        ? "all its values are zero"
        : `all its values are the same number, ${resultLow}`;
    }
    const { original: spread, result: resultSpread } = this.#spread;
    if (this.#samples > 1 && spread > 1e-6 && resultSpread < spread * 0.01) {
      return "it no longer depends on the input";
    }
    const { original, result } = this.#largest;
    const commonest = Math.max(0, ...original.values());
    const many = this.#rows >= TELLING_ROWS;
    if (many && original.size > 1 && result.size === 1 && commonest < 0.95 * this.#rows) {
      return `every row of it now has its largest value at place ${[...result.keys()][0]}, where ` +
        `the original's has ${original.size} different places`;
    }
    if (errors.sqnr !== null && errors.sqnr < COLLAPSED_SQNR) {
      return `its error is about as large as the output itself (SQNR ${errors.sqnr.toFixed(1)} dB)`;
    }
    return null;
  }
}

/** How far one tensor is from another, in one number. */
export interface Difference {
  /**
   * Relative L2 error of floats, null where the original has no signal and the other has one; share
   * of unequal elements of other types.
   */
  readonly error: number | null;
  /** Elements that are not finite in one of the two, or differ in how; left out of `error`. */
  readonly nonFiniteMismatches: number;
}

/** The difference of two tensors of the same extents. Throws a `ShapeMismatch` for others. */
export function difference(original: HostTensor, result: HostTensor): Difference {
  requireSameDims(original, result);
  const length = original.data.length;
  if (!isFloatType(original.dtype) && !isFloatType(result.dtype)) {
    const equal = countEqual(original, result);
    return { error: length === 0 ? 0 : 1 - equal / length, nonFiniteMismatches: 0 };
  }
  const a = toFloats(original);
  const b = toFloats(result);
  let signal = 0;
  let noise = 0;
  let nonFiniteMismatches = 0;
  for (let i = 0; i < length; i++) {
    const x = a[i]!;
    const error = b[i]! - x;
    // Not finite where either is, since no sum of two finite float32 values overflows float64.
    if (Number.isFinite(error)) {
      signal += x * x;
      noise += error * error;
    } else if (!Object.is(x, b[i]!)) nonFiniteMismatches++;
  }
  const error = signal > 0 ? Math.sqrt(noise / signal) : noise === 0 ? 0 : null;
  return { error, nonFiniteMismatches };
}

function requireSameDims(original: HostTensor, result: HostTensor): void {
  if (original.dims.join() === result.dims.join()) return;
  throw new ShapeMismatch(
    `it is ${formatDims(original.dims)} in the original and ${formatDims(result.dims)} in the ` +
      "result",
  );
}

/** Elements of two tensors that are equal, none of them floats. */
function countEqual(original: HostTensor, result: HostTensor): number {
  const a = original.data;
  const b = result.data;
  let equal = 0;
  if (original.dtype === result.dtype) {
    for (let i = 0; i < a.length; i++) if (a[i] === b[i]) equal++;
  } else {
    for (let i = 0; i < a.length; i++) if (String(a[i]) === String(b[i])) equal++;
  }
  return equal;
}

/** The elements as they are where JavaScript reads them as numbers, else converted. */
function toFloats(tensor: HostTensor): Floats {
  return tensor.data instanceof Float32Array ? tensor.data : toFloat64(tensor);
}

/** |b - a|_2 / |a|_2 over the elements that are finite in both; 0 where a is all zeros. */
function distance(a: Floats, b: Floats): number {
  let signal = 0;
  let difference = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i]!;
    const y = b[i]!;
    if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
    signal += x * x;
    difference += (y - x) * (y - x);
  }
  return signal === 0 ? 0 : Math.sqrt(difference / signal);
}

/** Place of the first largest of `count` elements from `start`, relative to `start`. */
function indexOfLargest(values: Floats, start: number, count: number): number {
  let best = 0;
  for (let i = 1; i < count; i++) if (values[start + i]! > values[start + best]!) best = i;
  return best;
}
