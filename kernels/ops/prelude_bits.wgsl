// The part of the prelude that is of bits, of integers and between integers and floats, all of it exact;
// prelude.wgsl stands after it. The same functions in JavaScript are in
// src/codegen/runtime/prelude_bits.js.

// Zero that no compiler of WGSL knows: bits joined with it are not constant, so may be infinity.
fn zero() -> u32 {
  return 0u;
}

fn infinity() -> f32 {
  return bitcast<f32>(0x7f800000u | zero());
}

fn notANumber() -> f32 {
  return bitcast<f32>(0x7fc00000u | zero());
}

// By bits: exact.
fn isNan(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// By bits: exact.
fn isInf(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u;
}

// The magnitude of x with the sign of y. Exact. Bits of x and of y aren't joined: in a branch of a loop
// with barriers (an LSTM's tanh behind a hard sigmoid) Mesa 22.3's lavapipe then gives bits of something
// else where threads take the branch apart, at any vector width and with LLVM's optimization off.
fn withSign(x: f32, y: f32) -> f32 {
  let bits = bitcast<u32>(x);
  return bitcast<f32>(select(bits & 0x7fffffffu, bits | 0x80000000u, bitcast<i32>(y) < 0));
}

// The larger; NaN where either is. Exact.
fn nanMax(x: f32, y: f32) -> f32 {
  return select(select(y, x, x > y || isNan(x)), y, isNan(y));
}

// The smaller; NaN where either is. Exact.
fn nanMin(x: f32, y: f32) -> f32 {
  return select(select(y, x, x < y || isNan(x)), y, isNan(y));
}

// To the nearest whole number, ties to even. Exact: WGSL defines its round so.
fn roundEven(x: f32) -> f32 {
  return round(x);
}

// Quotient rounded down. By 0 it is a; the lowest number by -1 is itself.
fn floorDiv(a: i32, b: i32) -> i32 {
  let q = a / b;
  return select(q, q - 1, a % b != 0 && (a ^ b) < 0);
}

// Remainder with the sign of b, as Python's %. By 0 it is 0.
fn floorMod(a: i32, b: i32) -> i32 {
  let r = a % b;
  return select(r, r + b, r != 0 && (r ^ b) < 0);
}

// Bits that look random, of a number: the hash that is called PCG (Jarzynski and Olano, "Hash functions
// for GPU rendering", 2020). Exact.
fn pcgHash(x: u32) -> u32 {
  let state = x * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}

// x^y modulo 2^32. A negative y gives the whole part: 0 but for x = 1 and -1, and 0 for x = 0.
fn powI32(x: i32, y: i32) -> i32 {
  if (y < 0) {
    return select(0, select(1, x, (y & 1) == 1), x == 1 || x == -1);
  }
  var result = 1;
  var base = x;
  var left = u32(y);
  while (left > 0u) {
    if ((left & 1u) == 1u) {
      result *= base;
    }
    base *= base;
    left >>= 1u;
  }
  return result;
}

// The whole part; what i32 can't hold, NaN too, is -2^31, as x86 (so ONNX Runtime and numpy) has it.
fn toI32(x: f32) -> i32 {
  let fits = x >= -2147483648.0 && x < 2147483648.0 && !isNan(x);
  return select(-2147483647 - 1, i32(select(0.0, x, fits)), fits);
}

// The whole part modulo 2^32, below 2^63; what is larger, NaN too, is 0: as x86-64 has it. Exact.
fn toU32(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let exponent = i32((bits >> 23u) & 255u) - 150;
  let mantissa = (bits & 0x7fffffu) | 0x800000u;
  var size = 0u;
  if (exponent > -24 && exponent < 0) {
    size = mantissa >> u32(-exponent);
  } else if (exponent >= 0 && exponent < 32) {
    size = mantissa << u32(exponent);
  }
  return select(size, 0u - size, (bits >> 31u) == 1u);
}
