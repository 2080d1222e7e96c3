/**
 * The 3-bit form that modelcast writes for ONNX Runtime (`src/quantization/encodings`): planes of
 * bytes that stock operators join to 4-bit or whole codes. ONNX Runtime joins them once, at load; here
 * the planes stay as they are and one op of the domain "modelcast" reads codes out of them.
 */
import { attribute, int, intAttribute, makeNode, type Node } from "../ir.ts";
import { THREE_BIT_DOMAIN } from "../ops/three_bit.ts";
import type { ModelView, Rule } from "./rule.ts";

const TEXT = new TextDecoder();

/** The op of the default domain that makes `name`, where it is an `opType`, else null. */
function made(view: ModelView, name: string | undefined, opType: string): Node | null {
  const node = view.maker(name);
  return node?.opType === opType && node.domain === "" ? node : null;
}

/** Bit operators on bytes, spelled out; other values by their names. */
function spelled(view: ModelView, name: string, depth = 4): string {
  const numbers = view.integers(name);
  if (numbers?.length === 1) return String(numbers[0]);
  const node = view.maker(name);
  if (node === null || node.domain !== "" || depth === 0) return JSON.stringify(name);
  const args = () => node.inputs.map((input) => spelled(view, input, depth - 1)).join();
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

/** The value under bit operators, their second operand a number: the innermost first operand. */
function innermost(view: ModelView, name: string): string {
  for (let at = name;;) {
    const node = view.maker(at);
    if (node?.domain !== "" || !["BitwiseAnd", "BitShift"].includes(node.opType)) return at;
    at = node.inputs[0]!;
  }
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

/** MatMulNBits of joined nibbles becomes a product with the planes. */
export const threeBitProducts: Rule = {
  name: "3-bit products",
  rewrite(view, node) {
    if (node.opType !== "MatMulNBits" || intAttribute(node, "bits", 4) !== 4) return null;
    const planes = planesOfNibbles(view, node.inputs[1]);
    if (planes === null) return null;
    const [a, , ...rest] = node.inputs;
    const attributes = ["K", "N", "block_size"].map((name) =>
      int(name, intAttribute(node, name, 0))
    );
    const inputs = [a!, ...planes, ...rest];
    const product = makeNode(
      "MatMulThreeBits",
      THREE_BIT_DOMAIN,
      inputs,
      node.outputs,
      attributes,
      node.name,
    );
    return { nodes: [product] };
  },
};

/** What `name` is cast from, where it is cast. */
function castFrom(view: ModelView, name: string | undefined): string | null {
  return made(view, name, "Cast")?.inputs[0] ?? null;
}

/** The bytes that `name` is `floor(bytes / divisors) mod modulus` of, or null. */
function takenApart(
  view: ModelView,
  name: string | undefined,
  divisors: string,
  modulus: number,
): string | null {
  const mod = made(view, name, "Mod");
  if (mod === null || view.integers(mod.inputs[1])?.join() !== String(modulus)) return null;
  const divided = made(view, mod.inputs[0], "Div");
  if (divided === null || view.integers(divided.inputs[1])?.join() !== divisors) return null;
  return castFrom(view, divided.inputs[0]);
}

/** Codes that are taken out of planes by Div and Mod become one node. */
export const threeBitCodes: Rule = {
  name: "3-bit codes",
  rewrite(view, node) {
    if (node.opType !== "Add" || node.domain !== "") return null;
    const low = takenApart(view, node.inputs[0], "1,16,4,64", 4);
    const raised = low === null ? null : made(view, node.inputs[1], "Mul");
    if (raised === null || view.integers(raised.inputs[1])?.join() !== "4") return null;
    const high = takenApart(view, raised.inputs[0], "1,16,2,32,4,64,8,128", 2);
    const concat = made(view, low ?? "", "Concat");
    if (high === null || concat === null || intAttribute(concat, "axis", 0) !== 2) return null;
    if (concat.inputs.length !== 2) return null;
    const inputs = [...concat.inputs, high];
    return { nodes: [makeNode("ThreeBitCodes", THREE_BIT_DOMAIN, inputs, node.outputs)] };
  },
};
