// Functions that printed shaders call in place of WGSL's built-ins, which promise too little (tanh
// of a large number is NaN on some adapters, pow of a negative base means nothing, log has an
// absolute error near 1) and forget NaN. A shader gets those that it uses and what they call.
// src/codegen/runtime/prelude.js has the same functions in JavaScript. What they call of bits stands
// before them, in prelude_bits.wgsl; small floats are in prelude_small_floats.wgsl.
//
// Bounds are relative errors where additions, multiplications and divisions are rounded correctly,
// as seen on software adapters; a division that is off by 2.5 ULP, as WGSL allows, adds as much.
// Subnormal arguments and results may be taken for zero. Polynomials are near-minimax fits that
// were made for this file, of the function over the interval beside them. There are no literals of
// infinity and NaN, and no comparisons of a number with itself: compilers refuse or fold them.

// x * 2^n for -252 <= n <= 254, rounded once or, where the result is subnormal, twice.
fn scaleBy(x: f32, n: i32) -> f32 {
  let half = n / 2;
  return x * bitcast<f32>(u32(half + 127) << 23u) * bitcast<f32>(u32(n - half + 127) << 23u);
}

// sqrt as WGSL has it; NaN below zero.
fn safeSqrt(x: f32) -> f32 {
  return select(sqrt(max(x, 0.0)), notANumber(), x < 0.0 || isNan(x));
}

// exp as WGSL has it, 3 + 2 |x| ULP, with the limits of IEEE 754.
fn safeExp(x: f32) -> f32 {
  let e = exp(clamp(x, -103.9, 88.72283));
  let limited = select(select(e, infinity(), x > 88.72283), 0.0, x < -103.9);
  return select(limited, x, isNan(x));
}

// x = 2^e * m with m in sqrt(1/2) .. sqrt(2), as (e, log2 m), for x > 0 and finite; the error of log2 m
// is 2e-7 of it. By atanh: log m = 2 atanh((m - 1) / (m + 1)).
fn log2Parts(x: f32) -> vec2f {
  let isSmall = x < 1.1754944e-38;
  let bits = bitcast<u32>(select(x, x * 8388608.0, isSmall)) + 0x4afb0du;
  let e = f32(i32(bits >> 23u) - select(127, 150, isSmall));
  let f = bitcast<f32>((bits & 0x7fffffu) + 0x3f3504f3u) - 1.0;
  let s = f / (2.0 + f);
  let z = s * s;
  // 2 atanh(s) / (s log 2) over s^2 in 0 .. 0.0295: 7e-10.
  let p = 2.88539 + z * (0.96179885 + z * (0.57671416 + z * 0.43174225));
  return vec2f(e, s * p);
}

// Natural logarithm: 2.5e-7, also near 1.
fn safeLog(x: f32) -> f32 {
  if (isNan(x) || x < 0.0) {
    return notANumber();
  }
  if (x == 0.0) {
    return -infinity();
  }
  if (isInf(x)) {
    return x;
  }
  let parts = log2Parts(x);
  // log 2 in two parts, the first of which has 15 bits.
  return parts.x * 0.693145751953125 + (parts.x * 1.428606765330187e-6 + parts.y * 0.6931472);
}

// Logarithm to base 2: 2.5e-7, also near 1.
fn safeLog2(x: f32) -> f32 {
  if (isNan(x) || x < 0.0) {
    return notANumber();
  }
  if (x == 0.0) {
    return -infinity();
  }
  if (isInf(x)) {
    return x;
  }
  let parts = log2Parts(x);
  return parts.x + parts.y;
}

// atanh(x) / x over z = x^2 in 0 .. 0.0295: 7e-10.
fn atanhSeries(z: f32) -> f32 {
  return 1.0 + z * (0.3333341 + z * (0.1998739 + z * 0.14963047));
}

// log(1 + x) for x > -1: 3e-7, also near 0.
fn safeLog1p(x: f32) -> f32 {
  if (x > -0.29 && x < 0.41) {
    let s = x / (2.0 + x);
    return x * (2.0 / (2.0 + x)) * atanhSeries(s * s);
  }
  return safeLog(1.0 + x);
}

