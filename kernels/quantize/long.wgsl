// Quantizes blocks that are whole rows of any length: a thread takes a run of 256 weights, and what
// the runs find is gathered row by row between the passes. What all methods share: the extremes,
// the choice by rounding to nearest, and at the end the scales and the codes.

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
  let extremes = run_extremes(lane);
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

// Whether a thread has a run of a row with a choice on trial.
fn is_on_trial(place: Place) -> bool {
  return place.valid && states[place.row].trial.scale != 0.0;
}

// Stores two sums of a run where `ordered_sum` looks for them.
fn store_sums(place: Place, both: vec2f) {
  let slot = slot_of(place) * 2u;
  partials[slot] = bitcast<u32>(both.x);
  partials[slot + 1u] = bitcast<u32>(both.y);
}

// Gathers the `width` sums of a row, for `gathered_sum`. Every thread of the workgroup takes part.
fn gather_sums(row: u32, width: u32, lane: u32) {
  if (row < matrix.rows) {
    for (var index = lane; index < width; index += GATHERERS) {
      gathered[index] = bitcast<u32>(ordered_sum(row, index, width));
    }
  }
  workgroupBarrier();
}

fn gathered_sum(index: u32) -> f32 {
  return bitcast<f32>(gathered[index]);
}

// Whether this thread is the one that judges what was gathered of a row with a choice on trial.
fn is_judge(row: u32, lane: u32) -> bool {
  return lane == 0u && row < matrix.rows && states[row].trial.scale != 0.0;
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
    let first = matrix.first_code + place.run * run_size();
    let end = min(run_size(), matrix.block_length - (matrix.first_run + place.run) * run_size());
    put_run(place.row, first, end, lane, scale, choice.zero_point);
    if (matrix.measure == 1u) {
      let slot = place.row * matrix.runs + place.run;
      sums[slot] = vec4f(error_sums(lane, scale, choice.zero_point), up_of(magnitude));
    }
  }
  if (lane == 0u && number < matrix.groups) {
    atomicAdd(&tally.finished, 1u);
  }
}
