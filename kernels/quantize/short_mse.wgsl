// Method `mse` of a short block, whose weights are staged and normalized.

// The best asymmetric candidate: of the coarse steps, then of the zero point with which both ends are
// clipped more evenly and of the steps towards the best candidate's own best scale.
fn search_in_stages(plain: Best, extremes: Extremes, run: u32, lane: u32, integers: Integers) -> Best {
  let zero_point = i32(plain.zero_point);
  var best = plain;
  for (var index = 0u; index < matrix.grid_count; index++) {
    let steps = matrix.coarse[index / 4u][index % 4u];
    best = attempt(best, candidate_of(steps, zero_point), run, lane, integers);
  }
  let coarse = best;
  let even = zero_point + towards_center(extremes, integers, coarse.inverse, zero_point);
  best = attempt(best, candidate_of(coarse.inverse, even), run, lane, integers);
  let grows = opaque(coarse.sums.xq * coarse.inverse) > coarse.sums.qq * STEP;
  let steps = coarse.inverse + select(matrix.grid_step, -matrix.grid_step, grows);
  return attempt(best, candidate_of(steps, zero_point), run, lane, integers);
}

// Where the zero point lies with which both ends are clipped more evenly.
fn towards_center(extremes: Extremes, integers: Integers, inverse: f32, zero_point: i32) -> i32 {
  let down = down_of(extremes.magnitude);
  let low = round(opaque(extremes.low * down) * integers.unit);
  let high = round(opaque(extremes.high * down) * integers.unit);
  let codes = floor((low + high) * inverse * (1.0 / STEP) + 0.5);
  return select(1, -1, codes > f32(i32(highest()) - 2 * zero_point));
}

// The better one of `best` and a candidate.
fn attempt(best: Best, candidate: Candidate, run: u32, lane: u32, integers: Integers) -> Best {
  if (!candidate.valid) {
    return best;
  }
  return better(best, candidate_sums(run, lane, candidate, integers), candidate);
}

fn choose(plain: Choice, extremes: Extremes, run: u32, lane: u32) -> Choice {
  let integers = integers_of(extremes);
  let candidate = plain_candidate(plain, extremes.magnitude, integers);
  let plain_sums = candidate_sums(run, lane, candidate, integers);
  var best = better(no_best(candidate), plain_sums, candidate);
  if (is_symmetric()) {
    let count = candidate_count();
    for (var index = 1u; index < count; index++) {
      best = attempt(best, candidate_at(index, candidate), run, lane, integers);
    }
  } else {
    best = search_in_stages(best, extremes, run, lane, integers);
  }
  return choice_of(best, plain, plain_sums, extremes.magnitude, integers);
}
