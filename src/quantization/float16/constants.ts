/**
 * The floating-point constants of a model before a conversion: what they hold, which of them can't
 * take the new type, and which are not weights but the idiom of a mask, a number as large as possible
 * that stands for "not this one".
 */
import { type DType, DTYPES } from "../../dtype.ts";
import { elementCount, type Tensor } from "../../ir.ts";
import { openTensor } from "../../onnx/tensor.ts";
import {
  emptySurvey,
  FLOAT_BYTES,
  type FloatType,
  LARGEST,
  type Survey,
  surveyElements,
} from "./elements.ts";
import type { Value } from "./typed_graph.ts";

/** Bytes read at a time. A multiple of every element's size. */
export const PIECE_BYTES = 1 << 20;

/** What is known about a constant. */
export interface ConstantFacts {
  readonly survey: Survey;
  /** Why it can't take the new type; null where it can. */
  readonly unfit: string | null;
  /** Whether values of it are too large for the new type, so that nothing it enters can take it. */
  readonly overflows: boolean;
  /** Magnitude that what would overflow becomes; null where nothing does. */
  readonly limit: number | null;
}

/** Whether a type is one of the floating-point types that convert into each other. */
export function isFloatType(dtype: DType | null): dtype is FloatType {
  return dtype !== null && Object.hasOwn(FLOAT_BYTES, dtype);
}

/** Operators in which a huge number serves as a mask or as a bound. */
const MASKING: ReadonlySet<string> = new Set([
  "Add",
  "Attention",
  "Clip",
  "Concat",
  "Expand",
  "Gather",
  "GroupQueryAttention",
  "Identity",
  "Max",
  "Min",
  "Mul",
  "MultiHeadAttention",
  "Pad",
  "Reshape",
  "ScatterND",
  "Slice",
  "Sub",
  "Transpose",
  "Trilu",
  "Unsqueeze",
  "Where",
]);

/** Operators that bound a value and never add to the bound. */
const BOUNDING: ReadonlySet<string> = new Set(["Clip", "Max", "Min"]);

/**
 * What stands for "as large as possible" in a mask: half of the largest value, because a mask is
 * added to scores, sometimes twice, and a row of nothing but infinities has no softmax.
 */
export function maskLimit(to: FloatType): number {
  return LARGEST[to] / 2;
}

/** Reads the constant of `value` and judges it against the type `to`. */
export async function judgeConstant(
  value: Value,
  tensor: Tensor,
  from: FloatType,
  to: FloatType,
): Promise<ConstantFacts> {
  const survey = emptySurvey();
  if (FLOAT_BYTES[from] > FLOAT_BYTES[to] || from === "bfloat16" || to === "bfloat16") {
    await eachPiece(tensor, (piece) => surveyElements(piece, from, to, survey));
  }
  if (survey.notANumber > 0) {
    return { survey, unfit: `holds ${survey.notANumber} NaN`, overflows: false, limit: null };
  }
  const users = value.uses.map((use) => use.operation?.node.opType ?? "");
  const mask = survey.ordinary === 0 && survey.largePositive === 0 &&
    users.every((opType) => MASKING.has(opType));
  if (survey.overflowed > 0) {
    if (mask) {
      const bounds = users.every((opType) => BOUNDING.has(opType));
      const limit = bounds || to !== "float16" ? LARGEST[to] : maskLimit(to);
      return { survey, unfit: null, overflows: false, limit };
    }
    const unfit = `holds ${survey.overflowed} values beyond ${to}'s ${LARGEST[to]}, the largest ` +
      `${survey.largest}`;
    return { survey, unfit, overflows: true, limit: null };
  }
  if (survey.infinite > 0 && survey.ordinary > 0) {
    const unfit = `holds ${survey.infinite} infinities`;
    return { survey, unfit, overflows: false, limit: null };
  }
  return { survey, unfit: null, overflows: false, limit: null };
}

/** Calls `take` with the bytes of `tensor`, a piece at a time. */
export async function eachPiece(
  tensor: Tensor,
  take: (piece: Uint8Array, offset: number) => void | Promise<void>,
): Promise<void> {
  const reader = openTensor(tensor);
  try {
    const { byteLength } = reader;
    const piece = new Uint8Array(Math.min(PIECE_BYTES, byteLength));
    for (let offset = 0; offset < byteLength; offset += PIECE_BYTES) {
      const part = piece.subarray(0, Math.min(PIECE_BYTES, byteLength - offset));
      await reader.read(offset, part);
      await take(part, offset);
    }
  } finally {
    reader.close();
  }
}

/** The one element of `tensor`; null where it has another number of them or is not numeric. */
export function scalarOfTensor(tensor: Tensor): number | null {
  const { kind, bits } = DTYPES[tensor.dtype];
  if (elementCount(tensor.dims) !== 1 || bits < 8 || tensor.data.kind === "pending") return null;
  if (kind === "complex" || kind === "string" || kind === "bool") return null;
  const reader = openTensor(tensor);
  try {
    const bytes = new Uint8Array(reader.byteLength);
    reader.readSync(0, bytes);
    const view = new DataView(bytes.buffer);
    switch (tensor.dtype) {
      case "float16":
        return view.getFloat16(0, true);
      case "bfloat16":
        return new Float32Array(new Uint32Array([view.getUint16(0, true) << 16]).buffer)[0]!;
      case "float32":
        return view.getFloat32(0, true);
      case "float64":
        return view.getFloat64(0, true);
      case "int64":
        return Number(view.getBigInt64(0, true));
      case "int32":
        return view.getInt32(0, true);
      case "int16":
        return view.getInt16(0, true);
      case "int8":
        return view.getInt8(0);
      case "uint64":
        return Number(view.getBigUint64(0, true));
      case "uint32":
        return view.getUint32(0, true);
      case "uint16":
        return view.getUint16(0, true);
      case "uint8":
        return view.getUint8(0);
      default:
        return null;
    }
  } finally {
    reader.close();
  }
}
