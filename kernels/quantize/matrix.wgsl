// The matrix of a job: its weights and its results. A thread takes one run of RUN consecutive
// weights of a row: a whole block, or a chunk of 256 of a block that is longer.

// What a pipeline may fix. 0 leaves it to the parameters, so that one pipeline does for all where
// compiling takes longer than it saves.
override BITS: u32 = 0;
override RUN: u32 = 0;
override SYMMETRIC: u32 = 0;
override THREADS: u32 = 64;

// Values of SYMMETRIC and of the parameter.
const IS_SYMMETRIC = 1u;
const IS_ASYMMETRIC = 2u;

const FLOAT32 = 0u;
const FLOAT16 = 1u;
const BFLOAT16 = 2u;

struct Matrix {
  // Coarse candidates of a search in stages.
  coarse: array<vec4f, 2>,
  rows: u32,
  columns: u32,
  // Runs a row.
  runs: u32,
  // Weights a block, padding included.
  block_length: u32,
  // For a part of a long row: runs of the whole row, and runs before this part.
  row_runs: u32,
  first_run: u32,
  // Index in the bound codes of the first weight of this part.
  first_code: u32,
  // Bytes of one of the three planes of 3-bit codes.
  plane_bytes: u32,
  // FLOAT32, FLOAT16 or BFLOAT16.
  weight_type: u32,
  // 1 where weight (r, c) is element c * rows + r, 0 where it is element r * columns + c.
  column_order: u32,
  // 1 where scales are stored as float16.
  half_scales: u32,
  // 1 where the error sums are wanted.
  measure: u32,
  // Workgroups that have work.
  groups: u32,
  // Columns of the whole row.
  row_columns: u32,
  // Candidates of the search: lower + i * step, and symmetric also upper + i * step, for i < count;
  // in stages the first `count` coarse ones, and step is the last stage's. All are reciprocals of
  // scales of a block's integers, times STEP.
  grid_lower: f32,
  grid_upper: f32,
  grid_step: f32,
  grid_count: u32,
  // Bits of a code, weights that a thread takes, and IS_SYMMETRIC or IS_ASYMMETRIC.
  bits: u32,
  run: u32,
  symmetric: u32,
  // 1 where columns count differently.
  weighted: u32,
  // Power of two that sums over a block are multiplied by.
  sum_scale: f32,
  // Units that the extent of a block has in integers, a power of two, and its reciprocal.
  span: f32,
  span_inverse: f32,
  // What the result of a search must gain, in squares of the plain scale.
  required_gain: f32,
}

struct Tally {
  non_finite: atomic<u32>,
  saturated: atomic<u32>,
  // Workgroups that have finished, by which the host sees that all of them ran.
  finished: atomic<u32>,
}

@group(0) @binding(1) var<uniform> matrix: Matrix;
// Elements of weight_type, two in a word where it has 16 bits.
@group(0) @binding(2) var<storage, read> weights: array<u32>;
// The results are zeros before the dispatch: threads share words of them.
@group(0) @binding(3) var<storage, read_write> codes: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read_write> scales: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read_write> zero_points: array<atomic<u32>>;
@group(0) @binding(6) var<storage, read_write> tally: Tally;
// Of each run: the sums of w w, (w - v) (w - v) and w v over its normalized weights w and their
// dequantized values v, and the power of two that undoes the normalization of w.
@group(0) @binding(7) var<storage, read_write> sums: array<vec4f>;

fn code_bits() -> u32 {
  return select(matrix.bits, BITS, BITS != 0u);
}

fn run_size() -> u32 {
  return select(matrix.run, RUN, RUN != 0u);
}

fn is_symmetric() -> bool {
  return select(matrix.symmetric, SYMMETRIC, SYMMETRIC != 0u) == IS_SYMMETRIC;
}

// Row and run of a thread.
struct Place {
  row: u32,
  run: u32,
  // False for a thread past the end of the matrix.
  valid: bool,
}

// Number of this workgroup in a dispatch that may be two-dimensional.
fn group_number(group: vec3u, groups: vec3u) -> u32 {
  return group.y * groups.x + group.x;
}

// Neighbouring threads take neighbouring rows where the columns are outermost in memory, else
// neighbouring runs.
fn place_of(group: u32, lane: u32) -> Place {
  if (matrix.column_order == 1u) {
    let row_groups = (matrix.rows + THREADS - 1u) / THREADS;
    let row = (group % row_groups) * THREADS + lane;
    return Place(row, group / row_groups, row < matrix.rows && group < matrix.groups);
  }
  let index = group * THREADS + lane;
  let row = index / matrix.runs;
  return Place(row, index - row * matrix.runs, index < matrix.rows * matrix.runs);
}

fn element(index: u32) -> f32 {
  if (matrix.weight_type == FLOAT32) {
    return bitcast<f32>(weights[index]);
  }
  let bits = (weights[index >> 1u] >> ((index & 1u) * 16u)) & 0xffffu;
  if (matrix.weight_type == FLOAT16) {
    return widen_half(bits);
  }
  return widen_bfloat(bits);
}

// Codes on their way into a word, which is stored when another word begins.
struct Writer {
  word: u32,
  bits: u32,
}

fn flush(writer: Writer) {
  if (writer.bits != 0u) {
    atomicOr(&codes[writer.word], writer.bits);
  }
}

fn put(writer: Writer, bit: u32, value: u32) -> Writer {
  let word = bit >> 5u;
  let bits = value << (bit & 31u);
  if (word == writer.word) {
    return Writer(word, writer.bits | bits);
  }
  flush(writer);
  return Writer(word, bits);
}

// The low and the high plane of 3-bit codes; other codes use the first alone.
struct Writers {
  low: Writer,
  high: Writer,
}

const NOTHING_WRITTEN = Writers(Writer(0u, 0u), Writer(0u, 0u));

// Puts the codes of weights `first` to `first + 3` of block `block`; `first` is a multiple of 4.
fn put_codes(writers: Writers, block: u32, first: u32, four: vec4u) -> Writers {
  if (code_bits() != 3u) {
    let packed = four.x | (four.y << code_bits()) | (four.z << (2u * code_bits())) | (four.w << (3u * code_bits()));
    let bit = (block * matrix.block_length + first) * code_bits();
    return Writers(put(writers.low, bit, packed), writers.high);
  }
  let quarter = matrix.block_length / 4u;
  let segment = first / quarter;
  let byte = block * (matrix.block_length / 8u) + (first - segment * quarter) / 2u;
  let low = four & vec4u(3u);
  let high = four >> vec4u(2u);
  let plane = select(0u, matrix.plane_bytes, segment >= 2u);
  let low_bit = 8u * (plane + byte) + 2u * (segment & 1u);
  let high_bit = 8u * (2u * matrix.plane_bytes + byte) + segment;
  return Writers(
    put(writers.low, low_bit, low.x | (low.y << 4u) | (low.z << 8u) | (low.w << 12u)),
    put(writers.high, high_bit, high.x | (high.y << 4u) | (high.z << 8u) | (high.w << 12u)),
  );
}

fn flush_codes(writers: Writers) {
  flush(writers.low);
  flush(writers.high);
}

fn store_scale(block: u32, scale: f32) {
  if (matrix.half_scales == 1u) {
    atomicOr(&scales[block >> 1u], half_bits(scale) << ((block & 1u) * 16u));
  } else {
    atomicStore(&scales[block], bitcast<u32>(scale));
  }
}

fn store_zero_point(block: u32, zero_point: u32) {
  atomicOr(&zero_points[block >> 2u], zero_point << ((block & 3u) * 8u));
}
