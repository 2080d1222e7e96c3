/**
 * The benchmark `quantize`: speed, quality and cost of quantization, against ONNX Runtime's own
 * tools, memcpy and cp.
 */
import type { Part } from "./harness.ts";
import { files } from "./quantize/files.ts";
import { gpu } from "./quantize/gpu.ts";
import { help } from "./quantize/help.ts";
import { identical } from "./quantize/identical.ts";
import { memory } from "./quantize/memory.ts";
import { model } from "./quantize/model.ts";
import { models } from "./quantize/models.ts";
import { quality } from "./quantize/quality.ts";
import { speed } from "./quantize/speed.ts";

/** The parts, in order. */
export const quantize: readonly Part[] = [
  speed,
  quality,
  model,
  files,
  memory,
  help,
  models,
  identical,
  gpu,
];
