// LSTM over all steps in one dispatch, as ONNX defines it: a workgroup goes through the steps of a
// direction of a sample, its threads share the units, and the state stays in workgroup memory.

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
