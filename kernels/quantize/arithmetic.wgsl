// Binary32 arithmetic that gives the same bits on every adapter, as docs/arithmetic.md defines it.
// WGSL promises less than that: a division may be off by 2.5 ULP, a product and a sum may be fused
// into one rounding, and packing to float16 may round either way. Every other file in this folder
// builds on this one.

// Always 0, which no compiler can know.
@group(0) @binding(0) var<uniform> runtime_zero: u32;

// A product or a sum on its way into another. Across an integer operation a product can't be fused
// with a sum, (a + b) - a can't be taken for b, nor a * (b * c) for (a * b) * c, all of which
// drivers do.
fn opaque(value: f32) -> f32 {
  return bitcast<f32>(bitcast<u32>(value) ^ runtime_zero);
}

// The same for four values.
fn opaque4(value: vec4f) -> vec4f {
  return bitcast<vec4f>(bitcast<vec4u>(value) ^ vec4u(runtime_zero));
}

// a / b rounded to nearest even, subnormal operands and results included. b is neither zero nor
// infinite, and neither is NaN. The adapter's own quotient of the mantissas is only a first guess, which the
// exact remainder corrects.
fn divide(a: f32, b: f32) -> f32 {
  let sign = (bitcast<u32>(a) ^ bitcast<u32>(b)) & 0x80000000u;
  var dividend = bitcast<u32>(a) & 0x7fffffffu;
  var divisor = bitcast<u32>(b) & 0x7fffffffu;
  if (dividend == 0u || dividend >= 0x7f800000u) {
    return bitcast<f32>(sign | dividend);
  }
  let dividend_exponent = exponent_of(dividend);
  let divisor_exponent = exponent_of(divisor);
  dividend = mantissa_of(dividend);
  divisor = mantissa_of(divisor);
  let less = dividend < divisor;
  let shift = select(23u, 24u, less);
  var exponent = dividend_exponent - divisor_exponent + select(127, 126, less);

  let scale = select(8388608.0, 16777216.0, less);
  var quotient = u32((f32(dividend) / f32(divisor)) * scale);
  // The true remainder is small, so its low 32 bits are all of it.
  var remainder = bitcast<i32>((dividend << shift) - quotient * divisor);
  for (var i = 0; i < 8; i++) {
    if (remainder < 0) {
      quotient -= 1u;
      remainder += i32(divisor);
    } else if (remainder >= i32(divisor)) {
      quotient += 1u;
      remainder -= i32(divisor);
    } else {
      break;
    }
  }
  if (exponent >= 1) {
    let twice = 2 * remainder;
    if (twice > i32(divisor) || (twice == i32(divisor) && (quotient & 1u) == 1u)) {
      quotient += 1u;
    }
    // The mantissa's leading bit adds 1 to the exponent, and so does a carry out of it.
    let bits = (u32(exponent - 1) << 23u) + quotient;
    return bitcast<f32>(sign | min(bits, 0x7f800000u) | select(0u, 0x7f800000u, exponent >= 255));
  }
  let places = u32(1 - exponent);
  if (places > 24u) {
    return bitcast<f32>(sign);
  }
  let half = 1u << (places - 1u);
  let dropped = quotient & (2u * half - 1u);
  quotient >>= places;
  if (dropped > half || (dropped == half && (remainder != 0 || (quotient & 1u) == 1u))) {
    quotient += 1u;
  }
  return bitcast<f32>(sign | quotient);
}

// Biased exponent of the magnitude bits of a binary32, 0 and less for subnormals.
fn exponent_of(magnitude: u32) -> i32 {
  let exponent = i32(magnitude >> 23u);
  return select(exponent, 9 - i32(countLeadingZeros(magnitude)), exponent == 0);
}

// Mantissa of the magnitude bits of a binary32 other than zero, in 2^23 .. 2^24 - 1.
fn mantissa_of(magnitude: u32) -> u32 {
  let normal = (magnitude & 0x7fffffu) | 0x800000u;
  let subnormal = magnitude << ((countLeadingZeros(magnitude) - 8u) & 31u);
  return select(normal, subnormal, magnitude < 0x800000u);
}

// Bits of the binary16 nearest to the binary32 `value`, ties to even; infinity past 65504.
fn half_bits(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  if (magnitude >= 0x47800000u) {
    return sign | 0x7c00u;
  }
  if (magnitude >= 0x38800000u) {
    let rebiased = magnitude - 0x38000000u;
    return sign | ((rebiased + 0xfffu + ((rebiased >> 13u) & 1u)) >> 13u);
  }
  let places = 126u - (magnitude >> 23u);
  if (places > 24u) {
    return sign;
  }
  let mantissa = (magnitude & 0x7fffffu) | 0x800000u;
  let half = 1u << (places - 1u);
  return sign | ((mantissa + half - 1u + ((mantissa >> places) & 1u)) >> places);
}

// Value of the binary16 with these bits, exactly.
fn widen_half(bits: u32) -> f32 {
  let sign = (bits & 0x8000u) << 16u;
  let exponent = (bits >> 10u) & 31u;
  let mantissa = bits & 0x3ffu;
  if (exponent == 0u) {
    // 2^-24 times an integer below 2^10 is a normal binary32.
    return bitcast<f32>(sign | bitcast<u32>(f32(mantissa) * 5.9604644775390625e-8));
  }
  let rebiased = select((exponent + 112u) << 23u, 0x7f800000u, exponent == 31u);
  return bitcast<f32>(sign | rebiased | (mantissa << 13u));
}

// Value of the bfloat16 with these bits, exactly.
fn widen_bfloat(bits: u32) -> f32 {
  return bitcast<f32>(bits << 16u);
}
