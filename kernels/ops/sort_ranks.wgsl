// The order of the elements of each row, by counting: a thread an element, which counts those
// before it. Works for rows of any length, in time of its square.

struct Parameters { rows: i32, length: i32, kept: i32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> keys: array<u32>;
@group(0) @binding(2) var<storage, read_write> result: array<i32>;

fn rows() -> i32 { return parameters.rows; }
fn length() -> i32 { return parameters.length; }
// Elements of the order that are wanted, at most `length`.
fn kept() -> i32 { return parameters.kept; }

// What elements are ordered by, the least first; equal ones by their index.
fn key(row: i32, i: i32) -> u32 { return keys[row * length() + i]; }

// value: the index of the element that is at `rank`.
fn store(row: i32, rank: i32, value: i32) { result[row * kept() + rank] = value; }

// ---- core
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
