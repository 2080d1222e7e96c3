// Scale and zero point of a block, from its extremes: how scales are stored, and the choice by
// rounding to nearest. Past this file weights are normalized: multiplied by a power of two that
// brings the largest magnitude of their block into [1, 4).

// Magnitude bits of 2^-100, below which a block counts as zeros.
const SMALLEST_MAGNITUDE = 0x0d800000u;
// Magnitude bits of infinity, from which on a block is not finite.
const INFINITE_MAGNITUDE = 0x7f800000u;
// Magnitude bits of 2^126, the largest float32 scale.
const LARGEST_SCALE = 0x7e800000u;
// The largest finite float16.
const LARGEST_HALF = 0x7bffu;

// Least and greatest weight, and the bits of the largest magnitude, of a block or a part of one.
struct Extremes {
  low: f32,
  high: f32,
  magnitude: u32,
}

struct Choice {
  scale: f32,
  zero_point: u32,
  // 1 where the scale was too large for its type and was clamped.
  saturated: u32,
}

const NO_EXTREMES = Extremes(0.0, 0.0, 0u);

// The highest code.
fn highest() -> u32 {
  return (1u << code_bits()) - 1u;
}

// The zero point of a symmetric format.
fn center() -> u32 {
  return 1u << (code_bits() - 1u);
}

fn widen_extremes(extremes: Extremes, weights: vec4f) -> Extremes {
  let low = min(min(weights.x, weights.y), min(weights.z, weights.w));
  let high = max(max(weights.x, weights.y), max(weights.z, weights.w));
  let bits = bitcast<vec4u>(weights) & vec4u(0x7fffffffu);
  let magnitude = max(max(bits.x, bits.y), max(bits.z, bits.w));
  return Extremes(
    min(extremes.low, low),
    max(extremes.high, high),
    max(extremes.magnitude, magnitude),
  );
}

fn is_regular(extremes: Extremes) -> bool {
  return extremes.magnitude >= SMALLEST_MAGNITUDE && extremes.magnitude < INFINITE_MAGNITUDE;
}

fn exponent_of_block(magnitude: u32) -> u32 {
  return min(magnitude >> 23u, 253u);
}

// The power of two that normalizes a block.
fn down_of(magnitude: u32) -> f32 {
  return bitcast<f32>((254u - exponent_of_block(magnitude)) << 23u);
}

// Its reciprocal.
fn up_of(magnitude: u32) -> f32 {
  return bitcast<f32>(exponent_of_block(magnitude) << 23u);
}

// Magnitude bits below which weights count as zeros: of 2^-50 in a normalized block, and no less than
// the least normal number. A saturated block is not searched and keeps all but its subnormals.
fn least_of(magnitude: u32, saturated: u32) -> u32 {
  if (saturated == 1u) {
    return 1u << 23u;
  }
  return u32(max(i32(exponent_of_block(magnitude)) - 50, 1)) << 23u;
}

// The weight of largest magnitude; the negative one of two.
fn signed_largest(extremes: Extremes) -> f32 {
  return select(extremes.low, extremes.high, extremes.high > -extremes.low);
}

// The choice for blocks of zeros and for blocks that are not finite.
fn zero_choice() -> Choice {
  return Choice(0.0, select(0u, center(), is_symmetric()), 0u);
}

// The stored scale nearest to `scale`, which may be infinite; never -0.
fn store_choice(scale: f32, zero_point: u32) -> Choice {
  let sign = bitcast<u32>(scale) & 0x80000000u;
  let magnitude = bitcast<u32>(scale) & 0x7fffffffu;
  if (matrix.half_scales == 0u) {
    let stored = bitcast<f32>(sign | min(magnitude, LARGEST_SCALE));
    return Choice(stored, zero_point, u32(magnitude > LARGEST_SCALE));
  }
  let half = half_bits(bitcast<f32>(magnitude));
  if (half == 0u) {
    return Choice(0.0, zero_point, 0u);
  }
  let stored = bitcast<f32>(sign | bitcast<u32>(widen_half(min(half, LARGEST_HALF))));
  return Choice(stored, zero_point, u32(half > LARGEST_HALF));
}

