// Sums of each element and those before it along rows (or products, by another `combined`): a
// thread a row.

override THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = i32((group.x + group.y * groups.x) * THREADS + thread);
  if (row >= rows()) { return; }
  var sum = neutral();
  for (var i = 0; i < length(); i++) {
    let at = select(i, length() - 1 - i, REVERSE == 1);
    let next = combined(sum, x(row, at));
    store(row, at, select(next, sum, EXCLUSIVE == 1));
    sum = next;
  }
}
