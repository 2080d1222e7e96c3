// What the cores of sorts call, over contiguous tensors.

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
