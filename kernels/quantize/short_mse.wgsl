// Method `mse` of a short block, whose weights are staged and normalized.

fn choose(plain: Choice, extremes: Extremes, run: u32, lane: u32) -> Choice {
  let unit = unit_of(extremes);
  var best = no_best(plain.zero_point);
  let count = candidate_count();
  for (var index = 0u; index < count; index++) {
    let candidate = candidate_at(index, unit, plain.zero_point);
    if (candidate.valid) {
      let both = candidate_sums(run, lane, candidate);
      best = better(best, both.x, both.y, candidate.zero_point);
    }
  }
  let searched = searched_choice(best, extremes.magnitude);
  if (searched.scale == 0.0) {
    return plain;
  }
  let down = down_of(extremes.magnitude);
  let plain_error = squared_error(run, lane, plain, down);
  if (is_gain(squared_error(run, lane, searched, down), plain_error)) {
    return searched;
  }
  return plain;
}
