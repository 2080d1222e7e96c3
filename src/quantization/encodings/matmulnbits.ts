/**
 * Products with quantized weights by ONNX Runtime's `com.microsoft.MatMulNBits`: codes
 * [N, blocks, bytes a block], scales [N, blocks], zero points packed by row. Where the operator
 * lacks the bits (3 bits everywhere, 2 bits before 1.24), `matmulnbits-joined` stores them as they
 * are and joins them to nibbles with bit operators, which the runtime computes at load. Scales of
 * whole rows or tensors are stored once and expanded at load.
 * https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits
 */
import type { DType } from "../../dtype.ts";
import { DTYPES } from "../../dtype.ts";
import type { Attribute } from "../../ir.ts";
import { attribute, floatAttribute, int, intAttribute, ints } from "../../ir.ts";
import { symmetricZeroPoint } from "../../formats.ts";
import type { WeightUse } from "../weights.ts";
import { quoted } from "../weights.ts";
import type { Form, PatchBuilder, Place, Target } from "./encoding.ts";
import { layoutOf, MICROSOFT } from "./encoding.ts";
import type { CodeNames } from "./expressions.ts";
import { pendingCodes, zeroPointBits } from "./expressions.ts";
import { floatScales, gatherRows } from "./gather.ts";
import type { Packing } from "./packing.ts";

/** The form `matmulnbits`. */
export const matMulNBits: Form = {
  name: "matmulnbits",
  rejects(target) {
    const other = notMultiplied(target);
    return other ?? (target.format.bits === 3 ? "MatMulNBits has no 3-bit codes" : null);
  },
  needs(target) {
    const { bits } = target.format;
    return [
      { op: "MatMulNBits", bits, activations: target.activations ?? activationType(target) },
      ...(target.granularity === "block" ? [] : [{ op: "computed operands" } as const]),
    ];
  },
  express: (target, b) => multiply(target, b, false),
};

/** The form `matmulnbits-joined`. */
export const matMulNBitsJoined: Form = {
  name: "matmulnbits-joined",
  rejects(target) {
    const { bits } = target.format;
    if (bits !== 3 && bits !== 2) return `${bits}-bit codes need no joining`;
    return notMultiplied(target);
  },
  needs: (target) => [
    { op: "MatMulNBits", bits: 4, activations: target.activations ?? activationType(target) },
    { op: "computed operands" },
    { op: "opset", opset: 18, irVersion: 4 },
  ],
  express: (target, b) => multiply(target, b, true),
};

/** Type of the activations that the weight's first product has. */
function activationType({ weight }: Target): DType {
  return (weight.uses.find((use) => use.kind === "matmul") ?? weight.uses[0]!).view.dtype;
}

function notMultiplied(target: Target): string | null {
  const { uses } = target.weight;
  const other = uses.find((use) => use.kind === "float");
  if (other !== undefined) return `MatMulNBits does not do what ${quoted(other.node)} does`;
  if (!uses.some((use) => use.kind === "matmul")) return "no product reads it";
  const type = activationType(target);
  if (uses.some((use) => use.kind === "matmul" && use.view.dtype !== type)) {
    return "its products have activations of different types";
  }
  if (type === "float16" && target.format.scaleType === "float32") {
    return "MatMulNBits takes float16 scales with float16 activations";
  }
  return null;
}

/** Length of the blocks that the operator is told, and how many of them make a row. */
function operatorBlocks(target: Target): { blocks: number; blockLength: number } {
  if (target.granularity === "block") return layoutOf(target);
  const { columns } = target.weight.view;
  const padded = (length: number) => Math.ceil(columns / length) * length;
  const lengths = [256, 128, 64, 32];
  const blockLength = lengths.reduce((best, length) =>
    padded(length) < padded(best) ? length : best
  );
  return { blocks: padded(blockLength) / blockLength, blockLength };
}

function multiply(target: Target, b: PatchBuilder, joined: boolean): void {
  const { weight, format, granularity } = target;
  const { rows, columns } = weight.view;
  const { blocks, blockLength } = operatorBlocks(target);
  const operatorBits = joined ? 4 : format.bits;
  const codes = storeCodes(target, b, blocks, blockLength);
  const storedScales = granularity === "block"
    ? [rows, blocks]
    : [granularity === "tensor" ? 1 : rows, 1];
  const scales = b.pending("scales", format.scaleType, storedScales, { part: "scales" });
  const pointBits = joined ? 4 : zeroPointBits(format.bits);
  const pointBytes = Math.ceil(blocks * pointBits / 8);
  const points = format.symmetric ? null : b.pending(
    "zero_points",
    "uint8",
    granularity === "block" ? [rows, pointBytes] : storedScales,
    granularity === "block"
      ? { part: "zero points", bits: pointBits, rowAligned: true }
      : { part: "repeated zero points", bits: pointBits },
  );

  const type = activationType(target);
  const typedScales = format.scaleType === type ? scales : b.cast(b.load, scales, type);
  let scaleOperand = typedScales;
  let pointOperand = points;
  const { body } = b.load;
  const expand = (name: string, dims: readonly number[]) =>
    b.emit(b.load, "Expand", [name, b.list(body, dims)]);
  if (granularity !== "block" && (blocks > 1 || granularity === "tensor")) {
    scaleOperand = expand(scaleOperand, [rows, blocks]);
    if (points !== null) pointOperand = expand(points, [rows, pointBytes]);
  }
  if (points === null && joined) {
    const byte = symmetricZeroPoint(format.bits) * 0x11;
    pointOperand = expand(b.constant(body, "uint8", [1, 1], [byte]), [rows, pointBytes]);
  }
  const operand = joined || codes.bits === 3 ? join(b, codes, blocks, blockLength) : codes.codes;

  let shared: string | null = type === "float32" ? typedScales : null;
  const lookupScales = () => shared ??= floatScales(b, scales, format.scaleType);
  const attributes = [
    int("K", columns),
    int("N", rows),
    int("bits", operatorBits),
    int("block_size", blockLength),
  ];
  for (const use of weight.uses) {
    if (use.kind === "matmul") {
      const operands = [operand, scaleOperand, ...(pointOperand === null ? [] : [pointOperand])];
      product(b, use, operands, attributes, type);
    } else {
      gatherRows(b, target, use, {
        codes,
        blocks,
        blockLength,
        scaleBlocks: granularity === "block" ? blocks : 1,
        scales: lookupScales(),
        zeroPoints: points,
        zeroPointBits: pointBits,
        single: granularity === "tensor",
      });
    }
  }
  b.memoryBytes = rows * blocks * blockLength * operatorBits / 8 +
    rows * blocks * DTYPES[type].bits / 8 + (pointOperand === null ? 0 : rows * pointBytes);
}