// x^y by IEEE 754 (pow): a negative base with whole exponents, zeros, infinities, NaN, x^0 = 1^y = 1.
// 1e-6 for |y| up to 10, 1e-5 for every y; squares are rounded once.
fn safePow(x: f32, y: f32) -> f32 {
  if (y == 2.0) {
    return x * x;
  }
  if (y == 0.0 || x == 1.0) {
    return 1.0;
  }
  if (isNan(x) || isNan(y)) {
    return notANumber();
  }
  let a = abs(x);
  if (isInf(y)) {
    if (a == 1.0) {
      return 1.0;
    }
    return select(0.0, infinity(), (a > 1.0) == (y > 0.0));
  }
  let size = abs(y);
  let isWhole = size >= 16777216.0 || floor(size) == size;
  let isOdd = isWhole && (u32(min(size, 16777216.0)) & 1u) == 1u;
  let sign = select(0u, bitcast<u32>(x) & 0x80000000u, isOdd);
  var result = 0.0;
  if (a == 0.0 || isInf(x)) {
    result = select(0.0, infinity(), (a == 0.0) != (y > 0.0));
  } else if (x < 0.0 && !isWhole) {
    return notANumber();
  } else {
    let parts = log2Parts(a);
    let power = y * (parts.x + parts.y);
    if (power >= 129.0) {
      result = infinity();
    } else if (power > -151.0) {
      // The first 12 bits of y times the exponent is exact.
      let high = bitcast<f32>(bitcast<u32>(y) & 0xfffff000u);
      let n = round(power);
      let f = (high * parts.x - n) + ((y - high) * parts.x + y * parts.y);
      // 2^f over -0.5 .. 0.5: 2e-9.
      let p = 1.0 + f * (0.6931472 + f * (0.24022646 + f * (0.055503286 + f * (0.009618489 +
        f * (0.0013399931 + f * 0.00015345808)))));
      result = scaleBy(p, i32(n));
    }
  }
  return bitcast<f32>(bitcast<u32>(result) | sign);
}

// x - q * pi/2 for the nearest whole q, and q: pi/2 in three parts, q times the first two of which is
// exact. The first result's error is 1e-10 for |x| up to 1e4; it grows with q, to 1e-7 at 1e6. Where
// nothing of it is left, the result is one that an angle may have.
fn quarterTurns(x: f32) -> vec2f {
  let q = round(clamp(x, -1e9, 1e9) * 0.63661975);
  let rest = ((x - q * 1.5703125) - q * 0.0004837512969970703) - q * 7.549790126404332e-8;
  return vec2f(clamp(rest, -0.7853982, 0.7853982), q);
}

// sin(r) over -pi/4 .. pi/4: 3e-9.
fn sinSeries(r: f32) -> f32 {
  let z = r * r;
  return r + r * z * (-0.16666651 + z * (0.008332017 + z * -0.0001950182));
}

// cos(r) over -pi/4 .. pi/4: 6e-11.
fn cosSeries(r: f32) -> f32 {
  let z = r * r;
  return 1.0 + z * (-0.5 + z * (0.041666612 + z * (-0.001388653 + z * 2.4372677e-5)));
}

// Sine: 2e-7 of it and 1e-10 for |x| up to 1e4.
fn safeSin(x: f32) -> f32 {
  if (isNan(x) || isInf(x)) {
    return notANumber();
  }
  let turns = quarterTurns(x);
  let q = i32(turns.y) & 3;
  let value = select(sinSeries(turns.x), cosSeries(turns.x), (q & 1) == 1);
  return select(value, -value, q >= 2);
}

// Cosine: 2e-7 of it and 1e-10 for |x| up to 1e4.
fn safeCos(x: f32) -> f32 {
  if (isNan(x) || isInf(x)) {
    return notANumber();
  }
  let turns = quarterTurns(x);
  let q = (i32(turns.y) + 1) & 3;
  let value = select(sinSeries(turns.x), cosSeries(turns.x), (q & 1) == 1);
  return select(value, -value, q >= 2);
}

// Tangent: 4e-7 of it for |x| up to 1e4, where it is far from its poles.
fn safeTan(x: f32) -> f32 {
  if (isNan(x) || isInf(x)) {
    return notANumber();
  }
  let turns = quarterTurns(x);
  let s = sinSeries(turns.x);
  let c = cosSeries(turns.x);
  if ((i32(turns.y) & 1) == 1) {
    return -c / s;
  }
  return s / c;
}

