// Method `mse` of a short block, whose weights are staged and normalized.

// The better one of `best` and a candidate.
fn attempt(best: Best, candidate: Candidate, run: u32, lane: u32) -> Best {
  if (!candidate.valid) {
    return best;
  }
  let both = candidate_sums(run, lane, candidate);
  return better(best, both.x, both.y, candidate);
}

// The best asymmetric candidate: of every second step of the grid, then of the neighbouring zero
// points with these steps and those on both sides, then of the steps beside the best.
fn search_in_stages(none: Best, unit: f32, run: u32, lane: u32) -> Best {
  let half = matrix.grid_count / 2u;
  var best = none;
  var center_of_stage = none;
  for (var index = 0u; index < half + 8u; index++) {
    if (index == half || index == half + 6u) {
      center_of_stage = best;
    }
    var steps = center_of_stage.steps;
    var zero_point = i32(center_of_stage.zero_point);
    if (index < half) {
      steps = matrix.grid_lower + f32(2u * index + 1u) * matrix.grid_step;
    } else if (index < half + 6u) {
      let number = index - half;
      zero_point += select(-1, 1, (number & 1u) == 1u);
      if (number >= 2u) {
        steps += select(-matrix.grid_step, matrix.grid_step, number >= 4u);
      }
    } else {
      steps += select(-matrix.grid_step, matrix.grid_step, index > half + 6u);
    }
    best = attempt(best, candidate_of(unit, steps, zero_point), run, lane);
  }
  return best;
}

fn choose(plain: Choice, extremes: Extremes, run: u32, lane: u32) -> Choice {
  let unit = unit_of(extremes);
  var best = no_best(plain.zero_point);
  if (is_symmetric()) {
    let count = candidate_count();
    for (var index = 0u; index < count; index++) {
      best = attempt(best, candidate_at(index, unit, plain.zero_point), run, lane);
    }
  } else {
    best = search_in_stages(best, unit, run, lane);
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
