/** The benchmark `pytorch`: what the way from PyTorch costs, and what it keeps. */
import type { Part } from "./harness.ts";
import { memory, time } from "./pytorch/export.ts";
import { sentences } from "./pytorch/sentences.ts";

/** The parts, in order. */
export const pytorch: readonly Part[] = [time, memory, sentences];