// (asin(x) - x) / x^3 over z = x^2 in 0 .. 0.25: 4e-9 of asin(x).
fn asinSeries(z: f32) -> f32 {
  return 0.16666791 + z * (0.07494435 + z * (0.045550175 + z * (0.023858216 + z * 0.042635567)));
}

// Arc sine: 3e-7; NaN outside of -1 .. 1.
fn safeAsin(x: f32) -> f32 {
  let a = abs(x);
  if (isNan(x) || a > 1.0) {
    return notANumber();
  }
  if (a <= 0.5) {
    return x + x * x * x * asinSeries(x * x);
  }
  let z = 0.5 * (1.0 - a);
  let s = sqrt(z);
  return withSign(1.5707964 - 2.0 * (s + s * z * asinSeries(z)), x);
}

// Arc cosine: 3e-7; NaN outside of -1 .. 1.
fn safeAcos(x: f32) -> f32 {
  let a = abs(x);
  if (isNan(x) || a > 1.0) {
    return notANumber();
  }
  if (a <= 0.5) {
    return 1.5707964 - (x + x * x * x * asinSeries(x * x));
  }
  let z = 0.5 * (1.0 - a);
  let s = sqrt(z);
  let angle = 2.0 * (s + s * z * asinSeries(z));
  return select(angle, 3.1415927 - angle, x < 0.0);
}

// Arc tangent: 2.5e-7.
fn safeAtan(x: f32) -> f32 {
  if (isNan(x)) {
    return x;
  }
  let a = abs(x);
  var base = 0.0;
  var r = a;
  if (a > 1e9) {
    return withSign(1.5707964, x);
  }
  if (a > 2.4142135) {
    base = 1.5707964;
    r = -1.0 / a;
  } else if (a > 0.41421357) {
    base = 0.7853982;
    r = (a - 1.0) / (a + 1.0);
  }
  let z = r * r;
  // (atan(r) - r) / r^3 over z in 0 .. 0.1716: 2e-8 of atan(r).
  let p = -0.33332798 + z * (0.19974469 + z * (-0.13852063 + z * 0.07986655));
  return withSign(base + (r + r * z * p), x);
}

// Hyperbolic sine: 2e-7 below 1, then as exp.
fn safeSinh(x: f32) -> f32 {
  let a = abs(x);
  if (a < 1.0) {
    let z = x * x;
    return x + x * z * (0.16666667 + z * (0.008333352 + z * (0.00019835813 + z * 2.8185239e-6)));
  }
  if (a > 80.0) {
    let half = safeExp(0.5 * a);
    return withSign((0.5 * half) * half, x);
  }
  let e = safeExp(a);
  return select(withSign(0.5 * (e - 1.0 / e), x), x, isNan(x));
}

// Hyperbolic cosine: as exp.
fn safeCosh(x: f32) -> f32 {
  let a = abs(x);
  if (a > 80.0) {
    let half = safeExp(0.5 * a);
    return (0.5 * half) * half;
  }
  let e = safeExp(a);
  return 0.5 * (e + 1.0 / e);
}

// Hyperbolic tangent: 4e-7.
fn safeTanh(x: f32) -> f32 {
  let a = abs(x);
  if (a < 0.625) {
    let z = x * x;
    // (tanh(x) - x) / x^3 over z in 0 .. 0.39: 4e-9 of tanh(x).
    return x + x * z * (-0.3333326 + z * (0.13331127 + z * (-0.053721067 + z * (0.020590983 +
      z * -0.005659985))));
  }
  let t = 1.0 - 2.0 / (exp(2.0 * min(a, 10.0)) + 1.0);
  return select(withSign(t, x), x, isNan(x));
}

// Inverse hyperbolic sine: 4e-7.
fn safeAsinh(x: f32) -> f32 {
  let a = abs(x);
  if (isNan(x)) {
    return x;
  }
  if (a < 0.5) {
    let z = x * x;
    // (asinh(x) - x) / x^3 over z in 0 .. 0.25: 2e-9 of asinh(x).
    return x + x * z * (-0.16666634 + z * (0.074984305 + z * (-0.044363853 + z * (0.028085375 +
      z * -0.013114564))));
  }
  if (a > 1e9) {
    return withSign(safeLog(a) + 0.6931472, x);
  }
  return withSign(safeLog(a + sqrt(a * a + 1.0)), x);
}

