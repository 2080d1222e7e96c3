// What the cores of matrix products call, over contiguous tensors.

struct Parameters { batches: i32, rows: i32, columns: i32, depth: i32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> left_values: array<f32>;
@group(0) @binding(2) var<storage, read_write> right_values: array<f32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

fn batches() -> i32 { return parameters.batches; }
fn rows() -> i32 { return parameters.rows; }
fn columns() -> i32 { return parameters.columns; }
fn depth() -> i32 { return parameters.depth; }
// True where depth is known to be a multiple of 4.
const WHOLE_DEPTH: bool = false;

// 4 values along k; row < rows, k a multiple of 4. Those past the last k are not used.
fn a4(batch: i32, row: i32, k: i32) -> vec4f {
  let i = (batch * rows() + row) * depth() + k;
  return vec4f(left_values[i], left_values[i + 1], left_values[i + 2], left_values[i + 3]);
}

// 4 values of k, each with 4 columns; k and column multiples of 4. Those past the last are not used.
fn b44(batch: i32, k: i32, column: i32) -> mat4x4f {
  var values = mat4x4f();
  for (var i = 0; i < 16; i++) {
    let at = (batch * depth() + k + (i >> 2u)) * columns() + column + (i & 3);
    values[i >> 2u][i & 3] = right_values[at];
  }
  return values;
}

fn store(batch: i32, row: i32, column: i32, value: f32) {
  result[(batch * rows() + row) * columns() + column] = value;
}
