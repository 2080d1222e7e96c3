// Method `hqq` of long blocks. A round is four passes: the norms of the choice on trial, its
// judgement, the fit, the next choice. Rows that have ended wait for the others.

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
  if (!is_on_trial(place)) {
    return;
  }
  let down = down_of(states[place.row].extremes.magnitude);
  let iteration = states[place.row].iterations % ITERATIONS;
  let both = norm_sums(lane, states[place.row].trial, down, iteration);
  store_sums(place, both);
}

// Keeps the choice on trial where it is the best, and moves its zero point; a workgroup takes a row.
@compute @workgroup_size(GATHERERS)
fn judge(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group_number(group, groups);
  gather_sums(row, 2u, lane);
  if (!is_judge(row, lane)) {
    return;
  }
  let trial = states[row].trial;
  let down = down_of(states[row].extremes.magnitude);
  let norm = norm_of(gathered_sum(0u), trial, down);
  if (states[row].iterations == 0u || norm < states[row].least_norm) {
    states[row].best = trial;
    states[row].least_norm = norm;
  }
  if (!is_symmetric() && states[row].iterations % ITERATIONS != LAST_ITERATION) {
    let moved = shifted_zero_point(trial.zero_point, gathered_sum(1u), matrix.row_columns);
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
  if (!is_on_trial(place)) {
    return;
  }
  let down = down_of(states[place.row].extremes.magnitude);
  let iteration = states[place.row].iterations % ITERATIONS;
  let both = fit_sums(lane, states[place.row].trial, down, iteration);
  store_sums(place, both);
}

// Makes the next choice, or goes to the other start; a workgroup takes a row.
@compute @workgroup_size(GATHERERS)
fn refit(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group_number(group, groups);
  gather_sums(row, 2u, lane);
  if (!is_judge(row, lane)) {
    return;
  }
  let iterations = states[row].iterations;
  let extremes = states[row].extremes;
  var next = states[row].trial;
  next.scale = 0.0;
  if (iterations % ITERATIONS != LAST_ITERATION) {
    next = refitted(states[row].trial, gathered_sum(0u), gathered_sum(1u), extremes.magnitude);
  }
  if (next.scale == 0.0 && is_symmetric() && iterations < ITERATIONS) {
    states[row].trial = mirrored(extremes);
    states[row].iterations = ITERATIONS;
  } else {
    states[row].trial = next;
    states[row].iterations = iterations + 1u;
  }
}
