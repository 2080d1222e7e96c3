// The search for the scale, and the zero point where there is one, of least squared error. For
// given signed codes q of the weights u the best scale is sum(u q) / sum(q q) and the error is then
// sum(u u) - sum(u q)^2 / sum(q q), so that a candidate serves only to make codes.

// Importance of each column, 1 for the padding; used where columns count differently.
@group(0) @binding(8) var<storage, read> importance: array<vec4f>;

// A block's error must fall below this share of that of rounding to nearest: 1 - 2^-13.
const REQUIRED_GAIN = 0.9998779296875;

// What codes are made with to be judged.
struct Candidate {
  // Reciprocal of the scale: the unit times as many steps, of either sign.
  inverse: f32,
  steps: f32,
  zero_point: u32,
  valid: bool,
}

// The best candidate so far.
struct Best {
  square: f32,
  sum_uq: f32,
  sum_qq: f32,
  steps: f32,
  zero_point: u32,
}

fn candidate_count() -> u32 {
  return matrix.grid_count * select(3u, 2u, is_symmetric());
}

// Reciprocal of one code step of the candidates: of the largest weight or of the range.
fn unit_of(extremes: Extremes) -> f32 {
  let down = down_of(extremes.magnitude);
  if (is_symmetric()) {
    return divide(1.0, -(signed_largest(extremes) * down));
  }
  return divide(1.0, opaque(extremes.high * down) - opaque(extremes.low * down));
}

// Candidate `index`. Symmetric: the scales that bring the largest weight near the lowest code, then
// those near the highest. Asymmetric: the scales with the zero point of rounding to nearest, then
// one less, then one more.
fn candidate_at(index: u32, unit: f32, zero_point: u32) -> Candidate {
  let series = index / matrix.grid_count;
  let place = f32(index - series * matrix.grid_count) * matrix.grid_step;
  if (is_symmetric()) {
    if (series == 0u) {
      return candidate_of(unit, matrix.grid_lower + place, i32(center()));
    }
    return candidate_of(unit, -(matrix.grid_upper + place), i32(center()));
  }
  var shifted = i32(zero_point);
  if (series == 1u) {
    shifted -= 1;
  } else if (series == 2u) {
    shifted += 1;
  }
  return candidate_of(unit, matrix.grid_lower + place, shifted);
}

// The candidate of a number of steps and a zero point, which is valid where it is a code.
fn candidate_of(unit: f32, steps: f32, zero_point: i32) -> Candidate {
  let valid = zero_point >= 0 && zero_point <= i32(highest());
  return Candidate(opaque(unit * steps), steps, u32(max(zero_point, 0)), valid);
}

fn no_best(zero_point: u32) -> Best {
  return Best(0.0, 0.0, 1.0, matrix.grid_lower + matrix.grid_step, zero_point);
}

// The better one of `best` and a candidate with these sums; of equally good ones the first.
fn better(best: Best, sum_uq: f32, sum_qq: f32, candidate: Candidate) -> Best {
  let uq = sum_uq * matrix.sum_scale;
  let qq = sum_qq * matrix.sum_scale;
  let square = opaque(uq * uq);
  if (square * best.sum_qq > best.square * qq) {
    return Best(square, uq, qq, candidate.steps, candidate.zero_point);
  }
  return best;
}

// The choice that `best` leads to; a scale of 0 where there is none.
fn searched_choice(best: Best, magnitude: u32) -> Choice {
  if (best.square == 0.0) {
    return Choice(0.0, best.zero_point, 0u);
  }
  let scale = divide(best.sum_uq, best.sum_qq) * up_of(magnitude);
  return store_choice(scale, best.zero_point);
}

fn is_gain(error: f32, plain_error: f32) -> bool {
  return error < plain_error * REQUIRED_GAIN;
}

fn importance_at(i: u32, run: u32) -> vec4f {
  return importance[((matrix.first_run + run) * run_size()) / 4u + i];
}

// Sums of u q and of q q over run `run` of a row, which thread `lane` holds normalized.
fn candidate_sums(run: u32, lane: u32, candidate: Candidate) -> vec2f {
  var sum_uq = vec4f(0.0);
  var sum_qq = vec4f(0.0);
  for (var i = 0u; i < run_size() / 4u; i++) {
    let values = weights_at(i, lane);
    let codes = signed_codes(values, candidate.inverse, candidate.zero_point);
    if (matrix.weighted == 1u) {
      let counts = importance_at(i, run);
      sum_uq += opaque4(opaque4(counts * values) * codes);
      sum_qq += opaque4(opaque4(counts * codes) * codes);
    } else {
      sum_uq += opaque4(values * codes);
      // Exact, so that it may be fused.
      sum_qq += codes * codes;
    }
  }
  return vec2f(chunk_sum(sum_uq), chunk_sum(sum_qq));
}

// Sum of the squared errors over run `run` of a row, which thread `lane` holds normalized by `down`.
fn squared_error(run: u32, lane: u32, choice: Choice, down: f32) -> f32 {
  let scale = choice.scale * down;
  let inverse = reciprocal(scale);
  var sum = vec4f(0.0);
  for (var i = 0u; i < run_size() / 4u; i++) {
    let values = weights_at(i, lane);
    let codes = signed_codes(values, inverse, choice.zero_point);
    let difference = opaque4(values - opaque4(scale * codes));
    if (matrix.weighted == 1u) {
      sum += opaque4(opaque4(importance_at(i, run) * difference) * difference);
    } else {
      sum += opaque4(difference * difference);
    }
  }
  return chunk_sum(sum);
}
