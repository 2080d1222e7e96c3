// Matrix product without workgroup memory, its right operand read along k as its left one is: for
// weights stored as [columns, depth], packed or not. A thread computes 4 rows by 4 columns.

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
  let row_tile = tile / column_tiles;
  let column = (tile - row_tile * column_tiles) * 4;
  let row_tiles = (rows() + 3) / 4;
  let batch = row_tile / row_tiles;
  let row = (row_tile - batch * row_tiles) * 4;
  if (batch >= batches()) { return; }
  // Rows and columns past the last are the last one, computed again and not stored.
  let row1 = min(row + 1, rows() - 1);
  let row2 = min(row + 2, rows() - 1);
  let row3 = min(row + 3, rows() - 1);
  let column1 = min(column + 1, columns() - 1);
  let column2 = min(column + 2, columns() - 1);
  let column3 = min(column + 3, columns() - 1);
  var sum0 = vec4f();
  var sum1 = vec4f();
  var sum2 = vec4f();
  var sum3 = vec4f();
  let whole = depth() & ~3;
  for (var k = 0; k < whole; k += 4) {
    let left0 = a4(batch, row, k);
    let left1 = a4(batch, row1, k);
    let left2 = a4(batch, row2, k);
    let left3 = a4(batch, row3, k);
    let right0 = b4k(batch, k, column);
    let right1 = b4k(batch, k, column1);
    let right2 = b4k(batch, k, column2);
    let right3 = b4k(batch, k, column3);
    sum0 += vec4f(
      dot(left0, right0),
      dot(left0, right1),
      dot(left0, right2),
      dot(left0, right3),
    );
    sum1 += vec4f(
      dot(left1, right0),
      dot(left1, right1),
      dot(left1, right2),
      dot(left1, right3),
    );
    sum2 += vec4f(
      dot(left2, right0),
      dot(left2, right1),
      dot(left2, right2),
      dot(left2, right3),
    );
    sum3 += vec4f(
      dot(left3, right0),
      dot(left3, right1),
      dot(left3, right2),
      dot(left3, right3),
    );
  }
  for (var k = whole; k < depth(); k++) {
    let right0 = vec4f(
      b(batch, k, column),
      b(batch, k, column1),
      b(batch, k, column2),
      b(batch, k, column3),
    );
    sum0 += a(batch, row, k) * right0;
    sum1 += a(batch, row1, k) * right0;
    sum2 += a(batch, row2, k) * right0;
    sum3 += a(batch, row3, k) * right0;
  }
  // A loop, so that what the hook computes is compiled once and not 16 times.
  var sums = array(sum0, sum1, sum2, sum3);
  for (var i = 0; i < 16; i++) {
    let own_row = row + (i >> 2u);
    let own_column = column + (i & 3);
    if (own_row < rows() && own_column < columns()) {
      store(batch, own_row, own_column, sums[i >> 2u][i & 3]);
    }
  }
}
