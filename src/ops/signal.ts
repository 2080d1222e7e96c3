/**
 * Fourier transforms, windows and mel filters (https://onnx.ai/onnx/operators/onnx__DFT.html and
 * others). A transform sums its terms, with cosines and sines from a table of one full turn.
 */
import { dtypeOfOnnx } from "../dtype.ts";
import { divide, modulo } from "../expr/bounds.ts";
import {
  add,
  asNumber,
  type Integer,
  integer,
  multiply,
  ONE,
  scaled,
  subtract,
  ZERO,
} from "../expr/integer.ts";
import { apply, extentOf, fromInteger, select, toInteger, type Value } from "../expr/value.ts";
import { asFloat, float, minus, over, plus, times } from "./arithmetic.ts";
import { all, axisFlags, equal, inside, sumOver } from "./extents.ts";
import { axisOf } from "./broadcast.ts";
import { castTo, type OpCall, type Operand, operand, type OpRecord } from "./op.ts";

/** Elements of a spectrum whose other half mirrors it. */
const halfBins = (length: Integer): Integer => extentOf(add(divide(length, integer(2)), ONE));

/** The real or imaginary part (`part` 0 or 1) of a complex sample. */
type Sample = (position: Integer, part: 0 | 1) => Value;

/** A transform of `length` samples. */
interface Transform {
  readonly length: Integer;
  readonly sample: Sample;
  /** The cosines and sines of multiples of the `length`-th part of a turn. */
  readonly turns: Operand;
  readonly isComplex: boolean;
  readonly inverse: boolean;
}

/**
 * The cosine (0) and sine (1) of each multiple of the `length`-th part of a turn, reduced to the
 * first quarter in integers: those of quarters are exact.
 */
function turnsOf(call: OpCall, length: Integer): Operand {
  return call.stored(operand("float32", [integer(2), length], ([which, step]) => {
    const four = scaled(step!, 4);
    const quarter = divide(four, length);
    const share = over(
      asFloat(fromInteger(subtract(four, multiply(quarter, length)))),
      asFloat(fromInteger(length)),
    );
    const angle = times(share, float(Math.PI / 2));
    // A cosine is the sine one quarter ahead.
    const ahead = modulo(add(quarter, subtract(ONE, which!)), integer(4));
    const value = select(
      equal(modulo(ahead, integer(2)), ZERO),
      apply("sin", angle),
      apply("cos", angle),
    );
    return select(
      apply("less", fromInteger(ahead), fromInteger(integer(2))),
      value,
      apply("negate", value),
    );
  }));
}

/** The real (0) or imaginary (1) part of element `k`, summed over `terms` samples. */
function transformed(transform: Transform, terms: Integer, k: Integer, part: Integer): Value {
  const { length, sample, turns, isComplex, inverse } = transform;
  const turn = (position: Integer, which: 0 | 1): Value => {
    const value = turns.at([integer(which), modulo(multiply(position, k), length)]);
    return which === 1 && !inverse ? apply("negate", value) : value;
  };
  const real = (): Value =>
    sumOver([terms], ([n]) => {
      const first = times(sample(n!, 0), turn(n!, 0));
      return isComplex ? minus(first, times(sample(n!, 1), turn(n!, 1))) : first;
    });
  const imaginary = (): Value =>
    sumOver([terms], ([n]) => {
      const first = times(sample(n!, 0), turn(n!, 1));
      return isComplex ? plus(first, times(sample(n!, 1), turn(n!, 0))) : first;
    });
  const sum = select(equal(part, ZERO), real(), imaginary());
  return inverse ? over(sum, asFloat(fromInteger(length))) : sum;
}

/** The one number of input `i`. */
function scalar(call: OpCall, i: number): Integer {
  const [value] = call.integers(i);
  return value ?? call.fail(`input ${i} must be one number`);
}

/**
 * A one-sided spectrum stands for a whole one, whose other half mirrors it: the inverse transform of
 * it counts every term but the first, and the middle one of an even length, twice.
 */
function mirrored(length: Integer, position: Integer, value: Value): Value {
  const alone = apply(
    "or",
    equal(position, ZERO),
    equal(scaled(position, 2), length),
  );
  return select(alone, value, times(value, float(2)));
}

