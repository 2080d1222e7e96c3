// Quantizes blocks of up to 256 weights: a thread takes a block, from its weights to its codes.

// ---- header: plain stand-ins for arithmetic.wgsl, matrix.wgsl, staged.wgsl, choice.wgsl and a method
override THREADS: u32 = 64;

const INFINITE_MAGNITUDE = 0x7f800000u;
const NO_EXTREMES = Extremes(0.0, 0.0, 0u);
const NOTHING_WRITTEN = Writers(0u);

struct Matrix {
  runs: u32,
  measure: u32,
  groups: u32,
}

struct Tally {
  non_finite: atomic<u32>,
  saturated: atomic<u32>,
  finished: atomic<u32>,
}

struct Place {
  row: u32,
  run: u32,
  valid: bool,
}

struct Extremes {
  low: f32,
  high: f32,
  magnitude: u32,
}

struct Choice {
  scale: f32,
  zero_point: u32,
  saturated: u32,
}

struct Writers {
  word: u32,
}

@group(0) @binding(1) var<uniform> matrix: Matrix;
@group(0) @binding(6) var<storage, read_write> tally: Tally;
@group(0) @binding(7) var<storage, read_write> sums: array<vec4f>;

fn group_number(group: vec3u, groups: vec3u) -> u32 {
  return group.y * groups.x + group.x;
}

fn place_of(group: u32, lane: u32) -> Place {
  return Place(group, lane, true);
}

fn stage(group: u32, lane: u32) {}

fn weights_at(i: u32, lane: u32) -> vec4f {
  return vec4f(0.0);
}

fn normalize_run(lane: u32, factor: f32, least: u32) {}

fn clear_run(lane: u32) {}

fn put_codes(writers: Writers, block: u32, first: u32, four: vec4u) -> Writers {
  return writers;
}

fn flush_codes(writers: Writers) {}

fn store_scale(block: u32, scale: f32) {}

fn store_zero_point(block: u32, zero_point: u32) {}

fn widen_extremes(extremes: Extremes, weights: vec4f) -> Extremes {
  return extremes;
}

fn is_regular(extremes: Extremes) -> bool {
  return true;
}

fn down_of(magnitude: u32) -> f32 {
  return 1.0;
}

fn up_of(magnitude: u32) -> f32 {
  return 1.0;
}

fn zero_choice() -> Choice {
  return Choice(0.0, 0u, 0u);
}

fn reciprocal(scale: f32) -> f32 {
  return 1.0 / scale;
}

fn signed_codes(values: vec4f, inverse: f32, zero_point: u32) -> vec4f {
  return values * inverse;
}

fn settle(choice: Choice) -> Choice {
  return choice;
}

fn error_sums(lane: u32, scale: f32, zero_point: u32) -> vec3f {
  return vec3f(scale);
}

fn least_of(magnitude: u32, saturated: u32) -> u32 {
  return 1u;
}

fn choose_by_rounding(extremes: Extremes) -> Choice {
  return Choice(extremes.high, 0u, 0u);
}

fn choose(plain: Choice, extremes: Extremes, run: u32, lane: u32) -> Choice {
  return plain;
}

fn run_size() -> u32 {
  return 32u;
}

// ---- core
@compute @workgroup_size(THREADS)
fn quantize(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let number = group_number(group, groups);
  stage(number, lane);
  let place = place_of(number, lane);
  if (place.valid) {
    quantize_block(place, lane);
  }
  if (lane == 0u && number < matrix.groups) {
    atomicAdd(&tally.finished, 1u);
  }
}

fn quantize_block(place: Place, lane: u32) {
  let block = place.row * matrix.runs + place.run;
  var extremes = NO_EXTREMES;
  for (var i = 0u; i < run_size() / 4u; i++) {
    extremes = widen_extremes(extremes, weights_at(i, lane));
  }
  var choice = zero_choice();
  var down = 1.0;
  if (is_regular(extremes)) {
    down = down_of(extremes.magnitude);
    choice = choose_by_rounding(extremes);
    normalize_run(lane, down, least_of(extremes.magnitude, choice.saturated));
    if (choice.saturated == 0u) {
      choice = choose(choice, extremes, place.run, lane);
    }
    choice = settle(choice);
    if (choice.saturated == 1u) {
      atomicAdd(&tally.saturated, 1u);
    }
  } else {
    clear_run(lane);
    if (extremes.magnitude >= INFINITE_MAGNITUDE) {
      atomicAdd(&tally.non_finite, 1u);
    }
  }
  store_scale(block, choice.scale);
  store_zero_point(block, choice.zero_point);
  let scale = choice.scale * down;
  let inverse = reciprocal(scale);
  var writers = NOTHING_WRITTEN;
  for (var i = 0u; i < run_size() / 4u; i++) {
    let signed = signed_codes(weights_at(i, lane), inverse, choice.zero_point);
    let four = vec4u(vec4i(signed) + vec4i(i32(choice.zero_point)));
    writers = put_codes(writers, block, 4u * i, four);
  }
  flush_codes(writers);
  if (matrix.measure == 1u) {
    sums[block] = vec4f(error_sums(lane, scale, choice.zero_point), up_of(extremes.magnitude));
  }
}
