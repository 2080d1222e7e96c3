/**
 * What float16 activations make of quantized weights: a model that computes in float16 restores each
 * weight, a code times its block's scale, in float16, where what passes 65504 is infinite.
 */
import { type BlockFormat, highestCode } from "../formats.ts";
import type { QuantizeResult } from "./engine.ts";
import { FLOAT16_MAX, float16ToNumber } from "./half.ts";

/** How many blocks of `result`, which has float16 scales, can hold weights past {@link FLOAT16_MAX}. */
export function blocksPastFloat16(
  { scales, zeroPoints }: Pick<QuantizeResult, "scales" | "zeroPoints">,
  { bits }: BlockFormat,
): number {
  const most = highestCode(bits);
  const limit = FLOAT16_MAX / most;
  const view = new DataView(scales.buffer, scales.byteOffset, scales.byteLength);
  let blocks = 0;
  for (let block = 0; block < scales.byteLength / 2; block++) {
    const scale = float16ToNumber(view.getUint16(2 * block, true) & 0x7fff);
    if (scale <= limit) continue;
    const zeroPoint = zeroPoints?.[block] ?? 2 ** (bits - 1);
    if (scale * Math.max(zeroPoint, most - zeroPoint) > FLOAT16_MAX) blocks++;
  }
  return blocks;
}
