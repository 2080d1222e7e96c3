// Method `mse` of a short block, whose weights are staged and normalized.

// ---- header: plain stand-ins for choice.wgsl and mse.wgsl
struct Extremes {
  low: f32,
  high: f32,
  magnitude: u32,
}

struct Choice {
  scale: f32,
  zero_point: u32,
  saturated: u32,
}

struct Candidate {
  inverse: f32,
  zero_point: u32,
  valid: bool,
}

struct Best {
  square: f32,
}

fn down_of(magnitude: u32) -> f32 {
  return 1.0;
}

fn candidate_count() -> u32 {
  return 1u;
}

fn unit_of(extremes: Extremes) -> f32 {
  return 1.0;
}

fn candidate_at(index: u32, unit: f32, zero_point: u32) -> Candidate {
  return Candidate(unit, zero_point, true);
}

fn candidate_sums(run: u32, lane: u32, candidate: Candidate) -> vec2f {
  return vec2f(candidate.inverse);
}

fn no_best(zero_point: u32) -> Best {
  return Best(0.0);
}

fn better(best: Best, sum_uq: f32, sum_qq: f32, zero_point: u32) -> Best {
  return best;
}

fn searched_choice(best: Best, magnitude: u32) -> Choice {
  return Choice(best.square, 0u, 0u);
}

fn squared_error(run: u32, lane: u32, choice: Choice, down: f32) -> f32 {
  return choice.scale;
}

fn is_gain(error: f32, plain_error: f32) -> bool {
  return error < plain_error;
}

// ---- core
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
