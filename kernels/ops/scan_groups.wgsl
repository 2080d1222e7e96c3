// Sums of each element and those before it along rows (or products, by another `combined`): a
// workgroup a row, a thread a part of it.

struct Parameters { rows: i32, length: i32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> elements: array<Element>;
@group(0) @binding(2) var<storage, read_write> result: array<Element>;

// What is added up: f32, i32 or u32.
alias Element = f32;
// 1 where an element has no part in its own result.
const EXCLUSIVE: i32 = 0;
// 1 where sums begin at the last element.
const REVERSE: i32 = 0;

fn rows() -> i32 { return parameters.rows; }
fn length() -> i32 { return parameters.length; }

fn x(row: i32, i: i32) -> Element { return elements[row * length() + i]; }

fn store(row: i32, i: i32, value: Element) { result[row * length() + i] = value; }

// What is done to elements; must be associative.
fn combined(a: Element, b: Element) -> Element { return a + b; }

// combined(neutral(), a) is a.
fn neutral() -> Element { return Element(0); }

// ---- core
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
