/** The shader that puts the tensors of a loop's turns one after another. */

/** Copies `p0` words to word `p1` of the result. */
export const COPY_SHADER = `struct Parameters { p0: i32, p1: i32 }
@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read_write> t0: array<u32>;
@group(0) @binding(2) var<storage, read_write> t1: array<u32>;
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = i32((group.x + group.y * groups.x) * 64u + thread);
  if (i >= p.p0) { return; }
  t1[i + p.p1] = t0[i];
}
`;
