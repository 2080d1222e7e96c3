// Second pass of a matrix product whose sums were split: adds up the parts of each result, in
// order, so that results don't depend on the adapter's timing.

override THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = i32((group.x + group.y * groups.x) * THREADS + thread);
  let all_rows = index / columns();
  let column = index - all_rows * columns();
  let batch = all_rows / rows();
  let row = all_rows - batch * rows();
  if (batch >= batches()) { return; }
  var sum = 0.0;
  for (var split = 0; split < splits(); split++) {
    sum += load_part(batch, split, row, column);
  }
  store(batch, row, column, sum);
}
