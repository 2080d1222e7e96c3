/** The benchmark `pytorch`: what the way from PyTorch costs beside PyTorch's own exporter. */
import type { Part } from "./harness.ts";
import { memory, time } from "./pytorch/export.ts";

/** The parts, in order. */
export const pytorch: readonly Part[] = [time, memory];
