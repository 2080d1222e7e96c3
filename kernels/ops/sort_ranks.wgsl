// The order of the elements of each row, by counting: a thread an element, which counts those
// before it. Works for rows of any length, in time of its square.

override THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = i32((group.x + group.y * groups.x) * THREADS + thread);
  let row = index / length();
  let i = index - row * length();
  if (row >= rows()) { return; }
  let own = key(row, i);
  var rank = 0;
  for (var j = 0; j < length(); j++) {
    let other = key(row, j);
    rank += select(0, 1, (other < own) | ((other == own) & (j < i)));
  }
  if (rank < kept()) { store(row, rank, i); }
}
