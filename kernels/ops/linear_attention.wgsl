// Linear attention as ONNX defines it, over all steps in one dispatch: a thread keeps one column of
// a head's state, which no other column's recurrence needs, and goes through the steps.

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

// ---- core
override THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = i32((group.x + group.y * groups.x) * THREADS + thread);
  let all_heads = index / value_size();
  let column = index - all_heads * value_size();
  let batch = all_heads / heads();
  let head = all_heads - batch * heads();
  if (batch >= batches()) { return; }
  var state: array<f32, KEY_SIZE>;
  for (var d = 0; d < KEY_SIZE; d++) { state[d] = initial(batch, head, d, column); }
  for (var time = 0; time < steps(); time++) {
    var held = 0.0;
    for (var d = 0; d < KEY_SIZE; d++) {
      if (GATED == 1) { state[d] *= exp(decay(batch, time, head, d)); }
      if (DELTA == 1) { held += state[d] * key(batch, time, head, d); }
    }
    var added = value(batch, time, head, column);
    if (DELTA == 1) { added = rate(batch, time, head) * (added - held); }
    for (var d = 0; d < KEY_SIZE; d++) { state[d] += key(batch, time, head, d) * added; }
    for (var reader = 0; reader < sharing(); reader++) {
      let query_head = head * sharing() + reader;
      var sum = 0.0;
      for (var d = 0; d < KEY_SIZE; d++) { sum += query(batch, time, query_head, d) * state[d]; }
      store_output(batch, time, query_head, column, sum);
    }
  }
  for (var d = 0; d < KEY_SIZE; d++) { store_state(batch, head, d, column, state[d]); }
}
