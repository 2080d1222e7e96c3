// Quantizes blocks of up to 256 weights: a thread takes a block, from its weights to its codes.

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
  let extremes = run_extremes(lane);
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
  put_run(block, 0u, run_size(), lane, scale, choice.zero_point);
  if (matrix.measure == 1u) {
    sums[block] = vec4f(error_sums(lane, scale, choice.zero_point), up_of(extremes.magnitude));
  }
}