function lowerDft(call: OpCall): Operand[] {
  const input = call.input(0);
  const rank = input.dims.length;
  const inverse = call.int("inverse", 0) !== 0;
  const onesided = call.int("onesided", 0) !== 0;
  const known = call.optional(2) === null ? [-2] : call.constants(2);
  const flags = known === null
    ? axisFlags([scalar(call, 2)], rank)
    : input.dims.map((_, d) => axisOf(call, known[0]!, rank) === d ? ONE : ZERO);
  const parts = asNumber(input.dims[rank - 1]!);
  if (parts === null) call.fail("whether its input is real or complex is not known");
  const isComplex = parts === 2;
  const extent = extentOf(add(ZERO, ...input.dims.map((dim, d) => multiply(dim, flags[d]!))));
  const halved = inverse && onesided;
  const length = call.optional(1) !== null
    ? extentOf(scalar(call, 1))
    : halved
    ? extentOf(scaled(subtract(extent, ONE), 2))
    : extent;
  const bins = onesided && !inverse ? halfBins(length) : length;
  const dims = input.dims.map((dim, d) => {
    if (d === rank - 1) return integer(halved ? 1 : 2);
    const other = asNumber(flags[d]!);
    if (other !== null) return other === 1 ? bins : dim;
    return extentOf(toInteger(select(equal(flags[d]!, ONE), fromInteger(bins), fromInteger(dim))));
  });
  const terms = halved ? halfBins(length) : length;
  const turns = turnsOf(call, length);
  return [
    operand(input.dtype, dims, (indices) => {
      const k = add(ZERO, ...indices.map((index, d) => multiply(index, flags[d]!)));
      const sample: Sample = (position, part) => {
        const places = indices.map((index, d) => {
          if (d === rank - 1) return integer(part);
          const own = flags[d]!;
          return add(multiply(own, position), multiply(subtract(ONE, own), index));
        });
        const value = input.at(places);
        const whole = terms === extent
          ? value
          : select(inside(position, extent, { lower: false, upper: true }), value, float(0));
        return halved ? mirrored(length, position, whole) : whole;
      };
      const transform = { length, sample, turns, isComplex, inverse };
      return transformed(transform, terms, k, halved ? ZERO : indices[rank - 1]!);
    }),
  ];
}

function lowerStft(call: OpCall): Operand[] {
  const [signal, window] = [call.input(0), call.optional(2)];
  const step = scalar(call, 1);
  const length = call.optional(3) !== null
    ? extentOf(scalar(call, 3))
    : window?.dims[0] ?? signal.dims[1]!;
  const onesided = call.int("onesided", 1) !== 0;
  const isComplex = signal.dims.length === 3 && asNumber(signal.dims[2]!) === 2;
  const frames = extentOf(add(divide(subtract(signal.dims[1]!, length), step), ONE));
  const bins = onesided ? halfBins(length) : length;
  const turns = turnsOf(call, length);
  return [
    operand(
      signal.dtype,
      [signal.dims[0]!, frames, bins, integer(2)],
      ([n, frame, k, part]) => {
        const sample: Sample = (position, which) => {
          const place = [n!, add(multiply(frame!, step), position)];
          const value = signal.at(signal.dims.length === 3 ? [...place, integer(which)] : place);
          return window === null ? value : times(value, window.at([position]));
        };
        return transformed({ length, sample, turns, isComplex, inverse: false }, length, k!, part!);
      },
    ),
  ];
}

/** A window made of cosines: the sum of `factors[i] * cos(2 pi i n / N)`. */
const cosineWindow = (name: string, factors: readonly number[]): OpRecord => ({
  name,
  domain: "",
  since: 17,
  hostInputs: [0],
  lower: (call) => {
    const size = extentOf(scalar(call, 0));
    const periodic = call.int("periodic", 1) !== 0;
    const period = asFloat(fromInteger(periodic ? size : subtract(size, ONE)));
    const dtype = dtypeOfOnnx(call.int("output_datatype", 1)) ?? call.fail("its dtype is unknown");
    return [
      operand(dtype, [size], ([n]) => {
        const share = over(asFloat(fromInteger(n!)), period);
        const angle = times(share, float(2 * Math.PI));
        let value = float(factors[0]!);
        for (const [i, factor] of factors.entries()) {
          if (i === 0) continue;
          value = plus(value, times(apply("cos", times(angle, float(i))), float(factor)));
        }
        return castTo(dtype, value);
      }),
    ];
  },
});

