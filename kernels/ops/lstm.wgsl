// LSTM over all steps in one dispatch, as ONNX defines it: a workgroup goes through the steps of a
// direction of a sample, its threads share the units, and the state stays in workgroup memory.

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

// ---- core
override THREADS: u32 = 64u;

// The state before a step and after it, in turns.
var<workgroup> core_h: array<f32, 2 * HIDDEN>;
var<workgroup> core_c: array<f32, HIDDEN>;

// The step and the zero point of 8-bit codes for the state that begins at `start`.
fn core_codes(start: i32) -> vec2f {
  var range = vec2f(0.0, 0.0);
  for (var k = 0; k < HIDDEN; k++) {
    range = vec2f(min(range.x, core_h[start + k]), max(range.y, core_h[start + k]));
  }
  let width = (range.y - range.x) / 255.0;
  let scale = select(width, 1.0, width == 0.0);
  return vec2f(scale, round(clamp(-range.x / scale, 0.0, 255.0)));
}

// What a product sees of the state x.
fn core_seen(x: f32, codes: vec2f) -> f32 {
  if (ROUNDED == 0) { return x; }
  return (clamp(round(x / codes.x) + codes.y, 0.0, 255.0) - codes.y) * codes.x;
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = i32(group.x + group.y * groups.x);
  let direction = index / batches();
  let batch = index - direction * batches();
  // The same for every thread of a workgroup.
  if (direction >= directions()) { return; }
  let first = i32(thread);
  for (var unit = first; unit < HIDDEN; unit += i32(THREADS)) {
    core_h[unit] = initial_h(direction, batch, unit);
    core_c[unit] = initial_c(direction, batch, unit);
  }
  let length = min(sequence_length(batch), steps());
  let backward = direction == 1 || REVERSE == 1;
  workgroupBarrier();
  for (var step = 0; step < steps(); step++) {
    let before = (step & 1) * HIDDEN;
    let after = HIDDEN - before;
    let time = select(step, length - 1 - step, backward);
    var codes = vec2f(1.0, 0.0);
    if (ROUNDED == 1) { codes = core_codes(before); }
    for (var unit = first; unit < HIDDEN; unit += i32(THREADS)) {
      if (step < length) {
        // Of the gates i, o, f and c.
        var sums = vec4f(
          gates(direction, time, batch, unit),
          gates(direction, time, batch, HIDDEN + unit),
          gates(direction, time, batch, 2 * HIDDEN + unit),
          gates(direction, time, batch, 3 * HIDDEN + unit),
        );
        let whole = HIDDEN & ~3;
        for (var k = 0; k < whole; k += 4) {
          let state = vec4f(
            core_seen(core_h[before + k], codes),
            core_seen(core_h[before + k + 1], codes),
            core_seen(core_h[before + k + 2], codes),
            core_seen(core_h[before + k + 3], codes),
          );
          sums += vec4f(
            dot(r4(direction, unit, k), state),
            dot(r4(direction, HIDDEN + unit, k), state),
            dot(r4(direction, 2 * HIDDEN + unit, k), state),
            dot(r4(direction, 3 * HIDDEN + unit, k), state),
          );
        }
        for (var k = whole; k < HIDDEN; k++) {
          sums += core_seen(core_h[before + k], codes) * vec4f(
            r(direction, unit, k),
            r(direction, HIDDEN + unit, k),
            r(direction, 2 * HIDDEN + unit, k),
            r(direction, 3 * HIDDEN + unit, k),
          );
        }
        let old = core_c[unit];
        let input = activation_f(sums.x + peephole(direction, 0, unit) * old);
        var kept = 1.0 - input;
        if (COUPLED == 0) {
          kept = activation_f(sums.z + peephole(direction, 2, unit) * old);
        }
        let cell = kept * old + input * activation_g(sums.w);
        let shown = activation_f(sums.y + peephole(direction, 1, unit) * cell);
        let state = shown * activation_h(cell);
        core_c[unit] = cell;
        core_h[after + unit] = state;
        store_y(time, direction, batch, unit, state);
      } else {
        core_h[after + unit] = core_h[before + unit];
        store_y(step, direction, batch, unit, 0.0);
      }
    }
    workgroupBarrier();
  }
  let last = (steps() & 1) * HIDDEN;
  for (var unit = first; unit < HIDDEN; unit += i32(THREADS)) {
    store_h(direction, batch, unit, core_h[last + unit]);
    store_c(direction, batch, unit, core_c[unit]);
  }
}
