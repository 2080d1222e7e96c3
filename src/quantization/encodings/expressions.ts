/**
 * Codes to weights in ONNX's own arithmetic. Codes become int32 and are taken apart by Div and Mod:
 * that needs opset 10 only, and is what every runtime computes alike (shifts of uint8 are folded
 * wrongly by OpenVINO 2026.4 before a MatMul). Values are then `scale * (code - zeroPoint)` in
 * float32, which is exact but for the last rounding. On constants ONNX Runtime computes all of it
 * once, at load.
 */
import { int } from "../../ir.ts";
import type { Bits } from "../../formats.ts";
import { symmetricZeroPoint } from "../../formats.ts";
import type { PatchBuilder, Place } from "./encoding.ts";
import type { Packing } from "./packing.ts";

/** Stored codes by name: one tensor, or for 3 bits the planes L0, L1 and H. */
export type CodeNames =
  | { readonly bits: 8 | 4 | 2; readonly codes: string; readonly split: boolean }
  | {
    readonly bits: 3;
    readonly planes: readonly [string, string, string];
    readonly split: boolean;
  };

/** Bits in which zero points of `bits` wide codes are stored: 3-bit ones take nibbles. */
export function zeroPointBits(bits: Bits): 8 | 4 | 2 {
  return bits === 3 ? 4 : bits;
}

/**
 * Dims of stored codes of `lead` rows in blocks. Where `split`, with the axes along which a byte is
 * taken apart, else [lead, blocks, bytes] as `MatMulNBits` takes them.
 */
function codeDims(
  bits: Bits,
  lead: number,
  blocks: number,
  blockLength: number,
  split: boolean,
): number[] {
  if (bits === 8) return [lead, blocks, blockLength];
  if (bits === 3) {
    const bytes = blockLength / 8;
    return split ? [lead, blocks, 1, 1, bytes, 1] : [lead, blocks, bytes];
  }
  const bytes = blockLength * bits / 8;
  return split ? [lead, blocks, bytes, 1] : [lead, blocks, bytes];
}

/**
 * Adds tensors of codes with the dims of {@link codeDims}: one, or for 3 bits three; `packing` says
 * what each holds, by its plane where there are several.
 */
export function pendingCodes(
  b: PatchBuilder,
  bits: Bits,
  [lead, blocks, blockLength]: readonly [lead: number, blocks: number, blockLength: number],
  split: boolean,
  packing: (plane?: 0 | 1 | 2) => Packing,
): CodeNames {
  const dims = codeDims(bits, lead, blocks, blockLength, split);
  if (bits !== 3) return { bits, codes: b.pending("codes", "uint8", dims, packing()), split };
  const planes = [
    b.pending("low0", "uint8", dims, packing(0)),
    b.pending("low1", "uint8", dims, packing(1)),
    b.pending("high", "uint8", dims, packing(2)),
  ] as const;
  return { bits, planes, split };
}

/** The codes as float32 [lead, blocks, blockLength]; the first extent may be known at run time only. */
export function decodeCodes(
  b: PatchBuilder,
  place: Place,
  stored: CodeNames,
  blocks: number,
  blockLength: number,
): string {
  if (stored.bits === 8) return b.cast(place, stored.codes, "float32");
  const { body } = place;
  if (stored.bits === 3) {
    const bytes = blockLength / 8;
    const whole = (name: string) =>
      stored.split ? name : b.reshape(place, name, [0, blocks, 1, 1, bytes, 1]);
    const [low0, low1, high] = stored.planes.map(whole);
    const low = b.emit(place, "Concat", [low0!, low1!], [int("axis", 2)]);
    const wide = (bytes: string) => b.cast(place, bytes, "int32");
    const lowBits = takeApart(b, place, wide(low), [1, 2, 1, 2], [1, 16, 4, 64], 4);
    const highDivisors = [1, 16, 2, 32, 4, 64, 8, 128];
    const highBits = takeApart(b, place, wide(high!), [2, 2, 1, 2], highDivisors, 2);
    const four = b.constant(body, "int32", [], [4]);
    const raised = b.emit(place, "Mul", [highBits, four]);
    const codes = b.cast(place, b.emit(place, "Add", [lowBits, raised]), "float32");
    return b.reshape(place, codes, [0, blocks, blockLength]);
  }
  const name = stored.split ? stored.codes : b.reshape(
    place,
    stored.codes,
    [0, blocks, blockLength * stored.bits / 8, 1],
  );
  const codes = b.cast(place, splitBytes(b, place, name, stored.bits), "float32");
  return b.reshape(place, codes, [0, blocks, blockLength]);
}

/** The least number of bytes that holds whole codes, and how many those are. */
export function groupOf(bits: 4 | 3 | 2): { readonly bytes: number; readonly codes: number } {
  return bits === 3 ? { bytes: 3, codes: 8 } : { bytes: 1, codes: 8 / bits };
}

/** Codes out of uint8 [..., bytes of a group]: int32 [..., codes of a group]. */
export function splitBytes(b: PatchBuilder, place: Place, name: string, bits: 4 | 3 | 2): string {
  const { codes } = groupOf(bits);
  const divisors = Array.from({ length: codes }, (_, i) => 1 << (bits * i));
  let wide = b.cast(place, name, "int32");
  if (bits === 3) {
    const { body } = place;
    const raised = b.emit(place, "Mul", [wide, b.constant(body, "int32", [3], [1, 256, 65536])]);
    wide = b.emit(place, "ReduceSum", [raised, b.list(body, [-1])]);
  }
  return takeApart(b, place, wide, [codes], divisors, 1 << bits);
}

/** floor(wide / divisors) mod modulus, in int32, broadcast. */
function takeApart(
  b: PatchBuilder,
  place: Place,
  wide: string,
  dims: readonly number[],
  divisors: readonly number[],
  modulus: number,
): string {
  const { body } = place;
  const divided = b.emit(place, "Div", [wide, b.constant(body, "int32", dims, divisors)]);
  return b.emit(place, "Mod", [divided, b.constant(body, "int32", [], [modulus])]);
}

/** Zero points stored at 8, 4 or 2 bits, every row from its own byte, as float32 [lead, blocks, 1]. */
export function decodeZeroPoints(
  b: PatchBuilder,
  place: Place,
  name: string,
  bits: 8 | 4 | 2,
  blocks: number,
): string {
  if (bits === 8) return b.reshape(place, b.cast(place, name, "float32"), [0, blocks, 1]);
  const bytes = Math.ceil((blocks * bits) / 8);
  const apart = splitBytes(b, place, b.reshape(place, name, [0, bytes, 1]), bits);
  const points = b.cast(place, apart, "float32");
  if (bytes * 8 === blocks * bits) return b.reshape(place, points, [0, blocks, 1]);
  const rows = b.reshape(place, points, [0, bytes * 8 / bits, 1]);
  return b.first(place, rows, 1, blocks);
}

/** `scales * (codes - zeroPoints)`; without zero points a symmetric format's is a constant. */
export function scaleCodes(
  b: PatchBuilder,
  place: Place,
  codes: string,
  scales: string,
  zeroPoints: string | null,
  bits: Bits,
): string {
  const points = zeroPoints ??
    b.constant(place.body, "float32", [], [symmetricZeroPoint(bits)]);
  return b.emit(place, "Mul", [b.emit(place, "Sub", [codes, points]), scales]);
}
