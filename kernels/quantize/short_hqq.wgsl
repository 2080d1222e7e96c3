// Method `hqq` of a short block, whose weights are staged and normalized.

fn choose(plain: Choice, extremes: Extremes, run: u32, lane: u32) -> Choice {
  // Weights without padding.
  let count = min(run_size(), matrix.columns - run * run_size());
  let down = down_of(extremes.magnitude);
  if (plain.scale == 0.0) {
    return plain;
  }
  var best = plain;
  var least_norm = 0.0;
  var first = true;
  for (var start = 0u; start < select(1u, 2u, is_symmetric()); start++) {
    var choice = plain;
    if (start == 1u) {
      choice = mirrored(extremes);
    }
    for (var iteration = 0u; iteration <= LAST_ITERATION && choice.scale != 0.0; iteration++) {
      let both = norm_sums(lane, choice, down, iteration);
      let norm = norm_of(both.x, choice, down);
      if (first || norm < least_norm) {
        best = choice;
        least_norm = norm;
        first = false;
      }
      if (iteration < LAST_ITERATION) {
        if (!is_symmetric()) {
          choice.zero_point = shifted_zero_point(choice.zero_point, both.y, count);
        }
        let fit = fit_sums(lane, choice, down, iteration);
        choice = refitted(choice, fit.x, fit.y, extremes.magnitude);
      }
    }
  }
  return best;
}
