// Matrix product by tiles in workgroup memory: SIDE by SIDE threads, 4 rows by 4 columns each. What
// hardware is best at; a processor that plays a GPU is slow at it.

// Threads a side, and the part of k that workgroup memory holds: a multiple of 4.
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
    for (var i = index; i < SIDE * PART / 4u; i += SIDE * SIDE) {
      let k = i / SIDE * 4u;
      let right = core_load_right(batch, start + i32(k), first_column + i32(i % SIDE) * 4);
      core_right[k * SIDE + i % SIDE] = right[0];
      core_right[(k + 1u) * SIDE + i % SIDE] = right[1];
      core_right[(k + 2u) * SIDE + i % SIDE] = right[2];
      core_right[(k + 3u) * SIDE + i % SIDE] = right[3];
    }
    workgroupBarrier();
    for (var k = 0u; k < PART; k += 4u) {
      let right = mat4x4f(
        core_right[k * SIDE + thread.x],
        core_right[(k + 1u) * SIDE + thread.x],
        core_right[(k + 2u) * SIDE + thread.x],
        core_right[(k + 3u) * SIDE + thread.x],
      );
      let left = (thread.y * 4u * PART + k) / 4u;
      sum0 = core_added(sum0, core_left[left], right);
      sum1 = core_added(sum1, core_left[left + PART / 4u], right);
      sum2 = core_added(sum2, core_left[left + PART / 2u], right);
      sum3 = core_added(sum3, core_left[left + PART / 4u * 3u], right);
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
  if (row >= rows() || k >= depth()) { return vec4f(); }
  return core_cut(k, a4(batch, row, k));
}

fn core_load_right(batch: i32, k: i32, column: i32) -> mat4x4f {
  if (k >= depth() || column >= columns()) { return mat4x4f(); }
  return core_cut_right(k, b44(batch, k, column));
}

fn core_store4(batch: i32, row: i32, column: i32, values: vec4f) {
  if (row >= rows()) { return; }
  for (var i = 0; i < 4; i++) {
    if (column + i < columns()) { store(batch, row, column + i, values[i]); }
  }
}
