/**
 * The benchmark `quantize`: speed, quality and cost of quantization, against ONNX Runtime's own
 * tools, memcpy and cp.
 */
import type { Part } from "./harness.ts";
import { files } from "./quantize/files.ts";
import { help } from "./quantize/help.ts";
import { memory } from "./quantize/memory.ts";

/** The parts, in order. */
export const quantize: readonly Part[] = [files, memory, help];
