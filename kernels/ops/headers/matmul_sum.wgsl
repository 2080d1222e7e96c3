// What the second pass of a split matrix product calls, over contiguous tensors.

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
