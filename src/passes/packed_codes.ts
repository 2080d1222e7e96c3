/**
 * The forms that modelcast writes for ONNX Runtime (`src/quantization/encodings`) where it has no
 * operator for the bits: bytes, or planes of bytes for 3 bits, that stock operators take apart or join
 * to nibbles, as they do bytes of 2-bit codes. ONNX Runtime does that once, at load; here they stay as they are, and one op of the
 * domain "modelcast" reads codes out of them.
 */
import { attribute, int, intAttribute, makeNode, type Node } from "../ir.ts";
import { CODES_DOMAIN } from "../ops/packed_codes.ts";
import type { ModelView, Rule } from "./rule.ts";

const TEXT = new TextDecoder();

/** The op of the default domain that makes `name`, where it is an `opType`, else null. */
function made(view: ModelView, name: string | undefined, opType: string): Node | null {
  const node = view.maker(name);
  return node?.opType === opType && node.domain === "" ? node : null;
}

/** Bit operators on bytes, spelled out; `last` and what is no such operator by their names. */
function spelled(view: ModelView, name: string, last = "", depth = 4): string {
  const numbers = view.integers(name);
  if (numbers?.length === 1) return String(numbers[0]);
  const node = view.maker(name);
  if (node?.domain !== "" || name === last || depth === 0) return JSON.stringify(name);
  const args = () => node.inputs.map((input) => spelled(view, input, last, depth - 1)).join();
  switch (node.opType) {
    case "BitwiseAnd":
      return `and(${args()})`;
    case "BitwiseOr":
      return `or(${args()})`;
    case "BitShift": {
      const direction = attribute(node, "direction");
      const isLeft = direction?.type === "string" && TEXT.decode(direction.value) === "LEFT";
      return `${isLeft ? "left" : "right"}(${args()})`;
    }
    default:
      return JSON.stringify(name);
  }
}

/** The value under at most `most` bit operators: the innermost first operand. */
function innermost(view: ModelView, name: string, most = Infinity): string {
  let at = name;
  for (let count = 0; count < most; count++) {
    const node = view.maker(at);
    if (node?.domain !== "" || !["BitwiseAnd", "BitShift"].includes(node.opType)) return at;
    at = node.inputs[0]!;
  }
  return at;
}

/** The planes L0, L1 and H that `name` is the nibbles of, or null. */
function planesOfNibbles(view: ModelView, name: string | undefined): string[] | null {
  const concat = made(view, name, "Concat");
  if (concat === null || concat.inputs.length !== 4 || intAttribute(concat, "axis", 0) !== 2) {
    return null;
  }
  const sides = concat.inputs.map((input) => made(view, input, "BitwiseOr")?.inputs);
  const [first, , third] = sides;
  if (first === undefined || third === undefined) return null;
  const low0 = innermost(view, first[0]!);
  const low1 = innermost(view, third[0]!);
  const high = innermost(view, first[1]!);
  const [l0, l1, h] = [low0, low1, high].map((plane) => JSON.stringify(plane));
  const expected = [
    `or(and(${l0},51),and(left(${h},2),68))`,
    `or(and(right(${l0},2),51),and(left(${h},1),68))`,
    `or(and(${l1},51),and(${h},68))`,
    `or(and(right(${l1},2),51),and(right(${h},1),68))`,
  ];
  return concat.inputs.every((input, i) => spelled(view, input) === expected[i])
    ? [low0, low1, high]
    : null;
}

/**
 * The bytes [N, blocks, b / 4] of 2-bit codes that `name` is the nibbles [N, blocks, b / 2] of, b being
 * `blockSize`, or null: each byte is seen twice, shifted by none and by four bits, two codes each.
 */
function foursOfNibbles(
  view: ModelView,
  name: string | undefined,
  blockSize: number,
): string | null {
  const nibbles = made(view, name, "Reshape");
  const [low] = made(view, nibbles?.inputs[0], "BitwiseOr")?.inputs ?? [];
  if (nibbles === null || low === undefined) return null;
  const pairs = innermost(view, low, 1);
  const pair = JSON.stringify(pairs);
  const expected = `or(and(${pair},3),and(left(${pair},2),48))`;
  if (spelled(view, nibbles.inputs[0]!, pairs) !== expected) return null;
  const shift = made(view, pairs, "BitShift");
  if (shift === null || !spelled(view, pairs).startsWith("right(")) return null;
  if (view.integers(shift.inputs[1])?.join() !== "0,4") return null;
  const reshape = made(view, shift.inputs[0], "Reshape");
  const codes = view.constant(reshape?.inputs[0]);
  if (reshape === null || codes?.dtype !== "uint8" || codes.dims.length !== 3) return null;
  const [, blocks, bytes] = codes.dims as [number, number, number];
  if (4 * bytes !== blockSize) return null;
  const [apart, joined] = [reshape, nibbles].map(({ inputs }) => view.integers(inputs[1])?.join());
  return apart === `0,${blocks},${bytes},1` && joined === `0,${blocks},${2 * bytes}`
    ? codes.name
    : null;
}

/** MatMulNBits of nibbles that are joined of planes, or of 2-bit codes, becomes a product with those. */
export const planeProducts: Rule = {
  name: "products with planes",
  rewrite(view, node) {
    if (node.opType !== "MatMulNBits" || node.domain !== "com.microsoft") return null;
    if (intAttribute(node, "bits", 4) !== 4) return null;
    const planes = planesOfNibbles(view, node.inputs[1]);
    const fours = planes === null
      ? foursOfNibbles(view, node.inputs[1], intAttribute(node, "block_size", 0))
      : null;
    if (planes === null && fours === null) return null;
    const [a, , ...rest] = node.inputs;
    const attributes = ["K", "N", "block_size"].map((name) =>
      int(name, intAttribute(node, name, 0))
    );
    const product = makeNode(
      planes === null ? "MatMulTwoBits" : "MatMulThreeBits",
      CODES_DOMAIN,
      [a!, ...planes ?? [fours!], ...rest],
      node.outputs,
      attributes,
      node.name,
    );
    return { nodes: [product] };
  },
};

