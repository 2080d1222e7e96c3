// Sums of each element and those before it along rows (or products, by another `combined`): a
// workgroup a row, a thread a part of it.

override THREADS: u32 = 64u;

var<workgroup> core_sums: array<Element, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = i32(group.x + group.y * groups.x);
  // The same for every thread of a workgroup.
  if (row >= rows()) { return; }
  let share = (length() + i32(THREADS) - 1) / i32(THREADS);
  let begin = i32(thread) * share;
  let end = min(begin + share, length());
  var part = neutral();
  for (var i = begin; i < end; i++) {
    part = combined(part, x(row, select(i, length() - 1 - i, REVERSE == 1)));
  }
  core_sums[thread] = part;
  workgroupBarrier();
  var sum = neutral();
  for (var i = 0u; i < thread; i++) { sum = combined(sum, core_sums[i]); }
  for (var i = begin; i < end; i++) {
    let at = select(i, length() - 1 - i, REVERSE == 1);
    let next = combined(sum, x(row, at));
    store(row, at, select(next, sum, EXCLUSIVE == 1));
    sum = next;
  }
}
