// What the core of an LSTM calls, over contiguous tensors.

struct Parameters { directions: i32, batches: i32, steps: i32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> gate_data: array<f32>;
@group(0) @binding(2) var<storage, read_write> weight_data: array<f32>;
@group(0) @binding(3) var<storage, read_write> initial_data: array<f32>;
@group(0) @binding(4) var<storage, read_write> length_data: array<i32>;
@group(0) @binding(5) var<storage, read_write> peephole_data: array<f32>;
@group(0) @binding(6) var<storage, read_write> result: array<f32>;
@group(0) @binding(7) var<storage, read_write> final_data: array<f32>;

const HIDDEN: i32 = 10;
// 1 where direction 0 goes backward; direction 1 always does.
const REVERSE: i32 = 0;
// 1 where the forget gate is 1 minus the input gate.
const COUPLED: i32 = 0;
// 1 where products see the state rounded to 8 bits over the range that it has at the step.
const ROUNDED: i32 = 0;

fn directions() -> i32 { return parameters.directions; }
fn batches() -> i32 { return parameters.batches; }
fn steps() -> i32 { return parameters.steps; }

// row is gate * HIDDEN + unit, gates in ONNX's order. What the input contributes, with every bias.
fn gates(direction: i32, time: i32, batch: i32, row: i32) -> f32 {
  let rows = 4 * HIDDEN;
  return gate_data[((direction * steps() + time) * batches() + batch) * rows + row];
}

// Recurrent weights; row as above, k < HIDDEN.
fn r(direction: i32, row: i32, k: i32) -> f32 {
  return weight_data[(direction * 4 * HIDDEN + row) * HIDDEN + k];
}

// 4 of them along k, a multiple of 4; k + 3 < HIDDEN.
fn r4(direction: i32, row: i32, k: i32) -> vec4f {
  let i = (direction * 4 * HIDDEN + row) * HIDDEN + k;
  return vec4f(weight_data[i], weight_data[i + 1], weight_data[i + 2], weight_data[i + 3]);
}

fn initial_h(direction: i32, batch: i32, unit: i32) -> f32 {
  return initial_data[(direction * batches() + batch) * HIDDEN + unit];
}

// Steps of a sample; what is past them has outputs of zero.
fn sequence_length(batch: i32) -> i32 { return length_data[batch]; }

fn initial_c(direction: i32, batch: i32, unit: i32) -> f32 {
  return initial_data[((directions() + direction) * batches() + batch) * HIDDEN + unit];
}

// Of the gates i, o and f.
fn peephole(direction: i32, gate: i32, unit: i32) -> f32 {
  return peephole_data[(direction * 3 + gate) * HIDDEN + unit];
}

fn activation_f(x: f32) -> f32 { return 1.0 / (1.0 + exp(-x)); }

fn activation_g(x: f32) -> f32 {
  let e = exp(-2.0 * abs(x));
  return sign(x) * (1.0 - e) / (1.0 + e);
}

fn activation_h(x: f32) -> f32 { return activation_g(x); }

fn store_y(time: i32, direction: i32, batch: i32, unit: i32, value: f32) {
  result[((time * directions() + direction) * batches() + batch) * HIDDEN + unit] = value;
}

fn store_h(direction: i32, batch: i32, unit: i32, value: f32) {
  final_data[(direction * batches() + batch) * HIDDEN + unit] = value;
}

fn store_c(direction: i32, batch: i32, unit: i32, value: f32) {
  final_data[((directions() + direction) * batches() + batch) * HIDDEN + unit] = value;
}
