/**
 * The reference engine: the arithmetic of `docs/arithmetic.md` in plain TypeScript, a block at a
 * time. It is there for the tests and as the last resort where no other engine works.
 */
import { type BlockFormat, blockLayout, threeBitPosition } from "../formats.ts";
import { checkJob } from "./check_job.ts";
import type { Engine, ErrorSums, Method, QuantizeJob, QuantizeResult } from "./engine.ts";
import { float16FromNumber } from "./half.ts";
import {
  type Block,
  type Choice,
  extremes,
  reciprocal,
  signedBounds,
  signedCode,
  signedLargest,
  SMALLEST_MAGNITUDE,
  zeroChoice,
} from "./methods/block.ts";
import { chooseByError } from "./methods/mse.ts";
import { importanceOf, sharesOf } from "./methods/integers.ts";
import { chooseByHalfQuadratic } from "./methods/hqq.ts";
import { chooseByRounding } from "./methods/rtn.ts";
import { widen } from "./widen.ts";

const CHOOSE: Readonly<Record<Method, (block: Block) => Choice>> = {
  rtn: chooseByRounding,
  mse: chooseByError,
  hqq: chooseByHalfQuadratic,
};

/** An engine of plain TypeScript. */
export function createReferenceEngine(): Engine {
  return {
    name: "reference",
    allocate: (byteLength) =>
      Promise.resolve({ bytes: new Uint8Array(byteLength), release: () => {} }),
    quantize: (job) => Promise.resolve(job).then(quantizeMatrix),
    dispose: () => {},
  };
}

/** Quantizes a matrix: see `Engine.quantize`. */
export function quantizeMatrix(job: QuantizeJob): QuantizeResult {
  checkJob(job);
  const { rows, columns, format } = job;
  const layout = blockLayout(format, rows, columns);
  const codes = new Uint8Array(layout.codeBytes);
  const scales = new Uint8Array(layout.scaleBytes);
  const zeroPoints = format.symmetric ? null : new Uint8Array(rows * layout.blocks);
  const error: ErrorSums = { signal: 0, noise: 0, dot: 0 };
  let nonFinite = 0;
  let saturated = 0;
  const matrix = widen(job.weights, job.weightType);
  const importance = importanceOf(job);
  const shares = importance && sharesOf(importance, layout.blockLength);
  for (let row = 0; row < rows; row++) {
    for (let block = 0; block < layout.blocks; block++) {
      const index = row * layout.blocks + block;
      const start = block * layout.blockLength;
      const length = Math.min(layout.blockLength, columns - start);
      const weights = Float32Array.from({ length }, (_, i) => {
        const column = start + i;
        return matrix[job.order === "rows" ? row * columns + column : column * rows + row]!;
      });
      const finite = weights.every(Number.isFinite);
      const choice = finite
        ? choose({
          weights,
          shares: shares?.subarray(start, start + length) ?? null,
          format,
          blockLength: layout.blockLength,
        }, job.method)
        : zeroChoice(format);
      if (!finite) nonFinite++;
      if (choice.saturated) saturated++;
      storeScaleAt(scales, index, choice.scale, format);
      if (zeroPoints) zeroPoints[index] = choice.zeroPoint;
      const inverse = reciprocal(choice.scale);
      const [least, most] = signedBounds(format, choice.zeroPoint);
      for (let i = 0; i < layout.blockLength; i++) {
        const weight = i < length && finite ? weights[i]! : 0;
        const signed = signedCode(weight, inverse, least, most);
        storeCode(codes, index, i, signed + choice.zeroPoint, format, layout.blockLength);
        if (finite && i < length) addError(error, weight, choice.scale * signed);
      }
    }
  }
  return {
    codes,
    scales,
    zeroPoints,
    nonFinite,
    saturated,
    ...(job.measure ? { error } : {}),
    release: () => {},
  };
}

/** Scale and zero point of a finite block. */
function choose(block: Block, method: Method): Choice {
  const magnitude = Math.abs(signedLargest(extremes(block.weights)));
  if (magnitude < SMALLEST_MAGNITUDE) return zeroChoice(block.format);
  const choice = CHOOSE[method](block);
  return choice.scale === 0 ? zeroChoice(block.format) : choice;
}

function addError(sums: ErrorSums, weight: number, value: number): void {
  sums.signal += weight * weight;
  sums.noise += (weight - value) ** 2;
  sums.dot += weight * value;
}

function storeScaleAt(scales: Uint8Array, index: number, scale: number, format: BlockFormat): void {
  const view = new DataView(scales.buffer, scales.byteOffset);
  if (format.scaleType === "float32") view.setFloat32(index * 4, scale, true);
  else view.setUint16(index * 2, float16FromNumber(scale), true);
}

/** Stores the code of weight `i` of block `index` among all codes, which are zero to begin with. */
function storeCode(
  codes: Uint8Array,
  index: number,
  i: number,
  code: number,
  { bits }: BlockFormat,
  blockLength: number,
): void {
  if (bits === 3) {
    const { plane, byte, lowBit, highBit } = threeBitPosition(i, blockLength);
    const planeBytes = codes.length / 3;
    const at = index * (blockLength / 8) + byte;
    codes[plane * planeBytes + at]! |= (code & 3) << lowBit;
    codes[2 * planeBytes + at]! |= (code >> 2) << highBit;
    return;
  }
  const perByte = 8 / bits;
  const at = (index * blockLength) / perByte + Math.floor(i / perByte);
  codes[at]! |= code << (bits * (i % perByte));
}
