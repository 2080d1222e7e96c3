// GRU over all steps in one dispatch, as ONNX defines it: a workgroup goes through the steps of one
// direction of one sample, its threads share the units, and the state stays in workgroup memory.

override THREADS: u32 = 64u;

// The state before a step and after it, in turns.
var<workgroup> core_h: array<f32, 2 * HIDDEN>;
// Of the step: the update gate, and the state times the reset gate.
var<workgroup> core_update: array<f32, HIDDEN>;
var<workgroup> core_reset: array<f32, HIDDEN>;

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
  }
  let length = min(sequence_length(batch), steps());
  let backward = direction == 1 || REVERSE == 1;
  workgroupBarrier();
  for (var step = 0; step < steps(); step++) {
    let before = (step & 1) * HIDDEN;
    let after = HIDDEN - before;
    let time = select(step, length - 1 - step, backward);
    for (var unit = first; unit < HIDDEN; unit += i32(THREADS)) {
      if (step < length) {
        // Of the gates z and r, and the product of the state for the gate h.
        var sums = vec3f(
          gates(direction, time, batch, unit),
          gates(direction, time, batch, HIDDEN + unit),
          0.0,
        );
        let whole = HIDDEN & ~3;
        for (var k = 0; k < whole; k += 4) {
          let state = vec4f(
            core_h[before + k],
            core_h[before + k + 1],
            core_h[before + k + 2],
            core_h[before + k + 3],
          );
          sums.x += dot(r4(direction, unit, k), state);
          sums.y += dot(r4(direction, HIDDEN + unit, k), state);
          if (LINEAR_BEFORE_RESET == 1) {
            sums.z += dot(r4(direction, 2 * HIDDEN + unit, k), state);
          }
        }
        for (var k = whole; k < HIDDEN; k++) {
          let state = core_h[before + k];
          sums.x += state * r(direction, unit, k);
          sums.y += state * r(direction, HIDDEN + unit, k);
          if (LINEAR_BEFORE_RESET == 1) { sums.z += state * r(direction, 2 * HIDDEN + unit, k); }
        }
        core_update[unit] = activation_f(sums.x);
        let reset = activation_f(sums.y);
        if (LINEAR_BEFORE_RESET == 1) {
          core_reset[unit] = reset * (sums.z + recurrent_bias(direction, unit));
        } else {
          core_reset[unit] = reset * core_h[before + unit];
        }
      }
    }
    workgroupBarrier();
    for (var unit = first; unit < HIDDEN; unit += i32(THREADS)) {
      if (step < length) {
        var sum = gates(direction, time, batch, 2 * HIDDEN + unit);
        if (LINEAR_BEFORE_RESET == 1) {
          sum += core_reset[unit];
        } else {
          for (var k = 0; k < HIDDEN; k++) {
            sum += core_reset[k] * r(direction, 2 * HIDDEN + unit, k);
          }
        }
        let update = core_update[unit];
        let state = (1.0 - update) * activation_g(sum) + update * core_h[before + unit];
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
  }
}
