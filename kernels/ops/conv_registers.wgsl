// Convolution over up to 3 axes, in groups or not: a thread computes 4 channels of 4 neighbouring
// elements in registers, filter column by filter column and within it 4 channels at a time. Fewer
// divisions than a matrix product whose operand is gathered by index, and as many loads.

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
  let tiles = (group_channels_out() + 3) / 4;
  let of_batch = rest / tiles;
  let first = (rest - of_batch * tiles) * 4;
  let batch = of_batch / groups_of_channels();
  let channels = of_batch - batch * groups_of_channels();
  if (batch >= batches()) { return; }
  let channel0 = channels * group_channels_out() + first;
  let channel1 = channels * group_channels_out() + min(first + 1, group_channels_out() - 1);
  let channel2 = channels * group_channels_out() + min(first + 2, group_channels_out() - 1);
  let channel3 = channels * group_channels_out() + min(first + 3, group_channels_out() - 1);
  var sum0 = vec4f();
  var sum1 = vec4f();
  var sum2 = vec4f();
  var sum3 = vec4f();
  let start = out_x * STRIDE_WIDTH - pad_width();
  let start_y = out_y * STRIDE_HEIGHT - pad_height();
  let start_z = out_z * STRIDE_DEPTH - pad_depth();
  let taps = KERNEL_DEPTH * KERNEL_HEIGHT * KERNEL_WIDTH;
  let whole = group_channels_in() & ~3;
  for (var tap = 0; tap < taps; tap++) {
    let row = tap / KERNEL_WIDTH;
    let kx = tap - row * KERNEL_WIDTH;
    let kz = row / KERNEL_HEIGHT;
    let ky = row - kz * KERNEL_HEIGHT;
    let z = start_z + kz * DILATION_DEPTH;
    let y = start_y + ky * DILATION_HEIGHT;
    let column = start + kx * DILATION_WIDTH;
    let columns = vec4u(vec4i(column) + STRIDE_WIDTH * vec4i(0, 1, 2, 3));
    let inside = (columns < vec4u(u32(in_width()))) &
      vec4<bool>((u32(z) < u32(in_depth())) & (u32(y) < u32(in_height())));
    for (var ci = 0; ci < whole; ci += 4) {
      let channel_in = channels * group_channels_in() + ci;
      let values0 = select(vec4f(), vec4f(
        x(batch, channel_in, z, y, column),
        x(batch, channel_in, z, y, column + STRIDE_WIDTH),
        x(batch, channel_in, z, y, column + 2 * STRIDE_WIDTH),
        x(batch, channel_in, z, y, column + 3 * STRIDE_WIDTH),
      ), inside);
      let values1 = select(vec4f(), vec4f(
        x(batch, channel_in + 1, z, y, column),
        x(batch, channel_in + 1, z, y, column + STRIDE_WIDTH),
        x(batch, channel_in + 1, z, y, column + 2 * STRIDE_WIDTH),
        x(batch, channel_in + 1, z, y, column + 3 * STRIDE_WIDTH),
      ), inside);
      let values2 = select(vec4f(), vec4f(
        x(batch, channel_in + 2, z, y, column),
        x(batch, channel_in + 2, z, y, column + STRIDE_WIDTH),
        x(batch, channel_in + 2, z, y, column + 2 * STRIDE_WIDTH),
        x(batch, channel_in + 2, z, y, column + 3 * STRIDE_WIDTH),
      ), inside);
      let values3 = select(vec4f(), vec4f(
        x(batch, channel_in + 3, z, y, column),
        x(batch, channel_in + 3, z, y, column + STRIDE_WIDTH),
        x(batch, channel_in + 3, z, y, column + 2 * STRIDE_WIDTH),
        x(batch, channel_in + 3, z, y, column + 3 * STRIDE_WIDTH),
      ), inside);
      sum0 += w(channel0, ci, kz, ky, kx) * values0;
      sum0 += w(channel0, ci + 1, kz, ky, kx) * values1;
      sum0 += w(channel0, ci + 2, kz, ky, kx) * values2;
      sum0 += w(channel0, ci + 3, kz, ky, kx) * values3;
      sum1 += w(channel1, ci, kz, ky, kx) * values0;
      sum1 += w(channel1, ci + 1, kz, ky, kx) * values1;
      sum1 += w(channel1, ci + 2, kz, ky, kx) * values2;
      sum1 += w(channel1, ci + 3, kz, ky, kx) * values3;
      sum2 += w(channel2, ci, kz, ky, kx) * values0;
      sum2 += w(channel2, ci + 1, kz, ky, kx) * values1;
      sum2 += w(channel2, ci + 2, kz, ky, kx) * values2;
      sum2 += w(channel2, ci + 3, kz, ky, kx) * values3;
      sum3 += w(channel3, ci, kz, ky, kx) * values0;
      sum3 += w(channel3, ci + 1, kz, ky, kx) * values1;
      sum3 += w(channel3, ci + 2, kz, ky, kx) * values2;
      sum3 += w(channel3, ci + 3, kz, ky, kx) * values3;
    }
    for (var ci = whole; ci < group_channels_in(); ci++) {
      let channel_in = channels * group_channels_in() + ci;
      let values = select(vec4f(), vec4f(
        x(batch, channel_in, z, y, column),
        x(batch, channel_in, z, y, column + STRIDE_WIDTH),
        x(batch, channel_in, z, y, column + 2 * STRIDE_WIDTH),
        x(batch, channel_in, z, y, column + 3 * STRIDE_WIDTH),
      ), inside);
      sum0 += w(channel0, ci, kz, ky, kx) * values;
      sum1 += w(channel1, ci, kz, ky, kx) * values;
      sum2 += w(channel2, ci, kz, ky, kx) * values;
      sum3 += w(channel3, ci, kz, ky, kx) * values;
    }
  }
  core_store4(batch, channel0, out_z, out_y, out_x, sum0);
  if (first + 1 < group_channels_out()) {
    core_store4(batch, channel1, out_z, out_y, out_x, sum1);
  }
  if (first + 2 < group_channels_out()) {
    core_store4(batch, channel2, out_z, out_y, out_x, sum2);
  }
  if (first + 3 < group_channels_out()) {
    core_store4(batch, channel3, out_z, out_y, out_x, sum3);
  }
}

fn core_store4(batch: i32, channel: i32, z: i32, y: i32, column: i32, values: vec4f) {
  if (column < out_width()) { store(batch, channel, z, y, column, values.x); }
  if (column + 1 < out_width()) { store(batch, channel, z, y, column + 1, values.y); }
  if (column + 2 < out_width()) { store(batch, channel, z, y, column + 2, values.z); }
  if (column + 3 < out_width()) { store(batch, channel, z, y, column + 3, values.w); }
}
