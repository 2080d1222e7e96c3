// Convolution over up to 3 axes with few channels in a group: a thread computes 4 neighbouring
// elements of a channel. One loop over all of the filter: nested loops cost more than divisions.

override THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let spans = (out_width() + 3) / 4;
  var rest = i32((group.x + group.y * groups.x) * THREADS + thread);
  let out_x = (rest % spans) * 4;
  rest /= spans;
  let out_y = rest % out_height();
  rest /= out_height();
  let out_z = rest % out_depth();
  rest /= out_depth();
  let of_batch = rest / group_channels_out();
  let first = rest - of_batch * group_channels_out();
  let batch = of_batch / groups_of_channels();
  let channels = of_batch - batch * groups_of_channels();
  if (batch >= batches()) { return; }
  let channel = channels * group_channels_out() + first;
  var sum = vec4f();
  let start = out_x * STRIDE_WIDTH - pad_width();
  let start_y = out_y * STRIDE_HEIGHT - pad_height();
  let start_z = out_z * STRIDE_DEPTH - pad_depth();
  let taps = group_channels_in() * (KERNEL_DEPTH * KERNEL_HEIGHT * KERNEL_WIDTH);
  for (var tap = 0; tap < taps; tap++) {
    let row = tap / KERNEL_WIDTH;
    let kx = tap - row * KERNEL_WIDTH;
    let plane = row / KERNEL_HEIGHT;
    let ky = row - plane * KERNEL_HEIGHT;
    let ci = plane / KERNEL_DEPTH;
    let kz = plane - ci * KERNEL_DEPTH;
    let z = start_z + kz * DILATION_DEPTH;
    let y = start_y + ky * DILATION_HEIGHT;
    let column = start + kx * DILATION_WIDTH;
    let columns = vec4u(vec4i(column) + STRIDE_WIDTH * vec4i(0, 1, 2, 3));
    let inside = (columns < vec4u(u32(in_width()))) &
      vec4<bool>((u32(z) < u32(in_depth())) & (u32(y) < u32(in_height())));
    let channel_in = channels * group_channels_in() + ci;
    let values = select(vec4f(), vec4f(
      x(batch, channel_in, z, y, column),
      x(batch, channel_in, z, y, column + STRIDE_WIDTH),
      x(batch, channel_in, z, y, column + 2 * STRIDE_WIDTH),
      x(batch, channel_in, z, y, column + 3 * STRIDE_WIDTH),
    ), inside);
    sum += w(channel, ci, kz, ky, kx) * values;
  }
  core_store4(batch, channel, out_z, out_y, out_x, sum);
}

fn core_store4(batch: i32, channel: i32, z: i32, y: i32, column: i32, values: vec4f) {
  if (column < out_width()) { store(batch, channel, z, y, column, values.x); }
  if (column + 1 < out_width()) { store(batch, channel, z, y, column + 1, values.y); }
  if (column + 2 < out_width()) { store(batch, channel, z, y, column + 2, values.z); }
  if (column + 3 < out_width()) { store(batch, channel, z, y, column + 3, values.w); }
}
