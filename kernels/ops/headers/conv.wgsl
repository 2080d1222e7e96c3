// What the cores of convolutions call, over contiguous tensors.

struct Parameters {
  batches: i32,
  groups_of_channels: i32,
  group_channels_out: i32,
  group_channels_in: i32,
  out_depth: i32,
  out_height: i32,
  out_width: i32,
  in_depth: i32,
  in_height: i32,
  in_width: i32,
  pad_depth: i32,
  pad_height: i32,
  pad_width: i32,
}
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read_write> picture: array<f32>;
@group(0) @binding(2) var<storage, read_write> filters: array<f32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

fn batches() -> i32 { return parameters.batches; }
fn groups_of_channels() -> i32 { return parameters.groups_of_channels; }
fn group_channels_out() -> i32 { return parameters.group_channels_out; }
fn group_channels_in() -> i32 { return parameters.group_channels_in; }
fn out_depth() -> i32 { return parameters.out_depth; }
fn out_height() -> i32 { return parameters.out_height; }
fn out_width() -> i32 { return parameters.out_width; }
fn in_depth() -> i32 { return parameters.in_depth; }
fn in_height() -> i32 { return parameters.in_height; }
fn in_width() -> i32 { return parameters.in_width; }
// Zeros before the first element.
fn pad_depth() -> i32 { return parameters.pad_depth; }
fn pad_height() -> i32 { return parameters.pad_height; }
fn pad_width() -> i32 { return parameters.pad_width; }

const KERNEL_DEPTH: i32 = 1;
const KERNEL_HEIGHT: i32 = 3;
const KERNEL_WIDTH: i32 = 3;
const STRIDE_DEPTH: i32 = 1;
const STRIDE_HEIGHT: i32 = 1;
const STRIDE_WIDTH: i32 = 1;
const DILATION_DEPTH: i32 = 1;
const DILATION_HEIGHT: i32 = 1;
const DILATION_WIDTH: i32 = 1;

// channel counts over all groups. x may lie beside the picture: what is given there is not used.
fn x(batch: i32, channel: i32, z: i32, y: i32, x: i32) -> f32 {
  let channels = groups_of_channels() * group_channels_in();
  let plane = (batch * channels + channel) * in_depth() + z;
  return picture[(plane * in_height() + y) * in_width() + x];
}

// channel_out counts over all groups, channel_in within its group.
fn w(channel_out: i32, channel_in: i32, kz: i32, ky: i32, kx: i32) -> f32 {
  let plane = (channel_out * group_channels_in() + channel_in) * KERNEL_DEPTH + kz;
  return filters[(plane * KERNEL_HEIGHT + ky) * KERNEL_WIDTH + kx];
}

fn store(batch: i32, channel: i32, z: i32, y: i32, x: i32, value: f32) {
  let channels = groups_of_channels() * group_channels_out();
  let plane = (batch * channels + channel) * out_depth() + z;
  result[(plane * out_height() + y) * out_width() + x] = value;
}
