// Runs the operations that the quantization kernels rely on over given operands, so that the host
// can compare every bit with its own arithmetic. A thread takes one case.

override THREADS: u32 = 64;

const RESULTS = 14u;
// Terms of the sum in a loop.
const TERMS = 16u;

@group(0) @binding(1) var<storage, read> operands: array<vec3u>;
@group(0) @binding(2) var<storage, read_write> results: array<u32>;

// Sums products of mantissas, in order: a compiler that reorders them rounds otherwise.
fn sum_in_loop(first: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < TERMS; i++) {
    let bits = operands[(first + i) % arrayLength(&operands)];
    let pair = bitcast<vec2f>((bits.xy & vec2u(0x7fffffu)) | vec2u(0x3f800000u));
    sum += opaque(pair.x * pair.y);
  }
  return sum;
}

@compute @workgroup_size(THREADS)
fn self_test(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= arrayLength(&operands)) {
    return;
  }
  let bits = operands[id.x];
  let a = bitcast<f32>(bits.x);
  let b = bitcast<f32>(bits.y);
  let c = bitcast<f32>(bits.z);
  let first = id.x * RESULTS;
  results[first] = bitcast<u32>(divide(a, b));
  results[first + 1u] = bitcast<u32>(opaque(a * b) + c);
  results[first + 2u] = bitcast<u32>(opaque(a * b) - opaque(b * c));
  results[first + 3u] = bitcast<u32>(a + b);
  results[first + 4u] = bitcast<u32>(a * b);
  // Reassociated, this would be b.
  results[first + 5u] = bitcast<u32>(opaque(a + b) - a);
  results[first + 6u] = bitcast<u32>(round(a));
  results[first + 7u] = bitcast<u32>(i32(clamp(round(b), -1000.0, 1000.0)));
  results[first + 8u] = half_bits(c);
  results[first + 9u] = bitcast<u32>(widen_half(bits.x & 0xffffu));
  results[first + 10u] = bitcast<u32>(widen_bfloat(bits.x >> 16u));
  results[first + 12u] = bitcast<u32>(opaque(opaque(a * b) * c));
  results[first + 13u] = bitcast<u32>(sum_in_loop(id.x));
  // The order of values and the magnitude of what may be infinite or NaN.
  results[first + 11u] = u32(a < b) | (u32(b < c) << 1u) |
    (u32((bits.z & 0x7fffffffu) >= 0x7f800000u) << 2u);
}