// 1 / scale, or 0 for a scale of 0.
fn reciprocal(scale: f32) -> f32 {
  if (scale == 0.0) {
    return 0.0;
  }
  return divide(1.0, scale);
}

// Symmetric: the weight of largest magnitude maps on the code 0. Asymmetric: the range, zero
// included, spans all codes, and the zero point is the code nearest to zero.
fn choose_by_rounding(extremes: Extremes) -> Choice {
  if (is_symmetric()) {
    return store_choice(signed_largest(extremes) * (-1.0 / f32(center())), center());
  }
  let down = down_of(extremes.magnitude);
  let range = opaque(extremes.high * down) - opaque(extremes.low * down);
  let scale = divide(range, f32(highest())) * up_of(extremes.magnitude);
  let choice = store_choice(scale, 0u);
  let position = -extremes.low * reciprocal(choice.scale);
  let zero_point = u32(round(min(max(position, 0.0), f32(highest()))));
  return Choice(choice.scale, zero_point, choice.saturated);
}

// A choice as it is stored: a scale of 0 makes all of the block zeros.
fn settle(choice: Choice) -> Choice {
  if (choice.scale == 0.0) {
    return zero_choice();
  }
  return choice;
}

// Signed codes, that is codes minus the zero point, of four weights in units of the scale.
fn codes_at(positions: vec4f, zero_point: u32) -> vec4f {
  let least = vec4f(-f32(zero_point));
  let most = vec4f(f32(highest()) - f32(zero_point));
  return round(min(max(positions, least), most));
}

// Signed codes of four weights for a scale given by its reciprocal.
fn signed_codes(values: vec4f, inverse: f32, zero_point: u32) -> vec4f {
  return codes_at(values * inverse, zero_point);
}

// The extremes of the run of thread `lane`.
fn run_extremes(lane: u32) -> Extremes {
  var extremes = NO_EXTREMES;
  for (var i = 0u; i < run_size() / 4u; i++) {
    extremes = widen_extremes(extremes, weights_at(i, lane));
  }
  return extremes;
}

// Stores the codes of the first `count` weights of the run of thread `lane`, normalized as `scale`
// is, from weight `first` of block `block` on.
fn put_run(block: u32, first: u32, count: u32, lane: u32, scale: f32, zero_point: u32) {
  let inverse = reciprocal(scale);
  var writers = NOTHING_WRITTEN;
  for (var i = 0u; i < count / 4u; i++) {
    let signed = signed_codes(weights_at(i, lane), inverse, zero_point);
    let four = vec4u(vec4i(signed) + vec4i(i32(zero_point)));
    writers = put_codes(writers, block, first + 4u * i, four);
  }
  flush_codes(writers);
}

// The sum of a chunk from its four partial sums.
fn chunk_sum(partial: vec4f) -> f32 {
  return opaque(partial.x + partial.y) + opaque(partial.z + partial.w);
}

// Sums of w w, (w - v) (w - v) and w v over the run of thread `lane`, of normalized weights w and
// their dequantized values v; `scale` is normalized as well.
fn error_sums(lane: u32, scale: f32, zero_point: u32) -> vec3f {
  let inverse = reciprocal(scale);
  var signal = vec4f(0.0);
  var noise = vec4f(0.0);
  var product = vec4f(0.0);
  for (var i = 0u; i < run_size() / 4u; i++) {
    let weights = weights_at(i, lane);
    let values = opaque4(scale * signed_codes(weights, inverse, zero_point));
    let difference = opaque4(weights - values);
    signal += weights * weights;
    noise += difference * difference;
    product += weights * values;
  }
  return vec3f(chunk_sum(signal), chunk_sum(noise), chunk_sum(product));
}
