// Quantizes blocks that are whole rows of any length: a thread takes a run of 256 weights, and what
// the runs find is gathered row by row between the passes. What all methods share: the extremes,
// the choice by rounding to nearest, and at the end the scales and the codes.

// ---- header: plain stand-ins for arithmetic.wgsl, matrix.wgsl and choice.wgsl
override THREADS: u32 = 16;

const INFINITE_MAGNITUDE = 0x7f800000u;
const NO_EXTREMES = Extremes(0.0, 0.0, 0u);
const NOTHING_WRITTEN = Writers(0u);

struct Matrix {
  rows: u32,
  runs: u32,
  block_length: u32,
  row_runs: u32,
  first_run: u32,
  first_code: u32,
  measure: u32,
  groups: u32,
}

struct Tally {
  non_finite: atomic<u32>,
  saturated: atomic<u32>,
  finished: atomic<u32>,
}

struct Place {
  row: u32,
  run: u32,
  valid: bool,
}

struct Extremes {
  low: f32,
  high: f32,
  magnitude: u32,
}

struct Choice {
  scale: f32,
  zero_point: u32,
  saturated: u32,
}

struct Writers {
  word: u32,
}

@group(0) @binding(1) var<uniform> matrix: Matrix;
@group(0) @binding(6) var<storage, read_write> tally: Tally;
@group(0) @binding(7) var<storage, read_write> sums: array<vec4f>;

fn group_number(group: vec3u, groups: vec3u) -> u32 {
  return group.y * groups.x + group.x;
}

fn place_of(group: u32, lane: u32) -> Place {
  return Place(group, lane, true);
}

fn stage(group: u32, lane: u32) {}

fn weights_at(i: u32, lane: u32) -> vec4f {
  return vec4f(0.0);
}

fn normalize_run(lane: u32, factor: f32, least: u32) {}

fn clear_run(lane: u32) {}

fn put_codes(writers: Writers, block: u32, first: u32, four: vec4u) -> Writers {
  return writers;
}

fn flush_codes(writers: Writers) {}

fn store_scale(block: u32, scale: f32) {}

fn store_zero_point(block: u32, zero_point: u32) {}

fn widen_extremes(extremes: Extremes, weights: vec4f) -> Extremes {
  return extremes;
}

fn is_regular(extremes: Extremes) -> bool {
  return true;
}

fn down_of(magnitude: u32) -> f32 {
  return 1.0;
}

fn up_of(magnitude: u32) -> f32 {
  return 1.0;
}

fn least_of(magnitude: u32, saturated: u32) -> u32 {
  return 1u;
}

fn zero_choice() -> Choice {
  return Choice(0.0, 0u, 0u);
}

fn choose_by_rounding(extremes: Extremes) -> Choice {
  return Choice(extremes.high, 0u, 0u);
}

fn settle(choice: Choice) -> Choice {
  return choice;
}

fn reciprocal(scale: f32) -> f32 {
  return 1.0 / scale;
}

fn signed_codes(values: vec4f, inverse: f32, zero_point: u32) -> vec4f {
  return values * inverse;
}

fn error_sums(lane: u32, scale: f32, zero_point: u32) -> vec3f {
  return vec3f(scale);
}

fn run_size() -> u32 {
  return 32u;
}

// ---- core
// Threads of a workgroup that gathers a row.
const GATHERERS = 64u;

// What is known of a row.
struct State {
  extremes: Extremes,
  // The choice by rounding to nearest.
  plain: Choice,
  // The choice that the next pass looks at; a scale of 0 where none does.
  trial: Choice,
  // The choice to take.
  best: Choice,
  least_norm: f32,
  // Iterations done in all, 0 before the first.
  iterations: u32,
}

@group(0) @binding(10) var<storage, read_write> states: array<State>;
// What each run has found, as bits of binary32: `width` words a run, the runs of a row together.
@group(0) @binding(11) var<storage, read_write> partials: array<u32>;

var<workgroup> gathered: array<u32, 3u * GATHERERS>;

// Number of a run among all runs of whole rows.
fn slot_of(place: Place) -> u32 {
  return place.row * matrix.row_runs + matrix.first_run + place.run;
}

// Finds the extremes of every run.
@compute @workgroup_size(THREADS)
fn find_extremes(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let number = group_number(group, groups);
  stage(number, lane);
  let place = place_of(number, lane);
  if (!place.valid) {
    return;
  }
  var extremes = NO_EXTREMES;
  for (var i = 0u; i < run_size() / 4u; i++) {
    extremes = widen_extremes(extremes, weights_at(i, lane));
  }
  let slot = 3u * slot_of(place);
  partials[slot] = bitcast<u32>(extremes.low);
  partials[slot + 1u] = bitcast<u32>(extremes.high);
  partials[slot + 2u] = extremes.magnitude;
}

