// Simple recurrent layer over all steps in one dispatch, as ONNX defines it: a workgroup goes
// through the steps of a direction of a sample, its threads share the units, and the state stays in
// workgroup memory.

override THREADS: u32 = 64u;

// The state before a step and after it, in turns.
var<workgroup> core_h: array<f32, 2 * HIDDEN>;

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
        var sum = gates(direction, time, batch, unit);
        let whole = HIDDEN & ~3;
        for (var k = 0; k < whole; k += 4) {
          let state = vec4f(
            core_h[before + k],
            core_h[before + k + 1],
            core_h[before + k + 2],
            core_h[before + k + 3],
          );
          sum += dot(r4(direction, unit, k), state);
        }
        for (var k = whole; k < HIDDEN; k++) {
          sum += core_h[before + k] * r(direction, unit, k);
        }
        let state = activation_f(sum);
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
