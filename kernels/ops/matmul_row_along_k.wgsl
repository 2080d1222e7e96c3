// Product of few rows with a matrix that is read along k, without workgroup memory: a thread
// computes 4 columns of a row. For weights stored as [columns, depth], packed or not.

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

// column < columns, k < depth.
fn b(batch: i32, k: i32, column: i32) -> f32 {
  return right[(batch * columns() + column) * depth() + k];
}

// 4 values along k; column < columns, k a multiple of 4, k + 3 < depth.
fn b4k(batch: i32, k: i32, column: i32) -> vec4f {
  let i = (batch * columns() + column) * depth() + k;
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
  // Columns past the last are the last one, computed again and not stored.
  let column1 = min(column + 1, columns() - 1);
  let column2 = min(column + 2, columns() - 1);
  let column3 = min(column + 3, columns() - 1);
  var sum = vec4f();
  let whole = depth() & ~3;
  for (var k = 0; k < whole; k += 4) {
    let left0 = a4(batch, row, k);
    sum += vec4f(
      dot(left0, b4k(batch, k, column)),
      dot(left0, b4k(batch, k, column1)),
      dot(left0, b4k(batch, k, column2)),
      dot(left0, b4k(batch, k, column3)),
    );
  }
  for (var k = whole; k < depth(); k++) {
    sum += a(batch, row, k) * vec4f(
      b(batch, k, column),
      b(batch, k, column1),
      b(batch, k, column2),
      b(batch, k, column3),
    );
  }
  store(batch, row, column, sum.x);
  if (column + 1 < columns()) { store(batch, row, column + 1, sum.y); }
  if (column + 2 < columns()) { store(batch, row, column + 2, sum.z); }
  if (column + 3 < columns()) { store(batch, row, column + 3, sum.w); }
}
