/**
 * Rows of an embedding looked up in its codes. Either `GatherBlockQuantized` does it, or rows of
 * codes, scales and zero points are gathered first and only they are dequantized, by ordinary
 * operators; memory holds the codes both ways. The second form runs everywhere, holds any bits, and
 * shares its codes with a `MatMulNBits` where an embedding is tied to an output layer.
 */
import { int } from "../../ir.ts";
import type { ScaleType } from "../../formats.ts";
import { outermost } from "../scopes.ts";
import type { WeightUse } from "../weights.ts";
import { quoted } from "../weights.ts";
import type { CodeNames } from "./expressions.ts";
import {
  decodeCodes,
  decodeZeroPoints,
  pendingCodes,
  scaleCodes,
  zeroPointBits,
} from "./expressions.ts";
import type { Form, PatchBuilder, Place, Target } from "./encoding.ts";
import { constantOpset, layoutOf, MICROSOFT } from "./encoding.ts";

/** Stored codes, scales and zero points of a matrix, by row. */
export interface StoredRows {
  readonly codes: CodeNames;
  /** Blocks of codes a row, and their length. */
  readonly blocks: number;
  readonly blockLength: number;
  /** Scales and zero points a row. */
  readonly scaleBlocks: number;
  /** float32 [rows, scaleBlocks], or [1, 1] for a whole tensor where `single`. */
  readonly scales: string;
  /** Packed, each row from its own byte; one byte where `single`; null for a symmetric format. */
  readonly zeroPoints: string | null;
  readonly zeroPointBits: 8 | 4 | 2;
  readonly single: boolean;
}

/** The form `gather`. */
export const gather: Form = {
  name: "gather",
  rejects: notGathered,
  needs: () => [{ op: "opset", opset: 10, irVersion: 4 }],
  express(target, b) {
    const { weight } = target;
    const stored = storeRows(target, b, weight.view.rows);
    for (const use of weight.uses) gatherRows(b, target, use, stored);
    b.memoryBytes = b.pendingBytes() +
      (target.format.scaleType === "float32" ? 0 : layoutOf(target).scaleBytes);
  },
};

/** The form `gatherblockquantized`. */
export const gatherBlockQuantized: Form = {
  name: "gatherblockquantized",
  rejects(target) {
    const { format, granularity, view, weight } = target;
    const other = notGathered(target);
    if (other !== null) return other;
    if (format.bits !== 4 && format.bits !== 8) {
      return `GatherBlockQuantized is not used with ${format.bits} bits`;
    }
    if (granularity !== "block") return `GatherBlockQuantized has no scale a ${granularity}`;
    if (view.columns % format.blockSize !== 0) {
      return `its rows of ${view.columns} weights are no whole blocks of ${format.blockSize}`;
    }
    const type = weight.uses[0]!.view.dtype;
    if (type !== "float32" && (type !== "float16" || format.scaleType !== "float16")) {
      return `GatherBlockQuantized gives no ${type} of ${format.scaleType} scales`;
    }
    return null;
  },
  needs(target) {
    const { weight, format } = target;
    const castScales = weight.uses[0]!.view.dtype !== format.scaleType;
    const irVersion = format.bits === 4 ? 10 : 4;
    const opset = Math.max(9, constantOpset(target, format.bits === 4 ? "uint4" : "uint8"));
    return [
      { op: "GatherBlockQuantized", bits: format.bits, castScales },
      { op: "opset", opset, irVersion },
    ];
  },
  express(target, b) {
    const { weight, format, view } = target;
    const { blocks } = layoutOf(target);
    const four = format.bits === 4;
    // INT4 without zero points and UINT4 with them are what every release reads the same way;
    // uint8 with packed zero points is read differently before and after 1.32.
    const type = four ? (format.symmetric ? "int4" : "uint4") : "uint8";
    const dims = [view.rows, view.columns];
    const signed = type === "int4";
    const packing = signed
      ? { part: "dense", keep: view.columns, signed, bits: 4 } as const
      : { part: "codes" } as const;
    const codes = b.pending("codes", type, dims, packing);
    const activations = weight.uses[0]!.view.dtype;
    const stored = b.pending("scales", format.scaleType, [view.rows, blocks], { part: "scales" });
    const scales = activations === format.scaleType ? stored : b.cast(b.load, stored, activations);
    const points = format.symmetric ? [] : [
      b.pending("zero_points", type, [view.rows, blocks], {
        part: "zero points",
        bits: four ? 4 : 8,
        rowAligned: false,
      }),
    ];
    const attributes = [
      int("gather_axis", 0),
      int("quantize_axis", 1),
      int("block_size", format.blockSize),
      ...(four ? [] : [int("bits", 8)]),
    ];
    for (const use of weight.uses) {
      const place = b.replace(use.body, use.node);
      const rest = use.view.dims.slice(1);
      const inputs = [codes, use.node.inputs[1]!, scales, ...points];
      const output = use.node.outputs[0]!;
      if (rest.length === 1) {
        b.emit(place, "GatherBlockQuantized", inputs, attributes, output, MICROSOFT);
      } else {
        const flat = b.emit(
          place,
          "GatherBlockQuantized",
          inputs,
          attributes,
          b.value(),
          MICROSOFT,
        );
        reshapeToLookup(b, place, flat, use, output);
      }
      place.nodes.at(-1)!.name = use.node.name;
    }
    b.memoryBytes = b.pendingBytes() +
      (activations === format.scaleType ? 0 : blocks * view.rows * 2);
  },
};

