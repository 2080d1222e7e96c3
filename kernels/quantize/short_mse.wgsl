// Method `mse` of a short block, whose weights are staged and normalized.

// The best asymmetric candidate: of the coarse steps, then of the neighbouring zero points with the
// best steps, then of the steps beside the best.
fn search_in_stages(plain: Best, run: u32, lane: u32, integers: Integers) -> Best {
  let coarse = matrix.grid_count;
  var best = plain;
  var center_of_stage = plain;
  for (var index = 0u; index < coarse + 4u; index++) {
    if (index == coarse || index == coarse + 2u) {
      center_of_stage = best;
    }
    var inverse = center_of_stage.inverse;
    var zero_point = i32(center_of_stage.zero_point);
    let sign = select(-1, 1, ((index - coarse) & 1u) == 1u);
    if (index < coarse) {
      inverse = matrix.coarse[index / 4u][index % 4u];
    } else if (index < coarse + 2u) {
      zero_point += sign;
    } else {
      inverse += f32(sign) * matrix.grid_step;
    }
    best = attempt(best, candidate_of(inverse, zero_point), run, lane, integers);
  }
  return best;
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
    best = search_in_stages(best, run, lane, integers);
  }
  return choice_of(best, plain, plain_sums, extremes.magnitude, integers);
}
