/**
 * Random calls of operators, from a seed: extents of 1, odd ones and zeros, negative axes, shapes that
 * broadcast, operands that are constants or inputs of dimensions that are symbols.
 */
import type { Elements, Value } from "../../conformance/values.ts";
import { type DType, DTYPES } from "../../src/dtype.ts";
import { type Attribute, elementCount } from "../../src/ir.ts";
import { Random } from "../../src/verify/random.ts";

export { float, floats, text } from "../attributes.ts";

/** An operand of a call. */
export interface Given extends Value {
  /** Whether it is an initializer of the model rather than an input. */
  readonly constant: boolean;
  /** Whether its extents are declared as numbers: those of axes and shapes say a rank. */
  readonly static?: boolean;
}

/** A call of an operator, and how its results are judged. */
export interface Call {
  readonly op: string;
  /** The default domain where absent. */
  readonly domain?: string;
  /** Of the default domain. */
  readonly opset?: number;
  readonly operands: readonly (Given | null)[];
  /** Types of the outputs; null for one that is not wanted. */
  readonly outputs: readonly (DType | null)[];
  readonly attributes?: readonly Attribute[];
  readonly rtol?: number;
  readonly atol?: number;
  /** What an integer output may differ by, where a float before it lies next to a half. */
  readonly steps?: number;
}

/** The array of elements of `dtype` that `values` are. */
export function elementsOf(dtype: DType, values: readonly number[]): Elements {
  switch (dtype) {
    case "float16":
      return new Uint16Array(Float16Array.from(values).buffer);
    case "float32":
      return Float32Array.from(values);
    case "float64":
      return Float64Array.from(values);
    case "int8":
      return Int8Array.from(values);
    case "int16":
      return Int16Array.from(values);
    case "int32":
      return Int32Array.from(values);
    case "int64":
      return BigInt64Array.from(values, BigInt);
    case "uint16":
      return Uint16Array.from(values);
    case "uint32":
      return Uint32Array.from(values);
    case "uint64":
      return BigUint64Array.from(values, BigInt);
    case "bool":
    case "uint8":
      return Uint8Array.from(values);
    default:
      throw new RangeError(`no random tensors of ${dtype}`);
  }
}

/** An operand of given values. */
export function given(dtype: DType, dims: readonly number[], values: readonly number[]): Given {
  return { dtype, dims, data: elementsOf(dtype, values), constant: false };
}

/** `operand` as an initializer. */
export function fixed(operand: Given): Given {
  return { ...operand, constant: true };
}

/** A source of random parts of calls. */
export class Draw {
  readonly #random: Random;

  constructor(seed: string) {
    this.#random = new Random(seed);
  }

  /** True with the probability `share`. */
  chance(share: number): boolean {
    return this.#random.next() < share;
  }

  pick<const T>(choices: readonly T[]): T {
    return choices[this.#random.integer(choices.length)]!;
  }

  /** A whole number from `least` to `greatest`, both included. */
  between(least: number, greatest: number): number {
    return least + this.#random.integer(greatest - least + 1);
  }

  /** A number from `least` up to `greatest`. */
  number(least: number, greatest: number): number {
    return Math.fround(least + (greatest - least) * this.#random.next());
  }

  /** An extent, seldom 0 where `zeros` says so. */
  extent(zeros = true): number {
    if (zeros && this.chance(0.02)) return 0;
    return this.chance(0.2) ? 1 : this.between(2, 7);
  }

  shape(least: number, greatest = least, zeros = true): number[] {
    return Array.from({ length: this.between(least, greatest) }, () => this.extent(zeros));
  }

  /** `dims` with extents of 1 and without some of the first ones: what broadcasts to it. */
  broadcast(dims: readonly number[]): number[] {
    const own = dims.map((extent) => this.chance(0.3) ? 1 : extent);
    return own.slice(this.chance(0.3) ? this.between(0, own.length) : 0);
  }

  /** An axis of a tensor of rank `rank`, counted from the end half of the time. */
  axis(rank: number): number {
    return this.between(-rank, rank - 1);
  }

  /** `count` of the axes, none twice. */
  axes(rank: number, count: number): number[] {
    return this.shuffled(Array.from({ length: rank }, (_, i) => i)).slice(0, count)
      .map((axis) => this.chance(0.5) ? axis - rank : axis);
  }

  shuffled<T>(values: readonly T[]): T[] {
    const left = [...values];
    return values.map(() => left.splice(this.#random.integer(left.length), 1)[0]!);
  }

  /** Numbers from `least` up to `greatest`; integers include both. */
  tensor(dtype: DType, dims: readonly number[], least?: number, greatest?: number): Given {
    const { kind, bits } = DTYPES[dtype];
    const [low, high] = kind === "bool"
      ? [0, 1]
      : kind === "float"
      ? [-2, 2]
      : bits === 8
      ? kind === "uint" ? [0, 255] : [-128, 127]
      : [kind === "uint" ? 0 : -9, 9];
    const [from, to] = [least ?? low, greatest ?? high];
    const values = Array.from(
      { length: elementCount(dims) },
      () => kind === "float" ? this.number(from, to) : this.between(from, to),
    );
    return given(dtype, dims, values);
  }

  /** `operand`, a constant three times of ten. */
  maybeFixed(operand: Given): Given {
    return this.chance(0.3) ? fixed(operand) : operand;
  }

  /** A vector of int64, a constant three times of four. */
  integers(values: readonly number[], dtype: DType = "int64"): Given {
    return { ...given(dtype, [values.length], values), constant: this.chance(0.75), static: true };
  }

  /** One int64 without dimensions or with one, a constant three times of four. */
  integer(value: number, dtype: DType = "int64"): Given {
    return {
      ...given(dtype, this.chance(0.5) ? [] : [1], [value]),
      constant: this.chance(0.75),
      static: true,
    };
  }

  /** `operand` half of the time, else null. */
  maybe(operand: () => Given): Given | null {
    return this.chance(0.5) ? operand() : null;
  }
}