/** Triangular filters, whose corners are even steps apart on the mel scale. */
function lowerMel(call: OpCall): Operand[] {
  const [filters, length, rate] = [0, 1, 2].map((i) => scalar(call, i)) as [
    Integer,
    Integer,
    Integer,
  ];
  const edge = (i: number): Value =>
    asFloat(call.elements(i)[0] ?? call.fail(`input ${i} must be one number`));
  const dtype = dtypeOfOnnx(call.int("output_datatype", 1)) ?? call.fail("its dtype is unknown");
  const scale = 2595 / Math.LN10;
  const mel = (hertz: Value): Value =>
    times(apply("log", plus(float(1), over(hertz, float(700)))), float(scale));
  const [low, high] = [mel(edge(3)), mel(edge(4))];
  const step = over(minus(high, low), asFloat(fromInteger(add(filters, integer(2)))));
  /** The spectrum's bin that corner `i` falls into. */
  const corner = (i: Integer): Value => {
    const at = plus(times(asFloat(fromInteger(i)), step), low);
    const hertz = times(minus(apply("exp", over(at, float(scale))), float(1)), float(700));
    const places = times(hertz, asFloat(fromInteger(add(length, ONE))));
    return apply("floor", over(places, asFloat(fromInteger(rate))));
  };
  return [
    operand(dtype, [halfBins(length), extentOf(filters)], ([bin, filter]) => {
      const [left, center, right] = [0, 1, 2].map((i) => corner(add(filter!, integer(i)))) as [
        Value,
        Value,
        Value,
      ];
      const place = asFloat(fromInteger(bin!));
      const rise = minus(center, left);
      const fall = minus(right, center);
      const isFlat = apply("equal", rise, float(0));
      const rising = select(isFlat, float(1), over(minus(place, left), rise));
      const falling = over(minus(right, place), fall);
      const onRise = all([
        apply("greaterOrEqual", place, left),
        apply("lessOrEqual", place, center),
      ]);
      const onFall = all([
        apply("greaterOrEqual", place, center),
        apply("less", place, right),
      ]);
      const value = select(onFall, falling, select(onRise, rising, float(0)));
      return castTo(dtype, value);
    }),
  ];
}

/** Determinants of square matrices, by minors of the last rows; each minor is computed once. */
function lowerDeterminant(call: OpCall): Operand[] {
  const input = call.input(0);
  const size = asNumber(input.dims.at(-1)!);
  const outer = input.dims.slice(0, -2);
  if (size === null || size > MOST_MINORS) {
    return call.host("determinant", [input], [], [{ dtype: input.dtype, rank: outer.length }]);
  }
  return [
    operand(input.dtype, outer, (indices) => {
      const known = new Map<number, Value>();
      /** The determinant of the last rows and the columns in the set of bits `columns`. */
      const minor = (row: number, columns: number): Value => {
        if (row === size) return float(1);
        const found = known.get(columns);
        if (found !== undefined) return found;
        let total: Value | null = null;
        let sign = 1;
        for (let column = 0; column < size; column++) {
          if (((columns >> column) & 1) === 0) continue;
          const element = input.at([...indices, integer(row), integer(column)]);
          const rest = minor(row + 1, columns & ~(1 << column));
          const part = row === size - 1 ? element : times(element, rest);
          if (total === null) total = part;
          else total = sign > 0 ? plus(total, part) : minus(total, part);
          sign = -sign;
        }
        const made = total ?? float(1);
        known.set(columns, made);
        return made;
      };
      return minor(0, 2 ** size - 1);
    }),
  ];
}

/** Rows of a matrix from which on a determinant is eliminated instead. */
const MOST_MINORS = 5;

const row = (
  name: string,
  since: number,
  lower: OpRecord["lower"],
  hostInputs?: readonly number[],
): OpRecord => ({ name, domain: "", since, ...(hostInputs && { hostInputs }), lower });

/** Records of signal processing, and Det. */
export const SIGNAL_OPS: readonly OpRecord[] = [
  cosineWindow("BlackmanWindow", [0.42, -0.5, 0.08]),
  row("DFT", 20, lowerDft, [1, 2]),
  row("Det", 22, lowerDeterminant),
  cosineWindow("HammingWindow", [25 / 46, -21 / 46]),
  cosineWindow("HannWindow", [0.5, -0.5]),
  row("MelWeightMatrix", 17, lowerMel, [0, 1, 2, 3, 4]),
  row("STFT", 17, lowerStft, [1, 3]),
];
