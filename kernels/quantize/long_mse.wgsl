// Method `mse` of long blocks: the sums of all candidates in one pass over the weights, then the
// errors of the best one and of rounding to nearest in another.

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
  gather_sums(row, 2u * count, lane);
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
      let sum_uq = gathered_sum(2u * index);
      best = better(best, sum_uq, gathered_sum(2u * index + 1u), candidate);
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
  if (!is_on_trial(place)) {
    return;
  }
  let down = down_of(states[place.row].extremes.magnitude);
  let plain_error = squared_error(place.run, lane, states[place.row].plain, down);
  let error = squared_error(place.run, lane, states[place.row].trial, down);
  store_sums(place, vec2f(plain_error, error));
}

// Takes the search's choice where it is a gain; a workgroup takes a row.
@compute @workgroup_size(GATHERERS)
fn pick_choice(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group_number(group, groups);
  gather_sums(row, 2u, lane);
  if (is_judge(row, lane) && is_gain(gathered_sum(1u), gathered_sum(0u))) {
    states[row].best = states[row].trial;
  }
}
