/**
 * The least squared error that any scale reaches, by trying them all: what a search must be measured
 * by. Between two scales at which some weight's code changes all codes stay, so that a block has no
 * more different codes than such scales, and each set of codes has its own best scale.
 */
import { symmetricZeroPoint } from "../../src/formats.ts";
import type { Bits } from "../../src/formats.ts";

/**
 * The least sum of (w - s q)^2 over all scales s of either sign and all codes q of a symmetric format,
 * for weights w that share one scale. In binary64, and s is not rounded.
 */
export function leastError(weights: Float64Array, bits: Bits): number {
  const zeroPoint = symmetricZeroPoint(bits);
  let explained = 0;
  for (const sign of [1, -1]) {
    // As 1/s grows from 0, a code leaves k - 1 for k at |w| / s = k - 1/2: w q grows by |w|, q^2 by 2k - 1.
    const changes: { readonly at: number; readonly wq: number; readonly qq: number }[] = [];
    for (const weight of weights) {
      const value = sign * weight;
      const last = value < 0 ? zeroPoint : zeroPoint - 1;
      const magnitude = Math.abs(value);
      if (magnitude === 0) continue;
      for (let k = 1; k <= last; k++) {
        changes.push({ at: (k - 0.5) / magnitude, wq: magnitude, qq: 2 * k - 1 });
      }
    }
    changes.sort((a, b) => a.at - b.at);
    let wq = 0;
    let qq = 0;
    for (const change of changes) {
      wq += change.wq;
      qq += change.qq;
      explained = Math.max(explained, (wq * wq) / qq);
    }
  }
  return Math.max(0, weights.reduce((sum, weight) => sum + weight * weight, 0) - explained);
}
