// What the core of linear attention calls, over contiguous tensors.

struct Parameters { batches: i32, heads: i32, sharing: i32, steps: i32, value_size: i32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> query_data: array<f32>;
@group(0) @binding(2) var<storage, read_write> key_data: array<f32>;
@group(0) @binding(3) var<storage, read_write> value_data: array<f32>;
@group(0) @binding(4) var<storage, read_write> state_data: array<f32>;
@group(0) @binding(5) var<storage, read_write> decay_data: array<f32>;
@group(0) @binding(6) var<storage, read_write> rate_data: array<f32>;
@group(0) @binding(7) var<storage, read_write> result: array<f32>;
@group(0) @binding(8) var<storage, read_write> final_data: array<f32>;

// Elements of a key.
const KEY_SIZE: i32 = 6;
// 1 where the state decays, and where what it holds for a key is replaced instead of added to.
const GATED: i32 = 1;
const DELTA: i32 = 1;

fn batches() -> i32 { return parameters.batches; }
// Heads of keys and values, and how many heads of queries read each.
fn heads() -> i32 { return parameters.heads; }
fn sharing() -> i32 { return parameters.sharing; }
fn steps() -> i32 { return parameters.steps; }
fn value_size() -> i32 { return parameters.value_size; }

// The scale is part of it.
fn query(batch: i32, time: i32, query_head: i32, d: i32) -> f32 {
  let row = (batch * steps() + time) * heads() * sharing() + query_head;
  return query_data[row * KEY_SIZE + d];
}

fn key(batch: i32, time: i32, head: i32, d: i32) -> f32 {
  return key_data[((batch * steps() + time) * heads() + head) * KEY_SIZE + d];
}

fn value(batch: i32, time: i32, head: i32, column: i32) -> f32 {
  return value_data[((batch * steps() + time) * heads() + head) * value_size() + column];
}

// The logarithm of what is left of the state; not called where GATED is 0.
fn decay(batch: i32, time: i32, head: i32, d: i32) -> f32 {
  return decay_data[((batch * steps() + time) * heads() + head) * KEY_SIZE + d];
}

// How much of what the state holds is replaced; not called where DELTA is 0.
fn rate(batch: i32, time: i32, head: i32) -> f32 {
  return rate_data[(batch * steps() + time) * heads() + head];
}

fn initial(batch: i32, head: i32, d: i32, column: i32) -> f32 {
  return state_data[((batch * heads() + head) * KEY_SIZE + d) * value_size() + column];
}

fn store_output(batch: i32, time: i32, query_head: i32, column: i32, value: f32) {
  let row = (batch * steps() + time) * heads() * sharing() + query_head;
  result[row * value_size() + column] = value;
}

fn store_state(batch: i32, head: i32, d: i32, column: i32, value: f32) {
  final_data[((batch * heads() + head) * KEY_SIZE + d) * value_size() + column] = value;
}
