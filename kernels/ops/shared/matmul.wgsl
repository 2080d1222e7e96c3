// What the cores of matrix products call of their own, and what stands after each of them.

// The sum with what 4 values of a row, one for each k, give in 4 columns.
fn core_added(sum: vec4f, values: vec4f, right: mat4x4f) -> vec4f {
  return sum + values.x * right[0] + values.y * right[1] + values.z * right[2] +
    values.w * right[3];
}

// Zeros in place of what lies past the last k.
fn core_cut(k: i32, values: vec4f) -> vec4f {
  if (WHOLE_DEPTH) { return values; }
  return select(vec4f(), values, vec4i(k) + vec4i(0, 1, 2, 3) < vec4i(depth()));
}

fn core_cut_right(k: i32, values: mat4x4f) -> mat4x4f {
  if (WHOLE_DEPTH) { return values; }
  return mat4x4f(
    values[0],
    select(vec4f(), values[1], k + 1 < depth()),
    select(vec4f(), values[2], k + 2 < depth()),
    select(vec4f(), values[3], k + 3 < depth()),
  );
}
