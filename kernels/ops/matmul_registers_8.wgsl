// Matrix product without workgroup memory: a thread computes 8 rows by 4 columns in registers. Each
// value of b serves more rows than in matmul_registers.wgsl.

override THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  // Neighbouring threads take neighbouring columns.
  let column_tiles = (columns() + 3) / 4;
  let tile = i32((group.x + group.y * groups.x) * THREADS + thread);
  let row_tile = tile / column_tiles;
  let column = (tile - row_tile * column_tiles) * 4;
  let row_tiles = (rows() + 7) / 8;
  let batch = row_tile / row_tiles;
  let row = (row_tile - batch * row_tiles) * 8;
  if (batch >= batches()) { return; }
  // Rows past the last are the last one, computed again and not stored.
  let row1 = min(row + 1, rows() - 1);
  let row2 = min(row + 2, rows() - 1);
  let row3 = min(row + 3, rows() - 1);
  let row4 = min(row + 4, rows() - 1);
  let row5 = min(row + 5, rows() - 1);
  let row6 = min(row + 6, rows() - 1);
  let row7 = min(row + 7, rows() - 1);
  var sum0 = vec4f();
  var sum1 = vec4f();
  var sum2 = vec4f();
  var sum3 = vec4f();
  var sum4 = vec4f();
  var sum5 = vec4f();
  var sum6 = vec4f();
  var sum7 = vec4f();
  let whole = depth() & ~3;
  for (var k = 0; k < whole; k += 4) {
    let right = b44(batch, k, column);
    sum0 = core_added(sum0, a4(batch, row, k), right);
    sum1 = core_added(sum1, a4(batch, row1, k), right);
    sum2 = core_added(sum2, a4(batch, row2, k), right);
    sum3 = core_added(sum3, a4(batch, row3, k), right);
    sum4 = core_added(sum4, a4(batch, row4, k), right);
    sum5 = core_added(sum5, a4(batch, row5, k), right);
    sum6 = core_added(sum6, a4(batch, row6, k), right);
    sum7 = core_added(sum7, a4(batch, row7, k), right);
  }
  if (!WHOLE_DEPTH && whole < depth()) {
    let right = core_cut_right(whole, b44(batch, whole, column));
    sum0 = core_added(sum0, core_cut(whole, a4(batch, row, whole)), right);
    sum1 = core_added(sum1, core_cut(whole, a4(batch, row1, whole)), right);
    sum2 = core_added(sum2, core_cut(whole, a4(batch, row2, whole)), right);
    sum3 = core_added(sum3, core_cut(whole, a4(batch, row3, whole)), right);
    sum4 = core_added(sum4, core_cut(whole, a4(batch, row4, whole)), right);
    sum5 = core_added(sum5, core_cut(whole, a4(batch, row5, whole)), right);
    sum6 = core_added(sum6, core_cut(whole, a4(batch, row6, whole)), right);
    sum7 = core_added(sum7, core_cut(whole, a4(batch, row7, whole)), right);
  }
  // A loop, so that what the hook computes is compiled once and not 32 times.
  var sums = array(sum0, sum1, sum2, sum3, sum4, sum5, sum6, sum7);
  for (var i = 0; i < 32; i++) {
    let own_row = row + (i >> 2u);
    let own_column = column + (i & 3);
    if (own_row < rows() && own_column < columns()) {
      store(batch, own_row, own_column, sums[i >> 2u][i & 3]);
    }
  }
}
