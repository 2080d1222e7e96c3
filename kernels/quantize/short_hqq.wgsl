// Method `hqq` of a short block, whose weights are staged and normalized.

// ---- header: plain stand-ins for matrix.wgsl, choice.wgsl and hqq.wgsl
const LAST_ITERATION = 8u;

struct Matrix {
  columns: u32,
}

@group(0) @binding(1) var<uniform> matrix: Matrix;

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

fn down_of(magnitude: u32) -> f32 {
  return 1.0;
}

fn norm_sums(lane: u32, choice: Choice, down: f32, iteration: u32) -> vec2f {
  return vec2f(down);
}

fn fit_sums(lane: u32, choice: Choice, down: f32, iteration: u32) -> vec2f {
  return vec2f(down);
}

fn norm_of(sum: f32, choice: Choice, down: f32) -> f32 {
  return sum;
}

fn shifted_zero_point(zero_point: u32, excess: f32, count: u32) -> u32 {
  return zero_point;
}

fn refitted(choice: Choice, sum_tq: f32, sum_qq: f32, magnitude: u32) -> Choice {
  return choice;
}

fn mirrored(extremes: Extremes) -> Choice {
  return Choice(extremes.low, 0u, 0u);
}

fn run_size() -> u32 {
  return 32u;
}

fn is_symmetric() -> bool {
  return false;
}

// ---- core
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
