// Method `mse` of long blocks: the sums of all candidates in one pass over the weights, then the
// errors of the best one and of rounding to nearest in another.

// ---- header: plain stand-ins for matrix.wgsl, choice.wgsl, mse.wgsl and long.wgsl
override THREADS: u32 = 16;

const GATHERERS = 64u;

struct Matrix {
  rows: u32,
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

struct Candidate {
  inverse: f32,
  zero_point: u32,
  valid: bool,
}

struct Best {
  square: f32,
}

fn is_regular(extremes: Extremes) -> bool {
  return true;
}

fn candidate_count() -> u32 {
  return 1u;
}

fn unit_of(extremes: Extremes) -> f32 {
  return 1.0;
}

fn candidate_at(index: u32, unit: f32, zero_point: u32) -> Candidate {
  return Candidate(unit, zero_point, true);
}

fn candidate_sums(run: u32, lane: u32, candidate: Candidate) -> vec2f {
  return vec2f(candidate.inverse);
}

fn no_best(zero_point: u32) -> Best {
  return Best(0.0);
}

fn better(best: Best, sum_uq: f32, sum_qq: f32, zero_point: u32) -> Best {
  return best;
}

fn searched_choice(best: Best, magnitude: u32) -> Choice {
  return Choice(best.square, 0u, 0u);
}

fn squared_error(run: u32, lane: u32, choice: Choice, down: f32) -> f32 {
  return choice.scale;
}

fn is_gain(error: f32, plain_error: f32) -> bool {
  return error < plain_error;
}

// ---- core
// Judges every candidate on every run.
@compute @workgroup_size(THREADS)
fn try_candidates(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let place = stage_normalized(group_number(group, groups), lane);
  if (!place.valid) {
    return;
  }
  let extremes = states[place.row].extremes;
  if (!is_regular(extremes)) {
    return;
  }
  let zero_point = states[place.row].plain.zero_point;
  let unit = unit_of(extremes);
  let count = candidate_count();
  let slot = slot_of(place) * 2u * count;
  for (var index = 0u; index < count; index++) {
    let both = candidate_sums(place.run, lane, candidate_at(index, unit, zero_point));
    partials[slot + 2u * index] = bitcast<u32>(both.x);
    partials[slot + 2u * index + 1u] = bitcast<u32>(both.y);
  }
}

// Finds the best candidate of a row; a workgroup takes a row.
@compute @workgroup_size(GATHERERS)
fn pick_candidate(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group_number(group, groups);
  let count = candidate_count();
  if (row < matrix.rows) {
    for (var index = lane; index < 2u * count; index += GATHERERS) {
      gathered[index] = bitcast<u32>(ordered_sum(row, index, 2u * count));
    }
  }
  workgroupBarrier();
  if (lane != 0u || row >= matrix.rows || !is_regular(states[row].extremes)) {
    return;
  }
  let extremes = states[row].extremes;
  let plain = states[row].plain;
  let unit = unit_of(extremes);
  var best = no_best(plain.zero_point);
  for (var index = 0u; index < count; index++) {
    let candidate = candidate_at(index, unit, plain.zero_point);
    if (candidate.valid) {
      let sum_uq = bitcast<f32>(gathered[2u * index]);
      let sum_qq = bitcast<f32>(gathered[2u * index + 1u]);
      best = better(best, sum_uq, sum_qq, candidate.zero_point);
    }
  }
  if (plain.saturated == 0u) {
    states[row].trial = searched_choice(best, extremes.magnitude);
  }
}

// Sums the errors of both choices over every run.
@compute @workgroup_size(THREADS)
fn sum_errors(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let place = stage_normalized(group_number(group, groups), lane);
  if (!place.valid || states[place.row].trial.scale == 0.0) {
    return;
  }
  let down = down_of(states[place.row].extremes.magnitude);
  let slot = slot_of(place) * 2u;
  let plain_error = squared_error(place.run, lane, states[place.row].plain, down);
  let error = squared_error(place.run, lane, states[place.row].trial, down);
  partials[slot] = bitcast<u32>(plain_error);
  partials[slot + 1u] = bitcast<u32>(error);
}

// Takes the search's choice where it is a gain; a workgroup takes a row.
@compute @workgroup_size(GATHERERS)
fn pick_choice(
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
  if (is_gain(bitcast<f32>(gathered[1]), bitcast<f32>(gathered[0]))) {
    states[row].best = states[row].trial;
  }
}
