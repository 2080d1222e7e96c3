// Product of few rows with a matrix, without workgroup memory: a thread computes 4 columns of a row.

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
    sum = core_added(sum, a4(batch, row, k), b44(batch, k, column));
  }
  if (!WHOLE_DEPTH && whole < depth()) {
    let right = core_cut_right(whole, b44(batch, whole, column));
    sum = core_added(sum, core_cut(whole, a4(batch, row, whole)), right);
  }
  for (var i = 0; i < 4; i++) {
    if (column + i < columns()) { store(batch, row, column + i, sum[i]); }
  }
}
