// Second pass of a matrix product whose sums were split: adds up the parts of each result, in
// order, so that results don't depend on the adapter's timing.

struct Parameters { batches: i32, rows: i32, columns: i32, splits: i32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> parts: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;

fn batches() -> i32 { return parameters.batches; }
fn rows() -> i32 { return parameters.rows; }
fn columns() -> i32 { return parameters.columns; }
fn splits() -> i32 { return parameters.splits; }

fn load_part(batch: i32, split: i32, row: i32, column: i32) -> f32 {
  return parts[((batch * splits() + split) * rows() + row) * columns() + column];
}

fn store(batch: i32, row: i32, column: i32, value: f32) {
  result[(batch * rows() + row) * columns() + column] = value;
}

// ---- core
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