/** Adds the codes; row by row, each in whole blocks of the operator's. */
function storeCodes(
  target: Target,
  b: PatchBuilder,
  blocks: number,
  blockLength: number,
): CodeNames {
  const { weight, format, granularity } = target;
  const { bits } = format;
  const { rows, columns, order } = weight.view;
  const packing = (plane?: 0 | 1 | 2): Packing => {
    const which = plane === undefined ? {} : { plane };
    if (granularity === "block") return { part: "codes", ...which };
    const transposed = granularity === "tensor" && order === "columns";
    return { part: "blocks", rows, columns, blockLength, transposed, ...which };
  };
  return pendingCodes(b, bits, [rows, blocks, blockLength], false, packing);
}

/** Nibbles [N, blocks, blockLength / 2] of 3-bit planes or 2-bit codes. */
function join(b: PatchBuilder, stored: CodeNames, blocks: number, blockLength: number): string {
  const place = b.load;
  const byte = (value: number) => b.constant(place.body, "uint8", [], [value]);
  const shift = (name: string, left: number) =>
    left === 0 ? name : b.emit(place, "BitShift", [name, byte(Math.abs(left))], [
      direction(left > 0 ? "LEFT" : "RIGHT"),
    ]);
  const mask = (name: string, bits: number) => b.emit(place, "BitwiseAnd", [name, byte(bits)]);
  const or = (a: string, c: string) => b.emit(place, "BitwiseOr", [a, c]);
  if (stored.bits === 3) {
    const [low0, low1, high] = stored.planes;
    const segments = [
      or(mask(low0, 0x33), mask(shift(high, 2), 0x44)),
      or(mask(shift(low0, -2), 0x33), mask(shift(high, 1), 0x44)),
      or(mask(low1, 0x33), mask(high, 0x44)),
      or(mask(shift(low1, -2), 0x33), mask(shift(high, -1), 0x44)),
    ];
    return b.emit(place, "Concat", segments, [int("axis", 2)]);
  }
  // Bytes of four codes, seen twice: shifted by none and by four bits, two codes each.
  const fours = b.reshape(place, stored.codes, [0, blocks, blockLength / 4, 1]);
  const shifts = b.constant(place.body, "uint8", [2], [0, 4]);
  const pairs = b.emit(place, "BitShift", [fours, shifts], [direction("RIGHT")]);
  const nibbles = or(mask(pairs, 0x03), mask(shift(pairs, 2), 0x30));
  return b.reshape(place, nibbles, [0, blocks, blockLength / 2]);
}

function direction(value: "LEFT" | "RIGHT"): Attribute {
  return {
    name: "direction",
    value: { type: "string", value: new TextEncoder().encode(value) },
    carried: new Uint8Array(0),
  };
}

/** Puts `MatMulNBits`, and what else a Gemm does, in the place of a product. */
function product(
  b: PatchBuilder,
  use: WeightUse,
  operands: readonly string[],
  attributes: Attribute[],
  type: DType,
): void {
  const { node, body } = use;
  const place = b.replace(body, node);
  const gemm = node.opType === "Gemm";
  const left = gemm && intAttribute(node, "transA", 0) !== 0
    ? b.emit(place, "Transpose", [node.inputs[0]!], [ints("perm", [1, 0])])
    : node.inputs[0]!;
  let result = b.emit(
    place,
    "MatMulNBits",
    [left, ...operands],
    attributes,
    b.value(),
    MICROSOFT,
  );
  place.nodes.at(-1)!.name = node.name;
  const times = (name: string, factor: number): string => {
    if (factor === 1) return name;
    const constant = b.constant(body, "float32", [], [factor]);
    const typed = type === "float32" ? constant : b.cast(place, constant, type);
    return b.emit(place, "Mul", [name, typed]);
  };
  const alpha = attribute(node, "alpha") === undefined ? 1 : floatAttribute(node, "alpha", 1);
  result = times(result, alpha);
  const bias = gemm ? node.inputs[2] ?? "" : "";
  if (bias !== "") {
    b.emit(place, "Add", [result, times(bias, floatAttribute(node, "beta", 1))]);
  }
  renameOutput(place, node.outputs[0]!);
}

/** Gives the last node's result another name. */
function renameOutput(place: Place, name: string): void {
  place.nodes.at(-1)!.outputs[0] = name;
}
