// Product of few rows with a matrix, for adapters that need many threads: the threads of a
// workgroup share tiles of 4 rows by 4 columns, each a part of k, and add up in workgroup memory.

// Tiles that a workgroup computes, and threads that share one: they take turns along k.
override TILES: u32 = 16u;
override LANES: u32 = 8u;

var<workgroup> core_sums: array<vec4f, 4 * TILES * LANES>;

@compute @workgroup_size(LANES, TILES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) thread: vec3u,
) {
  let column_tiles = (columns() + 3) / 4;
  let row_tiles = (rows() + 3) / 4;
  let tile = i32((group.x + group.y * groups.x) * TILES + thread.y);
  let row_tile = tile / column_tiles;
  let column = (tile - row_tile * column_tiles) * 4;
  let batch = row_tile / row_tiles;
  let row = (row_tile - batch * row_tiles) * 4;
  var sum0 = vec4f();
  var sum1 = vec4f();
  var sum2 = vec4f();
  var sum3 = vec4f();
  if (batch < batches()) {
    let row1 = min(row + 1, rows() - 1);
    let row2 = min(row + 2, rows() - 1);
    let row3 = min(row + 3, rows() - 1);
    let whole = depth() & ~3;
    for (var k = i32(thread.x) * 4; k < whole; k += i32(LANES) * 4) {
      let right = b44(batch, k, column);
      sum0 = core_added(sum0, a4(batch, row, k), right);
      sum1 = core_added(sum1, a4(batch, row1, k), right);
      sum2 = core_added(sum2, a4(batch, row2, k), right);
      sum3 = core_added(sum3, a4(batch, row3, k), right);
    }
    if (!WHOLE_DEPTH && whole < depth() && thread.x == 0u) {
      let right = core_cut_right(whole, b44(batch, whole, column));
      sum0 = core_added(sum0, core_cut(whole, a4(batch, row, whole)), right);
      sum1 = core_added(sum1, core_cut(whole, a4(batch, row1, whole)), right);
      sum2 = core_added(sum2, core_cut(whole, a4(batch, row2, whole)), right);
      sum3 = core_added(sum3, core_cut(whole, a4(batch, row3, whole)), right);
    }
  }
  let first = (thread.y * LANES + thread.x) * 4u;
  core_sums[first] = sum0;
  core_sums[first + 1u] = sum1;
  core_sums[first + 2u] = sum2;
  core_sums[first + 3u] = sum3;
  // LANES is a power of two.
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread.x < half) {
      for (var i = 0u; i < 4u; i++) {
        core_sums[first + i] += core_sums[first + half * 4u + i];
      }
    }
  }
  workgroupBarrier();
  if (batch >= batches()) { return; }
  // The lanes share the 16 results.
  for (var i = thread.x; i < 16u; i += LANES) {
    let at_row = row + i32(i / 4u);
    let at_column = column + i32(i % 4u);
    if (at_row < rows() && at_column < columns()) {
      store(batch, at_row, at_column, core_sums[thread.y * LANES * 4u + i / 4u][i % 4u]);
    }
  }
}
