// Method `mse` of long blocks: the sums of all candidates in one pass over the weights.

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
  let integers = integers_of(extremes);
  let plain = plain_candidate(states[place.row].plain, extremes.magnitude, integers);
  let count = candidate_count();
  let slot = slot_of(place) * 2u * count;
  for (var index = 0u; index < count; index++) {
    let sums = candidate_sums(place.run, lane, candidate_at(index, plain), integers);
    partials[slot + 2u * index] = bitcast<u32>(sums.xq);
    partials[slot + 2u * index + 1u] = bitcast<u32>(sums.qq);
  }
}

// Finds the best candidate of a row and takes it where it is a gain; a workgroup takes a row.
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
  let plain = states[row].plain;
  if (plain.saturated == 1u) {
    return;
  }
  let extremes = states[row].extremes;
  let integers = integers_of(extremes);
  let candidate = plain_candidate(plain, extremes.magnitude, integers);
  let plain_sums = Sums(gathered_sum(0u), gathered_sum(1u));
  var best = no_best(candidate);
  for (var index = 0u; index < count; index++) {
    let next = candidate_at(index, candidate);
    if (next.valid) {
      best = better(best, Sums(gathered_sum(2u * index), gathered_sum(2u * index + 1u)), next);
    }
  }
  states[row].best = choice_of(best, plain, plain_sums, extremes.magnitude, integers);
}
