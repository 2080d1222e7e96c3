// Product of few rows: a workgroup computes 4 rows by 4 columns, its threads sharing the sums. They
// are added up within subgroups, of whatever size those are, and then over them.

// Threads that share a tile: they take turns along k.
override LANES: u32 = 32u;

// What the threads of a subgroup add up to, at the first of them.
var<workgroup> core_sums: array<vec4f, 4 * LANES>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let column_tiles = (columns() + 3) / 4;
  let tile = i32(group.x + group.y * groups.x);
  let row_tile = tile / column_tiles;
  let column = (tile - row_tile * column_tiles) * 4;
  let row_tiles = (rows() + 3) / 4;
  let batch = row_tile / row_tiles;
  let row = (row_tile - batch * row_tiles) * 4;
  // The same for every thread of a workgroup.
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
  for (var k = i32(thread) * 4; k < whole; k += i32(LANES) * 4) {
    let right = b44(batch, k, column);
    sum0 = core_added(sum0, a4(batch, row, k), right);
    sum1 = core_added(sum1, a4(batch, row1, k), right);
    sum2 = core_added(sum2, a4(batch, row2, k), right);
    sum3 = core_added(sum3, a4(batch, row3, k), right);
  }
  if (!WHOLE_DEPTH && whole < depth() && thread == 0u) {
    let right = core_cut_right(whole, b44(batch, whole, column));
    sum0 = core_added(sum0, core_cut(whole, a4(batch, row, whole)), right);
    sum1 = core_added(sum1, core_cut(whole, a4(batch, row1, whole)), right);
    sum2 = core_added(sum2, core_cut(whole, a4(batch, row2, whole)), right);
    sum3 = core_added(sum3, core_cut(whole, a4(batch, row3, whole)), right);
  }
  let is_first = lane == 0u;
  core_sums[4u * thread] = select(vec4f(), subgroupAdd(sum0), is_first);
  core_sums[4u * thread + 1u] = select(vec4f(), subgroupAdd(sum1), is_first);
  core_sums[4u * thread + 2u] = select(vec4f(), subgroupAdd(sum2), is_first);
  core_sums[4u * thread + 3u] = select(vec4f(), subgroupAdd(sum3), is_first);
  workgroupBarrier();
  // Each of 16 threads takes a result: the sum over subgroups, in the order of their first threads.
  for (var i = thread; i < 16u; i += LANES) {
    let own_row = row + i32(i / 4u);
    let own_column = column + i32(i % 4u);
    if (own_row < rows() && own_column < columns()) {
      var sum = 0.0;
      for (var first = 0u; first < LANES; first++) { sum += core_sums[4u * first + i / 4u][i % 4u]; }
      store(batch, own_row, own_column, sum);
    }
  }
}
