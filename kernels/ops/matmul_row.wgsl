// Product of few rows with a matrix, without workgroup memory: a thread computes 4 columns of a
// row.

struct Parameters { batches: i32, rows: i32, columns: i32, depth: i32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> left: array<f32>;
@group(0) @binding(2) var<storage, read_write> right: array<f32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

fn batches() -> i32 { return parameters.batches; }
fn rows() -> i32 { return parameters.rows; }
fn columns() -> i32 { return parameters.columns; }
fn depth() -> i32 { return parameters.depth; }

// row < rows, k < depth.
fn a(batch: i32, row: i32, k: i32) -> f32 { return left[(batch * rows() + row) * depth() + k]; }

// 4 values along k; row < rows, k a multiple of 4, k + 3 < depth.
fn a4(batch: i32, row: i32, k: i32) -> vec4f {
  let i = (batch * rows() + row) * depth() + k;
  return vec4f(left[i], left[i + 1], left[i + 2], left[i + 3]);
}

// 4 values along column; k < depth, column a multiple of 4. Those past the last are not used.
fn b4(batch: i32, k: i32, column: i32) -> vec4f {
  let i = (batch * depth() + k) * columns() + column;
  return vec4f(right[i], right[i + 1], right[i + 2], right[i + 3]);
}

fn store(batch: i32, row: i32, column: i32, value: f32) {
  result[(batch * rows() + row) * columns() + column] = value;
}

// ---- core
override THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let column_tiles = (columns() + 3) / 4;
  let tile = i32((group.x + group.y * groups.x) * THREADS + thread);
  let all_rows = tile / column_tiles;
  let column = (tile - all_rows * column_tiles) * 4;
  let batch = all_rows / rows();
  let row = all_rows - batch * rows();
  if (batch >= batches()) { return; }
  var sum = vec4f();
  let whole = depth() & ~3;
  for (var k = 0; k < whole; k += 4) {
    let left0 = a4(batch, row, k);
    sum += left0.x * b4(batch, k, column);
    sum += left0.y * b4(batch, k + 1, column);
    sum += left0.z * b4(batch, k + 2, column);
    sum += left0.w * b4(batch, k + 3, column);
  }
  for (var k = whole; k < depth(); k++) {
    sum += a(batch, row, k) * b4(batch, k, column);
  }
  store(batch, row, column, sum.x);
  if (column + 1 < columns()) { store(batch, row, column + 1, sum.y); }
  if (column + 2 < columns()) { store(batch, row, column + 2, sum.z); }
  if (column + 3 < columns()) { store(batch, row, column + 3, sum.w); }
}
