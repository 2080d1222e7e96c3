// Floats of 16 bits and fewer: their codes in words, decoded, encoded and rounded to. These stand after
// prelude.wgsl, whose functions they call; what is said there holds here. The same functions in
// JavaScript are in src/codegen/runtime/prelude_small_floats.js.

// The code of |x| in a small float without a largest exponent, rounded to the nearest, ties to even.
// `mantissaBits` up to 22; x is finite. Exact.
fn smallFloatMagnitude(x: f32, mantissaBits: u32, bias: i32) -> u32 {
  let bits = bitcast<u32>(x) & 0x7fffffffu;
  let isNormal = bits >= 0x800000u;
  let mantissa = select(bits, (bits & 0x7fffffu) | 0x800000u, isNormal);
  let exponent = i32(max(bits >> 23u, 1u)) - 127 + bias;
  // Below exponent 1 the mantissa loses bits instead.
  let low = max(exponent, 1);
  let shift = min(u32(low - exponent) + 23u - mantissaBits, 31u);
  let quotient = mantissa >> shift;
  let rest = mantissa & ((1u << shift) - 1u);
  let half = 1u << (shift - 1u);
  let up = select(0u, 1u, rest > half || (rest == half && (quotient & 1u) == 1u));
  return (u32(low - 1) << mantissaBits) + quotient + up;
}

// The value of a small float whose exponent `exponent` and mantissa are not special. Exact.
fn smallFloatValue(code: u32, exponentBits: u32, mantissaBits: u32, bias: i32) -> f32 {
  let exponent = extractBits(code, mantissaBits, exponentBits);
  let mantissa = extractBits(code, 0u, mantissaBits);
  let sign = extractBits(code, mantissaBits + exponentBits, 1u) << 31u;
  let normal = (u32(i32(exponent) + 127 - bias) << 23u) | (mantissa << (23u - mantissaBits));
  let unit = bitcast<f32>(u32(128 - bias - i32(mantissaBits)) << 23u);
  let low = bitcast<u32>(f32(mantissa) * unit);
  return bitcast<f32>(select(low, normal, exponent > 0u) | sign);
}

// Float16: IEEE 754 binary16. Exact, subnormals too.
fn decodeF16(code: u32) -> f32 {
  let magnitude = code & 0x7fffu;
  let low = bitcast<u32>(f32(magnitude) * 5.9604645e-8);
  let normal = (magnitude << 13u) + select(0x38000000u, 0x70000000u, magnitude >= 0x7c00u);
  return bitcast<f32>(select(normal, low, magnitude < 0x400u) | ((code & 0x8000u) << 16u));
}

// To float16: nearest, ties to even, past 65520 infinity. Exact.
fn encodeF16(x: f32) -> u32 {
  let sign = (bitcast<u32>(x) >> 16u) & 0x8000u;
  if (isNan(x)) {
    return sign | 0x7e00u;
  }
  if (isInf(x)) {
    return sign | 0x7c00u;
  }
  return sign | min(smallFloatMagnitude(x, 10u, 15), 0x7c00u);
}

// The float16 nearest to x, as f32.
fn roundF16(x: f32) -> f32 {
  return decodeF16(encodeF16(x));
}

// Bfloat16: the upper half of a float32. Exact.
fn decodeBF16(code: u32) -> f32 {
  return bitcast<f32>(code << 16u);
}

// To bfloat16: nearest, ties to even. Exact.
fn encodeBF16(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  if (isNan(x)) {
    return ((bits >> 16u) & 0x8000u) | 0x7fc0u;
  }
  return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}

// The bfloat16 nearest to x, as f32.
fn roundBF16(x: f32) -> f32 {
  return decodeBF16(encodeBF16(x));
}

// The eight-bit floats are those of ONNX (docs/docsgen/source/technical/float8.md) and round as its
// Cast: with `saturate`, what is too large becomes the largest number, without it infinity or NaN.

// Four bits of exponent, three of mantissa, no infinity, NaN 0x7f and 0xff. Exact.
fn decodeFloat8e4m3fn(code: u32) -> f32 {
  let value = smallFloatValue(code, 4u, 3u, 7);
  return select(value, notANumber(), (code & 0x7fu) == 0x7fu);
}

fn encodeFloat8e4m3fn(x: f32, saturate: bool) -> u32 {
  let sign = (bitcast<u32>(x) >> 24u) & 0x80u;
  var code = 0x7fu;
  if (!isNan(x)) {
    if (!isInf(x)) {
      code = smallFloatMagnitude(x, 3u, 7);
    }
    code = min(code, select(0x7fu, 0x7eu, saturate));
  }
  return sign | code;
}

fn roundFloat8e4m3fn(x: f32, saturate: bool) -> f32 {
  return decodeFloat8e4m3fn(encodeFloat8e4m3fn(x, saturate));
}

// The code of x in 8 bits with one NaN, 0x80, without infinity and without -0. Exact.
fn smallFloatFnuz(x: f32, mantissaBits: u32, bias: i32, saturate: bool) -> u32 {
  if (isNan(x)) {
    return 0x80u;
  }
  var code = 0x80u;
  if (!isInf(x)) {
    code = smallFloatMagnitude(x, mantissaBits, bias);
  }
  if (code == 0u) {
    return 0u;
  }
  if (code > 0x7fu) {
    if (!saturate) {
      return 0x80u;
    }
    code = 0x7fu;
  }
  return ((bitcast<u32>(x) >> 24u) & 0x80u) | code;
}

