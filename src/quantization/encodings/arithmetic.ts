/**
 * The weight computed from its codes by ordinary operators, under its old name: nothing that reads
 * it changes, so this form serves every operator, rank and position. Runtimes compute it once, at
 * load, where `DequantizeLinear` would run at every inference (see `docs/runtimes.md`); the file
 * holds the codes, memory the float weight.
 */
import { byteLength } from "../../dtype.ts";
import { elementCount, ints } from "../../ir.ts";
import type { Form, PatchBuilder, Target } from "./encoding.ts";
import { allRows, layoutOf, scalesAlongSum } from "./encoding.ts";
import type { Packing } from "./packing.ts";
import { groupOf, scaleCodes, splitBytes, zeroPointBits } from "./expressions.ts";

/** The form `arithmetic`. */
export const arithmetic: Form = {
  name: "arithmetic",
  rejects: () => null,
  needs: ({ format }) => [{ op: "opset", opset: format.bits === 3 ? 13 : 10, irVersion: 4 }],
  express(target, b) {
    const { weight, view, format } = target;
    const { dims, dtype } = weight.tensor;
    const rows = allRows(target);
    const { blocks, blockLength } = layoutOf(target);
    // Codes, scales and zero points broadcast over [rows, blocks, weights of a block].
    // A Reshape that is not needed hides the tensor's rows from OpenVINO, which then fails.
    const direct = target.granularity === "tensor" ||
      (view.order === "rows" && blocks === 1 && rows === dims[0]);
    const keep = target.granularity === "block" ? blockLength : view.columns;
    const scaleDims = direct ? dims.map((_, axis) => axis === 0 ? rows : 1) : [rows, blocks, 1];
    const codes = storedCodes(target, b, direct ? dims : [rows, blocks, keep]);
    const scales = scalesOf(target, b, scaleDims);
    const points = zeroPointsOf(target, b, scaleDims);
    let value = scaleCodes(b, b.load, codes, scales, points, format.bits);
    if (!direct) {
      const columns = keep * blocks;
      if (columns !== view.columns) {
        value = b.first(b.load, b.reshape(b.load, value, [rows, columns]), 1, view.columns);
      }
      if (view.order === "columns") {
        const split = b.reshape(b.load, value, [view.batch, view.rows, view.columns]);
        value = b.emit(b.load, "Transpose", [split], [ints("perm", [0, 2, 1])]);
      }
      value = b.reshape(b.load, value, dims);
    }
    if (dtype !== "float32") b.cast(b.load, value, dtype);
    b.giveName();
    b.memoryBytes = byteLength(dtype, elementCount(dims));
  },
};

/** The codes as float32 of `dims`. */
function storedCodes(target: Target, b: PatchBuilder, dims: readonly number[]): string {
  const { format, granularity, view } = target;
  const { blocks, blockLength } = layoutOf(target);
  const { bits } = format;
  const keep = granularity === "block" ? blocks * blockLength : view.columns;
  const packing: Packing = granularity === "block"
    ? { part: bits === 3 ? "threes" : "codes" }
    : { part: "dense", keep, signed: false, bits };
  if (bits === 8) {
    const stored = b.pending("codes", "uint8", dims, packing);
    // OpenVINO takes bytes times scales for a weight with a scale an output channel, which this is
    // not for every product; by way of integers it computes the weight.
    const whole = scalesAlongSum(target) ? b.cast(b.load, stored, "int32") : stored;
    return b.cast(b.load, whole, "float32");
  }
  return unpacked(b, "codes", bits, packing, dims);
}

/** A pending constant of elements at `bits` each, one after the other, as float32 of `dims`. */
function unpacked(
  b: PatchBuilder,
  part: string,
  bits: 4 | 3 | 2,
  packing: Packing,
  dims: readonly number[],
): string {
  const count = elementCount(dims);
  const group = groupOf(bits);
  const groups = Math.ceil(count / group.codes);
  const name = b.pending(part, "uint8", [groups, group.bytes], packing);
  const apart = b.cast(b.load, splitBytes(b, b.load, name, bits), "float32");
  if (groups * group.codes === count) return b.reshape(b.load, apart, dims);
  return b.reshape(b.load, b.first(b.load, b.reshape(b.load, apart, [-1]), 0, count), dims);
}

/** The scales as float32 of `dims`. */
function scalesOf(target: Target, b: PatchBuilder, dims: readonly number[]): string {
  const { scaleType } = target.format;
  const name = b.pending("scales", scaleType, dims, { part: "scales" });
  return scaleType === "float32" ? name : b.cast(b.load, name, "float32");
}

/** About the bytes of the four nodes that take packed zero points apart. */
const UNPACKING_BYTES = 128;

/** The zero points as float32 of `dims`, or null for a symmetric format. */
function zeroPointsOf(
  target: Target,
  b: PatchBuilder,
  dims: readonly number[],
): string | null {
  if (target.format.symmetric) return null;
  const count = elementCount(dims);
  const narrow = zeroPointBits(target.format.bits);
  // Where there are few, the nodes that would take packed ones apart are larger than they are.
  const bits = count * (8 - narrow) / 8 < UNPACKING_BYTES ? 8 : narrow;
  const packing = { part: "zero points", bits, rowAligned: false } as const;
  if (bits === 8) {
    return b.cast(b.load, b.pending("zero_points", "uint8", dims, packing), "float32");
  }
  return unpacked(b, "zero_points", bits, packing, dims);
}
