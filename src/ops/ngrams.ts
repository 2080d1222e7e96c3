/**
 * TfIdfVectorizer (https://onnx.ai/onnx/operators/onnx__TfIdfVectorizer.html) of integers: how often
 * sequences of a pool occur in a row, with gaps of some elements between theirs. Text is refused.
 */
import { add, type Integer, integer, ONE, scaled } from "../expr/integer.ts";
import { apply, fromInteger, reduce, select, toInteger, type Value } from "../expr/value.ts";
import { asFloat, float, times } from "./arithmetic.ts";
import { all, int } from "./extents.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";

/** What no vocabulary has, and what no row is as long as. */
const MOST_COLUMNS = 2 ** 24;
const MOST_GAPS = 2 ** 16;

/** A sequence of the pool. */
interface Gram {
  /** Where it begins in the pool. */
  readonly start: number;
  readonly length: number;
  /** The column of the result that counts it. */
  readonly column: number;
  /** Its number in the pool. */
  readonly number: number;
}

/** The sequences of the pool whose lengths are asked for. */
function gramsOf(call: OpCall, pool: readonly number[]): Gram[] {
  const begins = call.ints("ngram_counts") ?? call.fail("ngram_counts is missing");
  const columns = call.ints("ngram_indexes") ?? call.fail("ngram_indexes is missing");
  const [least, most] = [call.int("min_gram_length", 1), call.int("max_gram_length", 1)];
  if (least < 1 || most < least || begins.length < most) {
    call.fail("its lengths of n-grams are not those of its pool");
  }
  const grams: Gram[] = [];
  let next = 0;
  for (const [i, begin] of begins.entries()) {
    const [length, end] = [i + 1, begins[i + 1] ?? pool.length];
    if (begin < 0 || end < begin || end > pool.length || (end - begin) % length !== 0) {
      call.fail("ngram_counts is not what its pool holds");
    }
    for (let start = begin; start < end; start += length) {
      const number = next++;
      const column = columns[number] ?? -1;
      if (column < 0) call.fail("ngram_indexes does not name a column for each n-gram");
      if (length >= least && length <= most) grams.push({ start, length, column, number });
    }
  }
  return grams;
}

/** How often the sequence that begins at `start` of `pool` occurs in a row of `width` elements. */
function occurrences(
  at: (position: Integer) => Value,
  width: Integer,
  pool: Operand,
  start: Integer,
  length: number,
  gaps: number,
): Value {
  const steps = length === 1 ? ONE : integer(gaps + 1);
  return reduce("sum", [steps, width], ([gap, first]) => {
    const step = add(gap!, ONE);
    const last = add(first!, scaled(step, length - 1));
    const isThere = apply("less", fromInteger(last), fromInteger(width));
    const equals = Array.from(
      { length },
      (_, i) => apply("equal", at(add(first!, scaled(step, i))), pool.at([add(start, integer(i))])),
    );
    return select(isThere, select(all(equals), int(1), int(0)), int(0));
  });
}

function lower(call: OpCall): Operand[] {
  const x = call.input(0);
  if (call.has("pool_strings")) call.fail("text is no tensor of numbers");
  if (x.dims.length < 1 || x.dims.length > 2) call.fail(`its input has rank ${x.dims.length}`);
  const pool = call.ints("pool_int64s") ?? call.fail("pool_int64s is missing");
  const grams = gramsOf(call, pool);
  const columns = 1 + Math.max(-1, ...(call.ints("ngram_indexes") ?? []));
  if (columns > MOST_COLUMNS) call.fail(`its result has ${columns} columns`);
  const mode = call.string("mode", "TF");
  if (!["TF", "IDF", "TFIDF"].includes(mode)) call.fail(`the mode "${mode}" is none that ONNX has`);
  // A number past 32 bits equals no element.
  const usable = grams.filter(({ start, length }) =>
    pool.slice(start, start + length).every((value) => value === (value | 0))
  );
  const starts = Array<number>(columns).fill(-1);
  const lengths = Array<number>(columns).fill(0);
  const factors = Array<number>(columns).fill(1);
  const given = mode === "TF" ? null : call.floats("weights");
  for (const { start, length, column, number } of usable) {
    if (starts[column] !== -1) call.fail(`column ${column} counts several n-grams`);
    [starts[column], lengths[column]] = [start, length];
    factors[column] = given?.[number] ?? 1;
  }
  const poolTable = call.table("int32", pool.map((value) => value | 0));
  const startTable = call.table("int32", starts);
  const lengthTable = call.table("int32", lengths);
  const weights = call.table("float32", factors);
  const width = x.dims.at(-1)!;
  const lead = x.dims.slice(0, -1);
  const gaps = call.int("max_skip_count", 0);
  if (gaps < 0 || gaps > MOST_GAPS) call.fail(`its max_skip_count is ${gaps}`);
  return [
    operand("float32", [...lead, integer(columns)], (indices) => {
      const column = indices.at(-1)!;
      const at = (position: Integer): Value => x.at([...indices.slice(0, -1), position]);
      const start = toInteger(startTable.at([column]));
      const count = [...new Set(usable.map(({ length }) => length))].reduce(
        (rest: Value, length) =>
          select(
            apply("equal", lengthTable.at([column]), int(length)),
            occurrences(at, width, poolTable, start, length, gaps),
            rest,
          ),
        int(0),
      );
      if (mode === "TF") return asFloat(count);
      const weight = weights.at([column]);
      if (mode === "TFIDF") return times(asFloat(count), weight);
      return select(apply("greater", count, int(0)), weight, float(0));
    }),
  ];
}

/** https://onnx.ai/onnx/operators/onnx__TfIdfVectorizer.html */
export const NGRAM_OPS: readonly OpRecord[] = [
  { name: "TfIdfVectorizer", domain: "", since: 9, lower },
];
