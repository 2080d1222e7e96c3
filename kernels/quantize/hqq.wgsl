// Half-quadratic quantization: iterations that shrink the errors of a block and fit its scale, and
// its zero point where there is one, to what is left.

// Iterations from a start, the last of which only judges.
const LAST_ITERATION = 8u;

// Least scale of a normalized block that is iterated with.
const LEAST_SCALE = 0.0000152587890625;

// Where the tables begin.
const POWER_OF_EXPONENT = 0u;
const POWER_OF_FRACTION = 27u;
const SHRINKAGE = 59u;

// 2^(-0.3 e) for e in -16 .. 10; x^-0.3 in the middle of 32 segments of [1, 2); what the shrinkage
// takes off in each iteration.
@group(0) @binding(9) var<uniform> tables: array<vec4f, 17>;

fn table(index: u32) -> f32 {
  return tables[index >> 2u][index & 3u];
}

// About x^-0.3 of a positive x, which counts as 2^-16 below it and 2^11 above.
fn inverse_power(x: f32) -> f32 {
  let bits = min(max(bitcast<u32>(x), 111u << 23u), (138u << 23u) - 1u);
  let exponent = table(POWER_OF_EXPONENT + (bits >> 23u) - 111u);
  return opaque(exponent * table(POWER_OF_FRACTION + ((bits >> 18u) & 31u)));
}

fn inverse_powers(x: vec4f) -> vec4f {
  return vec4f(inverse_power(x.x), inverse_power(x.y), inverse_power(x.z), inverse_power(x.w));
}

// Four weights in units of the scale, and how their codes miss them.
struct Split {
  positions: vec4f,
  codes: vec4f,
  errors: vec4f,
  magnitudes: vec4f,
  // power(|x|) of the errors x.
  powers: vec4f,
}

fn split_at(i: u32, lane: u32, inverse: f32, zero_point: u32) -> Split {
  let positions = opaque4(weights_at(i, lane) * inverse);
  let codes = codes_at(positions, zero_point);
  let errors = opaque4(positions - codes);
  let magnitudes = abs(errors);
  return Split(positions, codes, errors, magnitudes, inverse_powers(magnitudes));
}

// What the shrinkage of the errors leaves the codes to aim at.
fn targets_of(four: Split, shrinkage: f32) -> vec4f {
  let shrunk = four.magnitudes - opaque4(four.powers * shrinkage);
  let kept = opaque4(max(shrunk, vec4f(0.0)));
  return opaque4(four.positions - select(kept, -kept, four.errors < vec4f(0.0)));
}

// Sums over a run that thread `lane` holds normalized by `down`: of |x| power(|x|) of the errors x
// in units of the scale, and of the codes less their targets.
fn norm_sums(lane: u32, choice: Choice, down: f32, iteration: u32) -> vec2f {
  let inverse = reciprocal(choice.scale * down);
  let shrinkage = table(SHRINKAGE + min(iteration, LAST_ITERATION - 1u));
  var norm = vec4f(0.0);
  var excess = vec4f(0.0);
  for (var i = 0u; i < run_size() / 4u; i++) {
    let four = split_at(i, lane, inverse, choice.zero_point);
    norm += opaque4(four.magnitudes * four.powers);
    if (!is_symmetric()) {
      excess += opaque4(four.codes - targets_of(four, shrinkage));
    }
  }
  return vec2f(chunk_sum(norm), chunk_sum(excess));
}

// Sums over a run of t q and of q q, of targets t and codes q.
fn fit_sums(lane: u32, choice: Choice, down: f32, iteration: u32) -> vec2f {
  let inverse = reciprocal(choice.scale * down);
  let shrinkage = table(SHRINKAGE + min(iteration, LAST_ITERATION - 1u));
  var sum_tq = vec4f(0.0);
  var sum_qq = vec4f(0.0);
  for (var i = 0u; i < run_size() / 4u; i++) {
    let four = split_at(i, lane, inverse, choice.zero_point);
    sum_tq += opaque4(targets_of(four, shrinkage) * four.codes);
    // Exact, so that it may be fused.
    sum_qq += four.codes * four.codes;
  }
  return vec2f(chunk_sum(sum_tq), chunk_sum(sum_qq));
}

// The norm of the errors of a block from their sum in units of the scale.
fn norm_of(sum: f32, choice: Choice, down: f32) -> f32 {
  let magnitude = abs(choice.scale * down);
  return sum * opaque(magnitude * inverse_power(magnitude));
}

// The zero point that brings the codes to their targets.
fn shifted_zero_point(zero_point: u32, excess: f32, count: u32) -> u32 {
  let shifted = f32(zero_point) + opaque(divide(excess, f32(count)));
  return u32(round(min(max(shifted, 0.0), f32(highest()))));
}

// The choice, with a scale of 0 where its scale is too small to be iterated with.
fn usable(choice: Choice, magnitude: u32) -> Choice {
  if (abs(choice.scale * down_of(magnitude)) < LEAST_SCALE) {
    return Choice(0.0, choice.zero_point, 0u);
  }
  return choice;
}

// The choice fitted to the targets; a scale of 0 where there is none.
fn refitted(choice: Choice, sum_tq: f32, sum_qq: f32, magnitude: u32) -> Choice {
  let tq = sum_tq * matrix.sum_scale;
  let qq = sum_qq * matrix.sum_scale;
  if (!(tq > 0.0)) {
    return Choice(0.0, choice.zero_point, 0u);
  }
  let scale = opaque((choice.scale * down_of(magnitude)) * divide(tq, qq));
  return usable(store_choice(scale * up_of(magnitude), choice.zero_point), magnitude);
}

// The start that maps the largest weight on the highest code.
fn mirrored(extremes: Extremes) -> Choice {
  let largest = signed_largest(extremes) * down_of(extremes.magnitude);
  let scale = divide(largest, f32(center() - 1u)) * up_of(extremes.magnitude);
  return usable(store_choice(scale, center()), extremes.magnitude);
}
