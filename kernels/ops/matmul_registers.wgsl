// Matrix product without workgroup memory: a thread computes 4 rows by 4 columns in registers, so
// that 8 loads of 4 values serve 64 multiplications. What a processor that plays a GPU is best at,
// and any adapter where the operands' hooks compute more than they load.

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
  // Neighbouring threads take neighbouring columns: their loads of b lie side by side.
  let column_tiles = (columns() + 3) / 4;
  let tile = i32((group.x + group.y * groups.x) * THREADS + thread);
  let row_tile = tile / column_tiles;
  let column = (tile - row_tile * column_tiles) * 4;
  let row_tiles = (rows() + 3) / 4;
  let batch = row_tile / row_tiles;
  let row = (row_tile - batch * row_tiles) * 4;
  if (batch >= batches()) { return; }
  // Rows past the last are the last one, computed again and not stored.
  let row1 = min(row + 1, rows() - 1);
  let row2 = min(row + 2, rows() - 1);
  let row3 = min(row + 3, rows() - 1);
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
    let right0 = b4(batch, k, column);
    let right1 = b4(batch, k + 1, column);
    let right2 = b4(batch, k + 2, column);
    let right3 = b4(batch, k + 3, column);
    sum0 += left0.x * right0;
    sum0 += left0.y * right1;
    sum0 += left0.z * right2;
    sum0 += left0.w * right3;
    sum1 += left1.x * right0;
    sum1 += left1.y * right1;
    sum1 += left1.z * right2;
    sum1 += left1.w * right3;
    sum2 += left2.x * right0;
    sum2 += left2.y * right1;
    sum2 += left2.z * right2;
    sum2 += left2.w * right3;
    sum3 += left3.x * right0;
    sum3 += left3.y * right1;
    sum3 += left3.z * right2;
    sum3 += left3.w * right3;
  }
  for (var k = whole; k < depth(); k++) {
    let right0 = b4(batch, k, column);
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