/** The dims of `name` as far as its constant or the constant shape that it is given tell. */
function dimsOf(view: ModelView, name: string | undefined): readonly (number | null)[] | null {
  const tensor = view.constant(name);
  if (tensor !== null) return tensor.dims;
  const node = view.maker(name);
  if (node?.domain !== "") return null;
  if (node.opType === "Reshape") {
    return view.integers(node.inputs[1])?.map((extent) => extent > 0 ? extent : null) ?? null;
  }
  if (node.opType !== "Gather" || intAttribute(node, "axis", 0) !== 0) return null;
  const rows = view.constant(node.inputs[0])?.dims;
  return rows === undefined ? null : [null, ...rows.slice(1)];
}

/** What the integers of `name` are taken apart from, and how. */
interface TakenApart {
  /** The uint8 value, before its Cast. */
  readonly bytes: string;
  readonly divisors: readonly number[];
  /** Dims of the divisors. */
  readonly dims: readonly number[];
  readonly modulus: number;
}

/** `floor(x / divisors) mod modulus`, where `name` is that: x, the divisors and the modulus. */
function takenApart(view: ModelView, name: string | undefined): TakenApart | null {
  const mod = made(view, name, "Mod");
  const [modulus, ...others] = view.integers(mod?.inputs[1]) ?? [];
  if (mod === null || modulus === undefined || others.length > 0) return null;
  const divided = made(view, mod.inputs[0], "Div");
  const divisors = view.integers(divided?.inputs[1]);
  if (divided === null || divisors === null) return null;
  const bytes = divided.inputs[0]!;
  return { bytes, divisors, dims: view.constant(divided.inputs[1])!.dims, modulus };
}

/** What `name` is cast to int32 from, or null. */
function castFrom(view: ModelView, name: string | undefined): string | null {
  const cast = made(view, name, "Cast");
  return cast !== null && intAttribute(cast, "to", 0) === INT32 ? cast.inputs[0]! : null;
}

/** ONNX's number of int32. */
const INT32 = 6;

const isPlane = (dims: readonly (number | null)[] | null): boolean =>
  dims?.length === 6 && dims[2] === 1 && dims[3] === 1 && dims[5] === 1;

/** Codes that are taken out of 3-bit planes by Div and Mod become one node. */
export const planeCodes: Rule = {
  name: "codes in planes",
  rewrite(view, node) {
    if (node.opType !== "Add" || node.domain !== "") return null;
    const low = takenApart(view, node.inputs[0]);
    if (low?.divisors.join() !== "1,16,4,64" || low.modulus !== 4) return null;
    const raised = made(view, node.inputs[1], "Mul");
    if (raised === null || view.integers(raised.inputs[1])?.join() !== "4") return null;
    const high = takenApart(view, raised.inputs[0]);
    if (high?.divisors.join() !== "1,16,2,32,4,64,8,128" || high.modulus !== 2) return null;
    if (low.dims.join() !== "1,2,1,2" || high.dims.join() !== "2,2,1,2") return null;
    const concat = made(view, castFrom(view, low.bytes) ?? "", "Concat");
    const plane = castFrom(view, high.bytes);
    if (concat === null || plane === null || intAttribute(concat, "axis", 0) !== 2) return null;
    const inputs = [...concat.inputs, plane];
    if (inputs.length !== 3 || !inputs.every((name) => isPlane(dimsOf(view, name)))) return null;
    return { nodes: [makeNode("ThreeBitCodes", CODES_DOMAIN, inputs, node.outputs)] };
  },
};

/** Bytes [..., 3] that `name` is the sums [..., 1] of, each times 1, 256 and 65536, or null. */
function summedBytes(view: ModelView, name: string): string | null {
  const sum = made(view, name, "ReduceSum");
  if (sum === null || intAttribute(sum, "keepdims", 1) !== 1) return null;
  if (view.integers(sum.inputs[1])?.join() !== "-1") return null;
  const scaled = made(view, sum.inputs[0], "Mul");
  if (scaled === null || view.integers(scaled.inputs[1])?.join() !== "1,256,65536") return null;
  return castFrom(view, scaled.inputs[0]);
}

/** Codes that are taken out of bytes, or of groups of three, by Div and Mod become one node. */
export const byteCodes: Rule = {
  name: "codes in bytes",
  rewrite(view, node) {
    if (node.opType !== "Mod" || node.domain !== "") return null;
    const apart = takenApart(view, node.outputs[0]);
    if (apart === null || apart.dims.length !== 1) return null;
    const bits = Math.log2(apart.modulus);
    if (bits !== 4 && bits !== 3 && bits !== 2) return null;
    const count = bits === 3 ? 8 : 8 / bits;
    const expected = Array.from({ length: count }, (_, i) => 2 ** (bits * i));
    if (apart.divisors.join() !== expected.join()) return null;
    const bytes = bits === 3 ? summedBytes(view, apart.bytes) : castFrom(view, apart.bytes);
    if (bytes === null || view.constant(bytes)?.dtype !== "uint8") return null;
    if (dimsOf(view, bytes)?.at(-1) !== (bits === 3 ? 3 : 1)) return null;
    const attributes = [int("bits", bits)];
    return { nodes: [makeNode("PackedCodes", CODES_DOMAIN, [bytes], node.outputs, attributes)] };
  },
};
