/**
 * Rounding to nearest: the scale follows from the extremes of a block, as in ONNX Runtime's plain
 * quantizer of `MatMulNBits`.
 */
import { highestCode, symmetricZeroPoint } from "../../formats.ts";
import {
  type Block,
  type Choice,
  extremes,
  normalizers,
  reciprocal,
  roundToEven,
  signedLargest,
  storeScale,
} from "./block.ts";

const f = Math.fround;

/**
 * Symmetric: the weight of largest magnitude maps on the code 0, that is -2^(bits-1), so that the
 * scale is negative where that weight is positive. Asymmetric: the range, zero included, spans all
 * codes, and the zero point is the code nearest to zero.
 */
export function chooseByRounding({ weights, format }: Block): Choice {
  const { low, high } = extremes(weights);
  if (format.symmetric) {
    const zeroPoint = symmetricZeroPoint(format.bits);
    return { ...storeScale(signedLargest({ low, high }) / -zeroPoint, format), zeroPoint };
  }
  const most = highestCode(format.bits);
  const least = Math.min(low, 0);
  const greatest = Math.max(high, 0);
  const { down, up } = normalizers(Math.max(-least, greatest));
  const range = f(f(greatest * down) - f(least * down));
  const stored = storeScale(f(f(range / most) * up), format);
  const position = f(-least * reciprocal(stored.scale));
  return { ...stored, zeroPoint: roundToEven(Math.min(Math.max(position, 0), most)) };
}