// Gathers the extremes of a row and chooses by rounding to nearest; a workgroup takes a row.
@compute @workgroup_size(GATHERERS)
fn begin_rows(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group_number(group, groups);
  var low = 0.0;
  var high = 0.0;
  var magnitude = 0u;
  if (row < matrix.rows) {
    for (var run = lane; run < matrix.row_runs; run += GATHERERS) {
      let slot = 3u * (row * matrix.row_runs + run);
      low = min(low, bitcast<f32>(partials[slot]));
      high = max(high, bitcast<f32>(partials[slot + 1u]));
      magnitude = max(magnitude, partials[slot + 2u]);
    }
  }
  gathered[3u * lane] = bitcast<u32>(low);
  gathered[3u * lane + 1u] = bitcast<u32>(high);
  gathered[3u * lane + 2u] = magnitude;
  workgroupBarrier();
  if (lane != 0u || row >= matrix.rows) {
    return;
  }
  for (var other = 1u; other < GATHERERS; other++) {
    low = min(low, bitcast<f32>(gathered[3u * other]));
    high = max(high, bitcast<f32>(gathered[3u * other + 1u]));
    magnitude = max(magnitude, gathered[3u * other + 2u]);
  }
  let extremes = Extremes(low, high, magnitude);
  var plain = zero_choice();
  if (is_regular(extremes)) {
    plain = choose_by_rounding(extremes);
  }
  var trial = plain;
  if (plain.saturated == 1u) {
    trial.scale = 0.0;
  }
  states[row] = State(extremes, plain, trial, plain, 0.0, 0u);
}

// Stages the runs of a workgroup, normalized as their rows ask; zeros for a row without a scale to
// look for. Returns this thread's place.
fn stage_normalized(number: u32, lane: u32) -> Place {
  stage(number, lane);
  let place = place_of(number, lane);
  if (place.valid) {
    if (is_regular(states[place.row].extremes)) {
      let magnitude = states[place.row].extremes.magnitude;
      let saturated = states[place.row].plain.saturated;
      normalize_run(lane, down_of(magnitude), least_of(magnitude, saturated));
    } else {
      clear_run(lane);
    }
  }
  return place;
}

// Sum `index` of `width` of a row: the sums of its runs, added in order.
fn ordered_sum(row: u32, index: u32, width: u32) -> f32 {
  let first = row * matrix.row_runs * width + index;
  var sum = 0.0;
  for (var run = 0u; run < matrix.row_runs; run++) {
    sum += bitcast<f32>(partials[first + run * width]);
  }
  return sum;
}

// Stores the scale and the zero point of each row; a thread takes a row.
@compute @workgroup_size(GATHERERS)
fn end_rows(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group_number(group, groups) * GATHERERS + lane;
  if (row >= matrix.rows) {
    return;
  }
  let choice = settle(states[row].best);
  states[row].best = choice;
  store_scale(row, choice.scale);
  store_zero_point(row, choice.zero_point);
  if (choice.saturated == 1u) {
    atomicAdd(&tally.saturated, 1u);
  }
  if (states[row].extremes.magnitude >= INFINITE_MAGNITUDE) {
    atomicAdd(&tally.non_finite, 1u);
  }
}

// Stores the codes, and the error sums of every run.
@compute @workgroup_size(THREADS)
fn encode(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let number = group_number(group, groups);
  let place = stage_normalized(number, lane);
  if (place.valid) {
    let state = states[place.row];
    let choice = state.best;
    let magnitude = state.extremes.magnitude;
    let scale = choice.scale * down_of(magnitude);
    let inverse = reciprocal(scale);
    let first = matrix.first_code + place.run * run_size();
    let end = min(run_size(), matrix.block_length - (matrix.first_run + place.run) * run_size());
    var writers = NOTHING_WRITTEN;
    for (var i = 0u; i < end / 4u; i++) {
      let signed = signed_codes(weights_at(i, lane), inverse, choice.zero_point);
      let four = vec4u(vec4i(signed) + vec4i(i32(choice.zero_point)));
      writers = put_codes(writers, place.row, first + 4u * i, four);
    }
    flush_codes(writers);
    if (matrix.measure == 1u) {
      let slot = place.row * matrix.runs + place.run;
      sums[slot] = vec4f(error_sums(lane, scale, choice.zero_point), up_of(magnitude));
    }
  }
  if (lane == 0u && number < matrix.groups) {
    atomicAdd(&tally.finished, 1u);
  }
}
