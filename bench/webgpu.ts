/**
 * The benchmark `webgpu`: speed, size and memory of compiled modules, against ONNX Runtime's WebGPU
 * provider and against what no module can do without.
 */
import type { Part } from "./harness.ts";
import { arena } from "./webgpu/arena.ts";
import { compile } from "./webgpu/compile.ts";
import { latency } from "./webgpu/latency.ts";
import { memory } from "./webgpu/memory.ts";
import { pageLoad } from "./webgpu/page_load.ts";
import { size } from "./webgpu/size.ts";
import { weights } from "./webgpu/weights.ts";

/** The parts, in order. */
export const webgpu: readonly Part[] = [size, weights, compile, arena, latency, pageLoad, memory];
