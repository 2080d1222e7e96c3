/**
 * The weight by ONNX's own `DequantizeLinear`, under its old name: per tensor and per axis (opset
 * 13), in blocks (opset 21), from 8-bit, 4-bit (opset 21) and 2-bit types (opset 25). There is no
 * 3-bit type: those codes are stored as planes and joined to bytes at load. Blocks are padded to
 * whole ones and cut off again, because OpenVINO takes no last block that is short.
 */
import { byteLength } from "../../dtype.ts";
import type { DType } from "../../dtype.ts";
import { symmetricZeroPoint } from "../../formats.ts";
import type { Attribute } from "../../ir.ts";
import { attribute, elementCount, int, ints } from "../../ir.ts";
import type { Form, PatchBuilder, Target } from "./encoding.ts";
import { allRows, layoutOf, scalesAlongSum } from "./encoding.ts";
import { decodeCodes, pendingCodes, splitBytes } from "./expressions.ts";

/** The form `dequantizelinear`. */
export const dequantizeLinear: Form = {
  name: "dequantizelinear",
  rejects: () => null,
  needs: (target) => {
    const plan = planOf(target);
    const irVersion = { 8: 4, 4: 10, 3: 4, 2: 13 }[target.format.bits];
    return [
      {
        op: "DequantizeLinear",
        codes: plan.type,
        width: plan.codeDims.at(-1) ?? 1,
        blocked: target.granularity === "block",
        alongSum: scalesAlongSum(target),
      },
      { op: "opset", opset: plan.opset, irVersion },
    ];
  },
  express(target, b) {
    const { weight, format, view } = target;
    const { tensor } = weight;
    const plan = planOf(target);
    b.require(plan.opset, 4);
    const codes = format.bits === 3 ? joinedCodes(target, b, plan) : b.pending(
      "codes",
      plan.type,
      plan.codeDims,
      {
        part: plan.transposed ? "transposed" : "dense",
        keep: plan.keep,
        signed: format.symmetric,
        bits: format.bits,
      },
    );
    const half = tensor.dtype === "float16" && format.scaleType === "float16";
    const stored = b.pending("scales", format.scaleType, plan.scaleDims, {
      part: plan.transposed ? "transposed scales" : "scales",
    });
    const scales = half || format.scaleType === "float32"
      ? stored
      : b.cast(b.load, stored, "float32");
    // Without zero points ONNX Runtime before 1.32 takes the codes for uint8 where it moves the
    // operator behind a Transpose or a Reshape.
    const points = !format.symmetric
      ? [zeroPoints(target, b, plan)]
      : target.granularity === "block"
      ? []
      : [b.zeros("zero_points", plan.type, plan.scaleDims)];
    let value = b.emit(b.load, "DequantizeLinear", [codes, scales, ...points], plan.attributes);
    let dims = plan.codeDims;
    if (dims.join() !== plan.padded.join()) {
      value = b.reshape(b.load, value, plan.padded);
      dims = plan.padded;
    }
    if (plan.keep !== view.columns) {
      value = b.first(b.load, value, plan.axis, view.columns);
      dims = dims.map((dim, axis) => axis === plan.axis ? view.columns : dim);
    }
    if (dims.join() !== tensor.dims.join()) value = b.reshape(b.load, value, tensor.dims);
    if (!(half || tensor.dtype === "float32")) b.cast(b.load, value, tensor.dtype);
    b.giveName();
    nameOrders(target, b);
    const codeBits = format.bits === 3 ? 8 : format.bits;
    b.memoryBytes = Math.ceil(elementCount(plan.codeDims) * codeBits / 8) +
      byteLength(half ? "float16" : "float32", elementCount(plan.scaleDims)) +
      (points.length === 0 ? 0 : Math.ceil(elementCount(plan.scaleDims) * codeBits / 8));
  },
};

/**
 * Writes down the order of axes of Transposes that leave it to the default: ONNX Runtime 1.22 and
 * 1.24 end the process where such a one follows a DequantizeLinear per axis.
 */
function nameOrders({ weight }: Target, b: PatchBuilder): void {
  for (const { path } of weight.uses) {
    for (const { body, node, rank } of path) {
      if (node.opType !== "Transpose" || attribute(node, "perm") !== undefined) continue;
      if (b.replacements.has(node)) continue;
      const order = Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
      const place = b.replace(body, node);
      b.emit(place, "Transpose", node.inputs, [ints("perm", order)], node.outputs[0]);
      place.nodes.at(-1)!.name = node.name;
    }
  }
}

/** How the operator is used for a target. */
interface Use {
  readonly type: DType;
  readonly opset: number;
  /** Dims of the codes as the operator takes them, and of scales and zero points. */
  readonly codeDims: readonly number[];
  readonly scaleDims: readonly number[];
  readonly attributes: Attribute[];
  /** Dims in which `axis` is the reduction, padded. */
  readonly padded: readonly number[];
  readonly axis: number;
  /** Codes a row, padding included. */
  readonly keep: number;
  /** Whether the reduction comes before the rows. */
  readonly transposed: boolean;
}

