// Linear attention as ONNX defines it, over all steps in one dispatch: a thread keeps one column of
// a head's state, which no other column's recurrence needs, and goes through the steps.

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
