// Access to weights straight from the buffer, for adapters that compute on the processor: they have
// its caches instead of workgroup memory, and take seconds to compile the latter.

// The run of this thread: its first element, the distance to the next, and how many there are.
var<private> run_first: u32;
var<private> run_step: u32;
var<private> run_length: u32;
// What normalizes its weights, 0 before, and the magnitude bits below which they become 0.
var<private> run_factor: f32;
var<private> run_least: u32;

fn stage(group: u32, lane: u32) {
  let place = place_of(group, lane);
  let column = place.run * run_size();
  run_length = select(0u, min(run_size(), matrix.columns - column), place.valid);
  run_factor = 0.0;
  if (matrix.column_order == 1u) {
    run_first = column * matrix.rows + place.row;
    run_step = matrix.rows;
  } else {
    run_first = place.row * matrix.columns + column;
    run_step = 1u;
  }
}

fn weight_at(i: u32) -> f32 {
  if (i >= run_length) {
    return 0.0;
  }
  let weight = element(run_first + i * run_step);
  if (run_factor == 0.0) {
    return weight;
  }
  let kept = (bitcast<u32>(weight) & 0x7fffffffu) >= run_least;
  return select(0.0, weight * run_factor, kept);
}

// Weights 4 * i to 4 * i + 3 of this thread's run.
fn weights_at(i: u32, lane: u32) -> vec4f {
  let first = 4u * i;
  return vec4f(
    weight_at(first),
    weight_at(first + 1u),
    weight_at(first + 2u),
    weight_at(first + 3u),
  );
}

// Multiplies this thread's run by the power of two `factor`; weights whose magnitude has bits below
// `least` become 0.
fn normalize_run(lane: u32, factor: f32, least: u32) {
  run_factor = factor;
  run_least = least;
}

// Makes this thread's run zeros.
fn clear_run(lane: u32) {
  run_length = 0u;
}
