// What the core of attention calls, over contiguous tensors.

struct Parameters { batches: i32, heads: i32, queries: i32, keys: i32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> query_data: array<f32>;
@group(0) @binding(2) var<storage, read_write> key_data: array<f32>;
@group(0) @binding(3) var<storage, read_write> value_data: array<f32>;
@group(0) @binding(4) var<storage, read_write> mask_data: array<f32>;
@group(0) @binding(5) var<storage, read_write> result: array<f32>;

// Elements of a query and of a key, and of a value.
const HEAD_SIZE: i32 = 18;
const VALUE_SIZE: i32 = 7;
// The result of a query that sees no key, and of one whose scores hold NaN: 0 for zeros and NaN, 1
// for NaN, 2 for zeros.
const UNDEFINED_ROWS: i32 = 0;

fn batches() -> i32 { return parameters.batches; }
fn heads() -> i32 { return parameters.heads; }
fn queries() -> i32 { return parameters.queries; }
fn keys() -> i32 { return parameters.keys; }

fn q(batch: i32, head: i32, query: i32, d: i32) -> f32 {
  return query_data[((batch * heads() + head) * queries() + query) * HEAD_SIZE + d];
}

// 4 values along d, a multiple of 4; d + 3 < HEAD_SIZE.
fn q4(batch: i32, head: i32, query: i32, d: i32) -> vec4f {
  let i = ((batch * heads() + head) * queries() + query) * HEAD_SIZE + d;
  return vec4f(query_data[i], query_data[i + 1], query_data[i + 2], query_data[i + 3]);
}

// head is the query's: where several share a key, this hook knows.
fn k(batch: i32, head: i32, key: i32, d: i32) -> f32 {
  return key_data[((batch * heads() + head) * keys() + key) * HEAD_SIZE + d];
}

// As q4.
fn k4(batch: i32, head: i32, key: i32, d: i32) -> vec4f {
  let i = ((batch * heads() + head) * keys() + key) * HEAD_SIZE + d;
  return vec4f(key_data[i], key_data[i + 1], key_data[i + 2], key_data[i + 3]);
}

// 4 values along d, a multiple of 4. Those past the last are not used.
fn v4(batch: i32, head: i32, key: i32, d: i32) -> vec4f {
  let i = ((batch * heads() + head) * keys() + key) * VALUE_SIZE + d;
  return vec4f(value_data[i], value_data[i + 1], value_data[i + 2], value_data[i + 3]);
}

// Added to the score; -3e38 and less (minus infinity too) keep the key out.
fn mask(batch: i32, head: i32, query: i32, key: i32) -> f32 {
  return mask_data[((batch * heads() + head) * queries() + query) * keys() + key];
}

// Where it is not 0, the mask is the score.
fn replaced(batch: i32, head: i32, query: i32, key: i32) -> f32 { return 0.0; }

// What becomes of a product of a query and a key before the mask: a scale, a cap.
fn adjusted(product: f32) -> f32 { return product * 0.25; }

fn store(batch: i32, head: i32, query: i32, d: i32, value: f32) {
  result[((batch * heads() + head) * queries() + query) * VALUE_SIZE + d] = value;
}
