// The order of the elements of each row, a workgroup a row, by a bitonic sort of keys and indices
// in workgroup memory (Batcher, "Sorting networks and their applications", 1968).

override THREADS: u32 = 64u;
// Elements that a row has at most; a power of two.
override CAPACITY: u32 = 2048u;

var<workgroup> core_keys: array<u32, CAPACITY>;
var<workgroup> core_indices: array<u32, CAPACITY>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = i32(group.x + group.y * groups.x);
  // The same for every thread of a workgroup.
  if (row >= rows()) { return; }
  let count = u32(length());
  var whole = 1u;
  while (whole < count) { whole *= 2u; }
  // What fills up to a power of two comes last: its key is the greatest, its index beyond any.
  for (var i = thread; i < whole; i += THREADS) {
    core_keys[i] = 0xffffffffu;
    core_indices[i] = i;
    if (i < count) { core_keys[i] = key(row, i32(i)); }
  }
  workgroupBarrier();
  for (var size = 2u; size <= whole; size *= 2u) {
    for (var distance = size / 2u; distance > 0u; distance /= 2u) {
      for (var pair = thread; pair < whole / 2u; pair += THREADS) {
        let low = (pair / distance) * 2u * distance + pair % distance;
        let high = low + distance;
        let key_low = core_keys[low];
        let key_high = core_keys[high];
        let index_low = core_indices[low];
        let index_high = core_indices[high];
        let wrong = (key_high < key_low) | ((key_high == key_low) & (index_high < index_low));
        if (wrong == ((low & size) == 0u)) {
          core_keys[low] = key_high;
          core_keys[high] = key_low;
          core_indices[low] = index_high;
          core_indices[high] = index_low;
        }
      }
      workgroupBarrier();
    }
  }
  for (var i = thread; i < u32(kept()); i += THREADS) {
    store(row, i32(i), i32(core_indices[i]));
  }
}