// Inverse hyperbolic cosine: 4e-7, also near 1; NaN below 1.
fn safeAcosh(x: f32) -> f32 {
  if (isNan(x) || x < 1.0) {
    return notANumber();
  }
  if (x > 1e9) {
    return safeLog(x) + 0.6931472;
  }
  let t = x - 1.0;
  return safeLog1p(t + sqrt(2.0 * t + t * t));
}

// Inverse hyperbolic tangent: 4e-7, also near 0; NaN outside of -1 .. 1.
fn safeAtanh(x: f32) -> f32 {
  let a = abs(x);
  if (isNan(x) || a > 1.0) {
    return notANumber();
  }
  if (a == 1.0) {
    return withSign(infinity(), x);
  }
  if (a < 0.17) {
    return x * atanhSeries(x * x);
  }
  return withSign(0.5 * safeLog((1.0 + a) / (1.0 - a)), x);
}

// Error function: 3e-7 of it and 1e-7.
fn erf(x: f32) -> f32 {
  let a = abs(x);
  if (isNan(x)) {
    return x;
  }
  if (a < 1.0) {
    let z = x * x;
    // erf(x) / x over z in 0 .. 1: 1e-9.
    return x * (1.1283791 + z * (-0.37612626 + z * (0.112835854 + z * (-0.026853811 +
      z * (0.0051883277 + z * (-0.00080101925 + z * 7.853858e-5))))));
  }
  let b = min(a, 4.0);
  let t = 1.0 / (b + 2.0);
  // exp(x^2) erfc(x) over x in 1 .. 4: 1e-9, in t.
  let p = -0.00014892526 + t * (0.56966656 + t * (1.0407857 + t * (2.7679904 + t * (-1.5967693 +
    t * (17.870876 + t * (-29.94323 + t * 15.150473))))));
  return withSign(1.0 - exp(-b * b) * p, x);
}

// Remainder with the sign of x, as C's fmod. Exact: long division of the mantissas.
fn fmodF32(x: f32, y: f32) -> f32 {
  let a = bitcast<u32>(x) & 0x7fffffffu;
  let b = bitcast<u32>(y) & 0x7fffffffu;
  if (a >= 0x7f800000u || b == 0u || b > 0x7f800000u) {
    return notANumber();
  }
  if (a < b) {
    return x;
  }
  let exponentA = i32(max(a >> 23u, 1u));
  let exponentB = i32(max(b >> 23u, 1u));
  var rest = select(a & 0x7fffffu, (a & 0x7fffffu) | 0x800000u, a >= 0x800000u);
  let divisor = select(b & 0x7fffffu, (b & 0x7fffffu) | 0x800000u, b >= 0x800000u);
  // Up to 7 bits a step: the rest is less than 2^24.
  var left = exponentA - exponentB;
  rest = rest % divisor;
  while (left > 0 && rest != 0u) {
    let step = min(left, 7);
    rest = (rest << u32(step)) % divisor;
    left -= step;
  }
  let sign = bitcast<u32>(x) & 0x80000000u;
  if (rest == 0u) {
    return bitcast<f32>(sign | zero());
  }
  let shift = min(i32(countLeadingZeros(rest)) - 8, exponentB - 1);
  rest = rest << u32(shift);
  let bits = select(rest, (u32(exponentB - shift) << 23u) | (rest & 0x7fffffu), rest >= 0x800000u);
  return bitcast<f32>(bits | sign);
}

// Remainder with the sign of y, as Python's % and numpy's mod: fmod, and one addition.
fn floorModF32(x: f32, y: f32) -> f32 {
  let r = fmodF32(x, y);
  // By bits, as comparisons may take a subnormal for zero.
  if ((bitcast<u32>(r) << 1u) == 0u) {
    return withSign(0.0, y);
  }
  return select(r, r + y, ((bitcast<u32>(r) ^ bitcast<u32>(y)) >> 31u) == 1u);
}