// As float8e4m3fn, with bias 8, NaN 0x80 and no -0. Exact.
fn decodeFloat8e4m3fnuz(code: u32) -> f32 {
  return select(smallFloatValue(code, 4u, 3u, 8), notANumber(), (code & 0xffu) == 0x80u);
}

fn encodeFloat8e4m3fnuz(x: f32, saturate: bool) -> u32 {
  return smallFloatFnuz(x, 3u, 8, saturate);
}

fn roundFloat8e4m3fnuz(x: f32, saturate: bool) -> f32 {
  return decodeFloat8e4m3fnuz(encodeFloat8e4m3fnuz(x, saturate));
}

// Five bits of exponent, two of mantissa: the upper half of a float16. Exact.
fn decodeFloat8e5m2(code: u32) -> f32 {
  return decodeF16(code << 8u);
}

fn encodeFloat8e5m2(x: f32, saturate: bool) -> u32 {
  let sign = (bitcast<u32>(x) >> 24u) & 0x80u;
  if (isNan(x)) {
    return sign | 0x7eu;
  }
  var code = 0x7cu;
  if (!isInf(x)) {
    code = smallFloatMagnitude(x, 2u, 15);
  }
  return sign | min(code, select(0x7cu, 0x7bu, saturate));
}

fn roundFloat8e5m2(x: f32, saturate: bool) -> f32 {
  return decodeFloat8e5m2(encodeFloat8e5m2(x, saturate));
}

// The same with bias 16, NaN 0x80, no infinity and no -0. Exact.
fn decodeFloat8e5m2fnuz(code: u32) -> f32 {
  return select(smallFloatValue(code, 5u, 2u, 16), notANumber(), (code & 0xffu) == 0x80u);
}

fn encodeFloat8e5m2fnuz(x: f32, saturate: bool) -> u32 {
  return smallFloatFnuz(x, 2u, 16, saturate);
}

fn roundFloat8e5m2fnuz(x: f32, saturate: bool) -> f32 {
  return decodeFloat8e5m2fnuz(encodeFloat8e5m2fnuz(x, saturate));
}

// A power of two, 2^(code - 127); 255 is NaN. Exact; 2^-127 is subnormal.
fn decodeFloat8e8m0(code: u32) -> f32 {
  let bits = select(code << 23u, 0x400000u, code == 0u);
  return select(bitcast<f32>(bits), notANumber(), (code & 0xffu) == 0xffu);
}

// The exponent of |x|, rounded by `mode` (0 nearest, ties up; 1 up; 2 down), as ONNX's Cast has it
// from opset 24: infinity and NaN are NaN, 0 is the smallest. Exact.
fn encodeFloat8e8m0(x: f32, saturate: bool, mode: u32) -> u32 {
  let bits = bitcast<u32>(x);
  let exponent = (bits >> 23u) & 255u;
  if (exponent == 255u) {
    return 255u;
  }
  let fraction = bits & 0x7fffffu;
  var up = false;
  if (mode == 0u) {
    up = fraction > 0x400000u || (fraction == 0x400000u && exponent > 0u);
  } else if (mode == 1u) {
    up = fraction > 0u;
  }
  return min(exponent + select(0u, 1u, up), select(255u, 254u, saturate));
}

fn roundFloat8e8m0(x: f32, saturate: bool, mode: u32) -> f32 {
  return decodeFloat8e8m0(encodeFloat8e8m0(x, saturate, mode));
}

// The floats of six and of four bits have neither infinity nor NaN: what is too large becomes the
// largest number, NaN a zero (of the other sign, as ml_dtypes, so ONNX's reference, has it).

fn smallestFloatCode(x: f32, bits: u32, mantissaBits: u32, bias: i32) -> u32 {
  let sign = 1u << (bits - 1u);
  let isNegative = (bitcast<u32>(x) >> 31u) == 1u;
  if (isNan(x)) {
    return select(sign, 0u, isNegative);
  }
  var code = sign - 1u;
  if (!isInf(x)) {
    code = min(code, smallFloatMagnitude(x, mantissaBits, bias));
  }
  return select(code, code | sign, isNegative);
}

// Two bits of exponent, one of mantissa: 0, 0.5, 1, 1.5, 2, 3, 4, 6. Exact.
fn decodeFloat4e2m1(code: u32) -> f32 {
  return smallFloatValue(code, 2u, 1u, 1);
}

fn encodeFloat4e2m1(x: f32) -> u32 {
  return smallestFloatCode(x, 4u, 1u, 1);
}

fn roundFloat4e2m1(x: f32) -> f32 {
  return decodeFloat4e2m1(encodeFloat4e2m1(x));
}

// Two bits of exponent, three of mantissa, to 7.5. Exact.
fn decodeFloat6e2m3(code: u32) -> f32 {
  return smallFloatValue(code, 2u, 3u, 1);
}

fn encodeFloat6e2m3(x: f32) -> u32 {
  return smallestFloatCode(x, 6u, 3u, 1);
}

fn roundFloat6e2m3(x: f32) -> f32 {
  return decodeFloat6e2m3(encodeFloat6e2m3(x));
}

// Three bits of exponent, two of mantissa, to 28. Exact.
fn decodeFloat6e3m2(code: u32) -> f32 {
  return smallFloatValue(code, 3u, 2u, 3);
}

fn encodeFloat6e3m2(x: f32) -> u32 {
  return smallestFloatCode(x, 6u, 2u, 3);
}

fn roundFloat6e3m2(x: f32) -> f32 {
  return decodeFloat6e3m2(encodeFloat6e3m2(x));
}
