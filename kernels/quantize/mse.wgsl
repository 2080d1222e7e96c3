// The search for the scale, and the zero point where there is one, of least squared error. For
// given signed codes q of the weights x the best scale is sum(x q) / sum(q q) and the error is then
// sum(x x) - sum(x q)^2 / sum(q q), so that a candidate serves only to make codes. The search sees
// weights as integers of a few hundred units a step, whose sums are exact.

// Shares of the importance that each column has, of up to 64; used where columns count differently.
@group(0) @binding(8) var<storage, read> importance: array<vec4f>;

// Reciprocals of candidate scales are multiples of 1 / STEP.
const STEP = 32768.0;

// A block's integers: what takes normalized weights to them, and what the candidates span.
struct Integers {
  unit: f32,
  extent: f32,
}

// What codes are made with to be judged.
struct Candidate {
  // Reciprocal of the scale of the integers, times STEP: an integer.
  inverse: f32,
  zero_point: u32,
  valid: bool,
}

// Sums over a candidate's codes: of x q, and of q q.
struct Sums {
  xq: f32,
  qq: f32,
}

// The best candidate so far.
struct Best {
  square: f32,
  sums: Sums,
  inverse: f32,
  zero_point: u32,
}

// That of rounding to nearest, and those of the grids.
fn candidate_count() -> u32 {
  return 1u + matrix.grid_count * select(3u, 2u, is_symmetric());
}

fn integers_of(extremes: Extremes) -> Integers {
  let down = down_of(extremes.magnitude);
  var extent = -(signed_largest(extremes) * down);
  if (!is_symmetric()) {
    extent = opaque(opaque(extremes.high * down) - opaque(extremes.low * down));
  }
  return Integers(opaque(divide(1.0, extent) * matrix.span), extent);
}

// The scale of the integers that a stored one is.
fn integer_scale(scale: f32, magnitude: u32, integers: Integers) -> f32 {
  return opaque(opaque(scale * down_of(magnitude)) * integers.unit);
}

// The candidate of rounding to nearest.
fn plain_candidate(plain: Choice, magnitude: u32, integers: Integers) -> Candidate {
  let scale = integer_scale(plain.scale, magnitude, integers);
  var inverse = 0.0;
  if (scale != 0.0) {
    inverse = round(divide(STEP, scale));
  }
  return Candidate(inverse, plain.zero_point, true);
}

// Candidate `index` after that. Symmetric: the scales that bring the largest weight near the lowest
// code, then those near the highest. Asymmetric: the scales with the zero point of rounding to
// nearest, then one less, then one more.
fn candidate_at(index: u32, plain: Candidate) -> Candidate {
  if (index == 0u) {
    return plain;
  }
  let series = (index - 1u) / matrix.grid_count;
  let place = f32(index - 1u - series * matrix.grid_count) * matrix.grid_step;
  if (is_symmetric()) {
    let inverse = select(matrix.grid_lower + place, -(matrix.grid_upper + place), series == 1u);
    return candidate_of(inverse, i32(center()));
  }
  var shifted = i32(plain.zero_point);
  if (series == 1u) {
    shifted -= 1;
  } else if (series == 2u) {
    shifted += 1;
  }
  return candidate_of(matrix.grid_lower + place, shifted);
}

// The candidate of a reciprocal and a zero point, which is valid where it is a code.
fn candidate_of(inverse: f32, zero_point: i32) -> Candidate {
  let valid = zero_point >= 0 && zero_point <= i32(highest());
  return Candidate(inverse, u32(max(zero_point, 0)), valid);
}

fn no_best(plain: Candidate) -> Best {
  return Best(0.0, Sums(0.0, 1.0), plain.inverse, plain.zero_point);
}

// The better one of `best` and a candidate with these sums; of equally good ones the first.
fn better(best: Best, sums: Sums, candidate: Candidate) -> Best {
  let square = opaque(sums.xq * sums.xq);
  if (square * best.sums.qq > best.square * sums.qq) {
    return Best(square, sums, candidate.inverse, candidate.zero_point);
  }
  return best;
}

// How far the squared error falls by codes of these sums with `scale`.
fn gain_of(sums: Sums, scale: f32) -> f32 {
  return opaque(scale * opaque(sums.xq * 2.0 - opaque(scale * sums.qq)));
}

// The choice that a search led to, where it gains more than the integers are off; else `plain`, whose
// own codes have `plain_sums`.
fn choice_of(best: Best, plain: Choice, plain_sums: Sums, magnitude: u32, integers: Integers) -> Choice {
  if (best.square == 0.0) {
    return plain;
  }
  let normalized = opaque(divide(best.sums.xq, best.sums.qq) * integers.extent);
  let scale = opaque(normalized * matrix.span_inverse) * up_of(magnitude);
  let searched = store_choice(scale, best.zero_point);
  if (searched.scale == 0.0) {
    return plain;
  }
  let plain_scale = integer_scale(plain.scale, magnitude, integers);
  let required = opaque(opaque(plain_scale * plain_scale) * matrix.required_gain);
  let limit = opaque(gain_of(plain_sums, plain_scale) + required);
  if (gain_of(best.sums, integer_scale(searched.scale, magnitude, integers)) > limit) {
    return searched;
  }
  return plain;
}

fn importance_at(i: u32, run: u32) -> vec4f {
  return importance[((matrix.first_run + run) * run_size()) / 4u + i];
}

// An integer as binary32, to nearest even, which a conversion alone need not be.
fn rounded(integer: i32) -> f32 {
  return f32(integer >> 12u) * 4096.0 + f32(integer & 4095);
}

// The sums of a candidate over run `run` of a row, which thread `lane` holds normalized. All in it is
// exact, codes included: products below 2^24 and their sums in 32 bits.
fn candidate_sums(run: u32, lane: u32, candidate: Candidate, integers: Integers) -> Sums {
  let least = vec4f(-f32(candidate.zero_point));
  let most = vec4f(f32(highest()) - f32(candidate.zero_point));
  var sum_xq = vec4i(0);
  var sum_qq = vec4i(0);
  for (var i = 0u; i < run_size() / 4u; i++) {
    let values = round(weights_at(i, lane) * integers.unit);
    let codes = min(max(floor(values * candidate.inverse * (1.0 / STEP) + 0.5), least), most);
    if (matrix.weighted == 1u) {
      let shares = importance_at(i, run);
      sum_xq += vec4i(values * shares * codes);
      sum_qq += vec4i(shares * codes * codes);
    } else {
      sum_xq += vec4i(values * codes);
      sum_qq += vec4i(codes * codes);
    }
  }
  return Sums(
    rounded(sum_xq.x + sum_xq.y + sum_xq.z + sum_xq.w) * matrix.sum_scale,
    rounded(sum_qq.x + sum_qq.y + sum_qq.z + sum_qq.w) * matrix.sum_scale,
  );
}