function notGathered({ weight }: Target): string | null {
  const other = weight.uses.find((use) => use.kind !== "gather");
  return other === undefined ? null : `${quoted(other.node)} does not look up its rows`;
}

/** Adds codes, scales and zero points by row, as `MatMulNBits` takes them. */
function storeRows(target: Target, b: PatchBuilder, rows: number): StoredRows {
  const { format, granularity, weight } = target;
  const layout = layoutOf(target);
  const single = granularity === "tensor";
  const { bits } = format;
  const blocks = single ? 1 : layout.blocks;
  const blockLength = single ? Math.ceil(weight.view.columns / 16) * 16 : layout.blockLength;
  const codes = pendingCodes(b, bits, [rows, blocks, blockLength], true, (plane) => {
    const which = plane === undefined ? {} : { plane };
    if (!single) return { part: "codes", ...which };
    const { columns } = weight.view;
    return { part: "blocks", rows, columns, blockLength, transposed: false, ...which };
  });
  const scaleDims = single ? [1, 1] : [rows, blocks];
  const scales = floatScales(
    b,
    b.pending("scales", format.scaleType, scaleDims, { part: "scales" }),
    format.scaleType,
  );
  const pointBits = zeroPointBits(bits);
  const zeroPoints = format.symmetric ? null : b.pending(
    "zero_points",
    "uint8",
    [single ? 1 : rows, Math.ceil(blocks * pointBits / 8)],
    { part: "zero points", bits: pointBits, rowAligned: true },
  );
  return {
    codes,
    blocks,
    blockLength,
    scaleBlocks: blocks,
    scales,
    zeroPoints,
    zeroPointBits: pointBits,
    single,
  };
}

/** Scales in float32, computed at load: WebGPU adapters without float16 can't gather the stored ones. */
export function floatScales(b: PatchBuilder, scales: string, scaleType: ScaleType): string {
  return scaleType === "float32" ? scales : b.cast(b.load, scales, "float32");
}

/** Puts a lookup in stored rows in the place of a Gather. */
export function gatherRows(
  b: PatchBuilder,
  target: Target,
  use: WeightUse,
  stored: StoredRows,
): void {
  const { format, weight } = target;
  const place = b.replace(use.body, use.node);
  const { blocks, blockLength } = stored;
  const indices = b.reshape(place, use.node.inputs[1]!, [-1]);
  const rowsOf = (name: string) => b.emit(place, "Gather", [name, indices], [int("axis", 0)]);
  const codes: CodeNames = stored.codes.bits === 3
    ? {
      bits: 3,
      split: stored.codes.split,
      planes: [
        rowsOf(stored.codes.planes[0]),
        rowsOf(stored.codes.planes[1]),
        rowsOf(stored.codes.planes[2]),
      ],
    }
    : { ...stored.codes, codes: rowsOf(stored.codes.codes) };
  const plain = decodeCodes(b, place, codes, blocks, blockLength);
  const byRow = stored.single ? (name: string) => name : rowsOf;
  const stride = [0, stored.scaleBlocks, 1];
  const scales = b.reshape(place, byRow(stored.scales), stride);
  const points = stored.zeroPoints === null ? null : decodeZeroPoints(
    b,
    place,
    byRow(stored.zeroPoints),
    stored.zeroPointBits,
    stored.scaleBlocks,
  );
  const values = scaleCodes(b, place, plain, scales, points, format.bits);
  const padded = b.reshape(place, values, [0, blocks * blockLength]);
  const { columns } = weight.view;
  let rows = blocks * blockLength === columns ? padded : b.first(place, padded, 1, columns);
  const type = use.view.dtype;
  if (weight.tensor.dtype !== "float32") rows = b.cast(place, rows, weight.tensor.dtype);
  if (type !== weight.tensor.dtype) rows = b.cast(place, rows, type);
  reshapeToLookup(b, place, rows, use, use.node.outputs[0]!);
  place.nodes.at(-1)!.name = use.node.name;
}

/**
 * Gives rows [lookups, columns] the shape that the Gather's result has. Below opset 14 Reshape can't
 * be told that an extent is 0, so that a lookup of nothing, such as [1, 0], fails there.
 */
function reshapeToLookup(
  b: PatchBuilder,
  place: Place,
  rows: string,
  use: WeightUse,
  output: string,
): void {
  const lookups = b.emit(place, "Shape", [use.node.inputs[1]!]);
  const rest = b.list(place.body, use.view.dims.slice(1));
  const shape = b.emit(place, "Concat", [lookups, rest], [int("axis", 0)]);
  const model = outermost(place.body).function ?? b.shared.scopes.model;
  const zeros = (model.opsets.get("") ?? 1) >= 14 ? [int("allowzero", 1)] : [];
  b.emit(place, "Reshape", [rows, shape], zeros, output);
}
