// Matrix product by tiles in workgroup memory: SIDE by SIDE threads, 4 rows by 4 columns each. What
// hardware is best at; a processor that plays a GPU is slow at it.

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
// Threads a side, and the part of k that workgroup memory holds: a multiple of both 4 and SIDE / 4.
override SIDE: u32 = 8u;
override PART: u32 = 32u;

// [row of the tile][k / 4] and [k][column of the tile / 4].
var<workgroup> core_left: array<vec4f, SIDE * PART>;
var<workgroup> core_right: array<vec4f, SIDE * PART>;

@compute @workgroup_size(SIDE, SIDE)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) thread: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let side = 4 * i32(SIDE);
  let column_tiles = (columns() + side - 1) / side;
  let row_tiles = (rows() + side - 1) / side;
  let tile = i32(group.x + group.y * groups.x);
  let row_tile = tile / column_tiles;
  let first_column = (tile - row_tile * column_tiles) * side;
  let batch = row_tile / row_tiles;
  let first_row = (row_tile - batch * row_tiles) * side;
  // The same for every thread of a workgroup.
  if (batch >= batches()) { return; }
  let row = i32(thread.y) * 4;
  var sum0 = vec4f();
  var sum1 = vec4f();
  var sum2 = vec4f();
  var sum3 = vec4f();
  for (var start = 0; start < depth(); start += i32(PART)) {
    for (var i = index; i < SIDE * PART; i += SIDE * SIDE) {
      core_left[i] = core_load_left(
        batch,
        first_row + i32(i / (PART / 4u)),
        start + i32(i % (PART / 4u)) * 4,
      );
    }
    for (var i = index; i < SIDE * PART; i += SIDE * SIDE) {
      core_right[i] = core_load_right(
        batch,
        start + i32(i / SIDE),
        first_column + i32(i % SIDE) * 4,
      );
    }
    workgroupBarrier();
    for (var k = 0u; k < PART; k += 4u) {
      let left0 = core_left[(thread.y * 4u * PART + k) / 4u];
      let left1 = core_left[((thread.y * 4u + 1u) * PART + k) / 4u];
      let left2 = core_left[((thread.y * 4u + 2u) * PART + k) / 4u];
      let left3 = core_left[((thread.y * 4u + 3u) * PART + k) / 4u];
      let right0 = core_right[k * SIDE + thread.x];
      let right1 = core_right[(k + 1u) * SIDE + thread.x];
      let right2 = core_right[(k + 2u) * SIDE + thread.x];
      let right3 = core_right[(k + 3u) * SIDE + thread.x];
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
    workgroupBarrier();
  }
  let column = first_column + i32(thread.x) * 4;
  core_store4(batch, first_row + row, column, sum0);
  core_store4(batch, first_row + row + 1, column, sum1);
  core_store4(batch, first_row + row + 2, column, sum2);
  core_store4(batch, first_row + row + 3, column, sum3);
}

// Zeros past the last row and the last k, which add nothing.
fn core_load_left(batch: i32, row: i32, k: i32) -> vec4f {
  if (row >= rows()) { return vec4f(); }
  if (k + 3 < depth()) { return a4(batch, row, k); }
  var values = vec4f();
  for (var i = 0; i < 4 && k + i < depth(); i++) { values[i] = a(batch, row, k + i); }
  return values;
}

fn core_load_right(batch: i32, k: i32, column: i32) -> vec4f {
  if (k >= depth() || column >= columns()) { return vec4f(); }
  return b4(batch, k, column);
}

fn core_store4(batch: i32, row: i32, column: i32, values: vec4f) {
  if (row >= rows()) { return; }
  for (var i = 0; i < 4; i++) {
    if (column + i < columns()) { store(batch, row, column + i, values[i]); }
  }
}
