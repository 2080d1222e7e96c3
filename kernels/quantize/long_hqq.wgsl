// Method `hqq` of long blocks. A round is four passes: the norms of the choice on trial, its
// judgement, the fit, the next choice. Rows that have ended wait for the others.

// ---- header: plain stand-ins for matrix.wgsl, choice.wgsl, hqq.wgsl and long.wgsl
override THREADS: u32 = 16;

const GATHERERS = 64u;
const LAST_ITERATION = 8u;

struct Matrix {
  rows: u32,
  row_columns: u32,
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

struct State {
  extremes: Extremes,
  plain: Choice,
  trial: Choice,
  best: Choice,
  least_norm: f32,
  iterations: u32,
}

struct Place {
  row: u32,
  run: u32,
  valid: bool,
}

@group(0) @binding(1) var<uniform> matrix: Matrix;
@group(0) @binding(10) var<storage, read_write> states: array<State>;
@group(0) @binding(11) var<storage, read_write> partials: array<u32>;

var<workgroup> gathered: array<u32, 3u * GATHERERS>;

fn group_number(group: vec3u, groups: vec3u) -> u32 {
  return group.y * groups.x + group.x;
}

fn stage_normalized(number: u32, lane: u32) -> Place {
  return Place(number, lane, true);
}

fn slot_of(place: Place) -> u32 {
  return place.row + place.run;
}

fn ordered_sum(row: u32, index: u32, width: u32) -> f32 {
  return bitcast<f32>(partials[row * width + index]);
}

fn down_of(magnitude: u32) -> f32 {
  return 1.0;
}

fn norm_sums(lane: u32, choice: Choice, down: f32, iteration: u32) -> vec2f {
  return vec2f(down);
}

fn fit_sums(lane: u32, choice: Choice, down: f32, iteration: u32) -> vec2f {
  return vec2f(down);
}

fn norm_of(sum: f32, choice: Choice, down: f32) -> f32 {
  return sum;
}

fn shifted_zero_point(zero_point: u32, excess: f32, count: u32) -> u32 {
  return zero_point;
}

fn refitted(choice: Choice, sum_tq: f32, sum_qq: f32, magnitude: u32) -> Choice {
  return choice;
}

fn mirrored(extremes: Extremes) -> Choice {
  return Choice(extremes.low, 0u, 0u);
}

fn is_symmetric() -> bool {
  return false;
}

// ---- core
// Iterations from one start.
const ITERATIONS = LAST_ITERATION + 1u;

// Sums what judges the choice on trial over every run.
@compute @workgroup_size(THREADS)
fn sum_norms(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let place = stage_normalized(group_number(group, groups), lane);
  if (!place.valid || states[place.row].trial.scale == 0.0) {
    return;
  }
  let down = down_of(states[place.row].extremes.magnitude);
  let iteration = states[place.row].iterations % ITERATIONS;
  let both = norm_sums(lane, states[place.row].trial, down, iteration);
  let slot = slot_of(place) * 2u;
  partials[slot] = bitcast<u32>(both.x);
  partials[slot + 1u] = bitcast<u32>(both.y);
}

// Keeps the choice on trial where it is the best, and moves its zero point; a workgroup takes a row.
@compute @workgroup_size(GATHERERS)
fn judge(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group_number(group, groups);
  if (row < matrix.rows && lane < 2u) {
    gathered[lane] = bitcast<u32>(ordered_sum(row, lane, 2u));
  }
  workgroupBarrier();
  if (lane != 0u || row >= matrix.rows || states[row].trial.scale == 0.0) {
    return;
  }
  let trial = states[row].trial;
  let down = down_of(states[row].extremes.magnitude);
  let norm = norm_of(bitcast<f32>(gathered[0]), trial, down);
  if (states[row].iterations == 0u || norm < states[row].least_norm) {
    states[row].best = trial;
    states[row].least_norm = norm;
  }
  if (!is_symmetric() && states[row].iterations % ITERATIONS != LAST_ITERATION) {
    let excess = bitcast<f32>(gathered[1]);
    let moved = shifted_zero_point(trial.zero_point, excess, matrix.row_columns);
    states[row].trial.zero_point = moved;
  }
}

// Sums what the next choice is fitted to over every run.
@compute @workgroup_size(THREADS)
fn sum_fits(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let place = stage_normalized(group_number(group, groups), lane);
  if (!place.valid || states[place.row].trial.scale == 0.0) {
    return;
  }
  let down = down_of(states[place.row].extremes.magnitude);
  let iteration = states[place.row].iterations % ITERATIONS;
  let both = fit_sums(lane, states[place.row].trial, down, iteration);
  let slot = slot_of(place) * 2u;
  partials[slot] = bitcast<u32>(both.x);
  partials[slot + 1u] = bitcast<u32>(both.y);
}

// Makes the next choice, or goes to the other start; a workgroup takes a row.
@compute @workgroup_size(GATHERERS)
fn refit(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group_number(group, groups);
  if (row < matrix.rows && lane < 2u) {
    gathered[lane] = bitcast<u32>(ordered_sum(row, lane, 2u));
  }
  workgroupBarrier();
  if (lane != 0u || row >= matrix.rows || states[row].trial.scale == 0.0) {
    return;
  }
  let iterations = states[row].iterations;
  let extremes = states[row].extremes;
  var next = states[row].trial;
  next.scale = 0.0;
  if (iterations % ITERATIONS != LAST_ITERATION) {
    let sum_tq = bitcast<f32>(gathered[0]);
    let sum_qq = bitcast<f32>(gathered[1]);
    next = refitted(states[row].trial, sum_tq, sum_qq, extremes.magnitude);
  }
  if (next.scale == 0.0 && is_symmetric() && iterations < ITERATIONS) {
    states[row].trial = mirrored(extremes);
    states[row].iterations = ITERATIONS;
  } else {
    states[row].trial = next;
    states[row].iterations = iterations + 1u;
  }
}