function planOf(target: Target): Use {
  const { weight, format, granularity, view } = target;
  const { dims } = weight.tensor;
  const { bits, symmetric } = format;
  const type: DType = bits === 4
    ? (symmetric ? "int4" : "uint4")
    : bits === 2
    ? (symmetric ? "int2" : "uint2")
    : (symmetric ? "int8" : "uint8");
  const typeOpset = bits === 4 ? 21 : bits === 2 ? 25 : 13;
  const halfOpset = weight.tensor.dtype === "float16" && format.scaleType === "float16" ? 19 : 13;
  const opset = Math.max(typeOpset, halfOpset);
  const transposed = view.order === "columns";
  const rows = allRows(target);
  const { blocks, blockLength } = layoutOf(target);
  if (granularity === "tensor") {
    return {
      type,
      opset,
      codeDims: bits === 2 ? [view.columns] : dims,
      scaleDims: [],
      attributes: [],
      padded: dims,
      axis: 0,
      keep: view.columns,
      transposed: false,
    };
  }
  if (granularity === "channel" && bits !== 2 && (view.batch === 1 || !transposed)) {
    const plain = transposed ? [view.columns, rows] : [rows, view.columns];
    const asItIs = transposed ? dims.at(-1) === rows : dims[0] === rows;
    const axis = transposed ? (asItIs ? dims.length - 1 : 1) : 0;
    return {
      type,
      opset,
      codeDims: asItIs ? dims : plain,
      scaleDims: [rows],
      attributes: [int("axis", axis)],
      padded: asItIs ? dims : plain,
      axis: 0,
      keep: view.columns,
      transposed,
    };
  }
  const length = granularity === "channel" ? view.columns : blockLength;
  const keep = length * blocks;
  const padded = transposed
    ? view.batch === 1 ? [keep, rows] : [view.batch, keep, view.rows]
    : [rows, keep];
  const axis = transposed ? padded.length - 2 : 1;
  // ONNX Runtime 1.32 computes a product that follows a 2-bit DequantizeLinear directly wrongly:
  // blocks as an axis of their own put a Reshape between the two.
  const apart = bits === 2;
  const wide = transposed ? [view.batch * blocks, length, view.rows] : [rows, blocks, length];
  const scales = transposed
    ? view.batch === 1 ? [blocks, rows] : [view.batch, blocks, view.rows]
    : [rows, blocks];
  const wideScales = transposed ? [view.batch * blocks, 1, view.rows] : [rows, blocks, 1];
  return {
    type,
    opset: Math.max(opset, 21),
    codeDims: apart ? wide : padded,
    scaleDims: apart ? wideScales : scales,
    attributes: [int("axis", apart ? (transposed ? 1 : 2) : axis), int("block_size", length)],
    padded,
    axis,
    keep,
    transposed,
  };
}

/** 3-bit planes as int8 (symmetric) or uint8 codes. */
function joinedCodes(target: Target, b: PatchBuilder, plan: Use): string {
  const { format, granularity, view } = target;
  const { blocks, blockLength } = layoutOf(target);
  const rows = allRows(target);
  const stored = pendingCodes(b, 3, [rows, blocks, blockLength], true, (plane = 0) => ({
    part: "codes",
    plane,
  }));
  let codes = decodeCodes(b, b.load, stored, blocks, blockLength);
  if (format.symmetric) {
    const middle = b.constant(b.load.body, "float32", [], [symmetricZeroPoint(3)]);
    codes = b.emit(b.load, "Sub", [codes, middle]);
  }
  codes = b.cast(b.load, codes, plan.type);
  codes = b.reshape(b.load, codes, [rows, blocks * blockLength]);
  if (granularity !== "block" && blocks * blockLength !== view.columns) {
    codes = b.first(b.load, codes, 1, view.columns);
  }
  if (plan.transposed) {
    codes = b.reshape(b.load, codes, [view.batch, view.rows, plan.keep]);
    codes = b.emit(b.load, "Transpose", [codes], [ints("perm", [0, 2, 1])]);
  }
  return b.reshape(b.load, codes, plan.codeDims);
}

/** Zero points of the codes' type; those of 3 bits are stored as nibbles. */
function zeroPoints(target: Target, b: PatchBuilder, plan: Use): string {
  const { bits } = target.format;
  if (bits !== 3) {
    return b.pending(
      "zero_points",
      plan.type,
      plan.scaleDims,
      plan.transposed
        ? { part: "transposed zero points", bits }
        : { part: "zero points", bits, rowAligned: false },
    );
  }
  const count = elementCount(plan.scaleDims);
  const bytes = Math.ceil(count / 2);
  const stored = b.pending(
    "zero_points",
    "uint8",
    [bytes, 1],
    plan.transposed
      ? { part: "transposed zero points", bits: 4 }
      : { part: "zero points", bits: 4, rowAligned: false },
  );
  const apart = b.cast(b.load, splitBytes(b, b.load, stored, 4), plan.type);
  const flat = b.reshape(b.load, apart, [-1]);
  return b.reshape(
    b.load,
    bytes * 2 === count ? flat : b.first(b.load, flat, 0, count),
    plan.scaleDims,
  );
}
