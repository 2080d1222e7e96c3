/**
 * Attention that a model spells out: a product of queries and keys, scales and masks, a softmax, a
 * product with values. It becomes one op of the domain "modelcast", which holds what stood there as
 * a list of steps: with shapes at hand, that op decides whether scores are stored at all.
 */
import {
  type Attribute,
  elementCount,
  floatAttribute,
  int,
  intAttribute,
  ints,
  intsAttribute,
  makeNode,
  type Node,
  NOTHING_CARRIED,
} from "../ir.ts";
import { type AttentionStep, SPELLED_ATTENTION } from "../ops/spelled_attention.ts";
import { CODES_DOMAIN as PRIVATE_DOMAIN } from "../ops/packed_codes.ts";
import type { ModelView, Patch, Rule } from "./rule.ts";

/** Nodes between a product and its softmax at most. */
const MOST_STEPS = 12;

/** Nodes that are followed to tell whether a value has one element. */
const MOST_SCALAR_DEPTH = 8;

/** ONNX's numbers of the types that scores are computed in: float, float16, double, bfloat16. */
const FLOATS: ReadonlySet<number> = new Set([1, 10, 11, 16]);

/** A step and the values that it takes beside the one it continues. */
interface Step {
  readonly kind: AttentionStep;
  readonly operands: readonly string[];
}

/** A product of queries and keys, and what is made of it. */
interface Chain {
  readonly product: Node;
  readonly steps: readonly Step[];
}

const isStandard = (node: Node | null, opType: string): node is Node =>
  node?.domain === "" && node.opType === opType;

/** Whether `name` is a constant of one element. */
function isNumber(view: ModelView, name: string | undefined): boolean {
  const tensor = view.constant(name);
  return tensor !== null && elementCount(tensor.dims) === 1;
}

/** Ops whose result has one element where all their inputs have. */
const KEEPS_ONE: ReadonlySet<string> = new Set([
  "Cast",
  "Div",
  "Identity",
  "Mul",
  "Pow",
  "Reciprocal",
  "Sqrt",
]);

/** Whether `name` has one element: a number, a number computed of numbers, one extent of a shape. */
function isScalar(view: ModelView, name: string | undefined, depth = MOST_SCALAR_DEPTH): boolean {
  if (isNumber(view, name)) return true;
  const node = view.maker(name);
  if (node?.domain !== "" || depth === 0) return false;
  if (KEEPS_ONE.has(node.opType)) {
    return node.inputs.every((input) => isScalar(view, input, depth - 1));
  }
  const [source] = node.inputs;
  if (!isStandard(view.maker(source), "Shape")) return false;
  if (node.opType === "Gather") return isNumber(view, node.inputs[1]);
  if (node.opType !== "Slice") return false;
  const [start, end] = [view.integers(node.inputs[1]), view.integers(node.inputs[2])];
  if (start?.length !== 1 || end?.length !== 1 || node.inputs.length > 4) return false;
  const isLast = start[0] === -1 && end[0]! > 2 ** 31;
  return isLast || (end[0]! - start[0]! === 1 && start[0]! < 0 === end[0]! < 0);
}

/** Whether every byte of the constant `name`, which is a number, is zero. */
function isZero(view: ModelView, name: string | undefined): boolean {
  return isNumber(view, name) && view.bytes(name)?.every((byte) => byte === 0) === true;
}

/** What leads from a product to `name`, of which each value is read once; null where nothing does. */
function chainTo(
  view: ModelView,
  name: string | undefined,
  { reads = 1, depth = MOST_STEPS } = {},
): Chain | null {
  if (depth === 0 || view.reads(name) !== reads) return null;
  const node = view.maker(name);
  if (node === null) return null;
  if (isProduct(node)) return { product: node, steps: [] };
  if (node.domain !== "") return null;
  const [a, b, c] = node.inputs;
  const after = (from: string | undefined, kind: AttentionStep, ...operands: string[]) => {
    const chain = chainTo(view, from, { depth: depth - 1 });
    return chain && { ...chain, steps: [...chain.steps, { kind, operands }] };
  };
  switch (node.opType) {
    case "Mul":
      if (isNumber(view, b)) return after(a, "multiply", b!);
      return isNumber(view, a) ? after(b, "multiply", a!) : null;
    case "Div":
      return isNumber(view, b) ? after(a, "divide", b!) : null;
    case "Tanh":
      return after(a, "tanh");
    case "Add":
      return after(a, "add", b!) ?? after(b, "add", a!);
    case "Where":
      return after(b, "keep", a!, c!) ?? after(c, "replace", a!, b!);
    case "Reshape":
      return intAttribute(node, "allowzero", 0) === 0 ? after(a, "reshape", b!) : null;
    case "Cast":
      return FLOATS.has(intAttribute(node, "to", 0))
        ? chainTo(view, a, { depth: depth - 1 })
        : null;
    default:
      return null;
  }
}

/** A MatMul, or what ONNX Runtime makes of one with a transposed or scaled operand. */
function isProduct(node: Node): boolean {
  const { opType, domain } = node;
  const switches = ["transA", "transBatchA", "transBatchB"];
  return (opType === "MatMul" && domain === "") ||
    (opType === "FusedMatMul" && domain === "com.microsoft" &&
      switches.every((name) => intAttribute(node, name, 0) === 0));
}

/** A softmax over `axis` of `logits`, or over all axes from there, and what follows. */
interface Softmax {
  readonly logits: string;
  readonly axis: number;
  readonly isOverRest: boolean;
  /** How often the logits are read for it. */
  readonly reads: number;
  readonly steps: readonly Step[];
}

/**
 * A softmax as it was before opset 13, over all axes from one on, the way that the upgrade writes it:
 * Flatten, Softmax and, here, a Reshape to the old shape.
 */
function flattenedSoftmax(view: ModelView, reshape: Node, steps: readonly Step[]): Softmax | null {
  const [rows, shape] = reshape.inputs;
  const [of, softmax] = [view.maker(shape), view.maker(rows)];
  if (!isStandard(of, "Shape") || of.attributes.length > 0 || !isStandard(softmax, "Softmax")) {
    return null;
  }
  const flatten = view.maker(softmax.inputs[0]);
  if (!isStandard(flatten, "Flatten") || flatten.inputs[0] !== of.inputs[0]) return null;
  if (intAttribute(softmax, "axis", -1) !== -1) return null;
  if ([rows, shape, softmax.inputs[0]].some((value) => view.reads(value) !== 1)) return null;
  const axis = intAttribute(flatten, "axis", 1);
  return { logits: flatten.inputs[0]!, axis, isOverRest: true, reads: 2, steps };
}

/** The softmax that gives `name`, and what is done to its result before `name`. */
function softmaxBefore(view: ModelView, name: string | undefined): Softmax | null {
  const steps: Step[] = [];
  let at = name;
  for (let depth = 0; depth < MOST_STEPS; depth++) {
    const node = view.maker(at);
    if (node?.domain !== "") return null;
    const isGuarded = steps[0]?.kind === "guard";
    switch (node.opType) {
      case "Softmax": {
        if (view.reads(at) !== (isGuarded ? 2 : 1)) return null;
        const axis = intAttribute(node, "axis", -1);
        return { logits: node.inputs[0]!, axis, isOverRest: false, reads: 1, steps };
      }
      case "Where": {
        // What PyTorch writes for rows that see nothing: zeros in the place of NaN.
        const [test, zero, value] = node.inputs;
        const isNan = view.maker(test);
        if (!isStandard(isNan, "IsNaN") || isNan.inputs[0] !== value) return null;
        if (view.reads(at) !== 1 || view.reads(test) !== 1 || !isZero(view, zero)) return null;
        if (!isStandard(view.maker(value), "Softmax")) return null;
        steps.unshift({ kind: "guard", operands: [] });
        at = value;
        continue;
      }
      case "Reshape":
        if (view.reads(at) !== 1) return null;
        if (intAttribute(node, "allowzero", 0) !== 0) return flattenedSoftmax(view, node, steps);
        steps.unshift({ kind: "reshape", operands: [node.inputs[1]!] });
        break;
      case "Cast":
        if (view.reads(at) !== 1 || !FLOATS.has(intAttribute(node, "to", 0))) return null;
        break;
      default:
        return null;
    }
    at = node.inputs[0];
  }
  return null;
}

/** An operand of a product without the factors that numbers give it, and the factors. */
function withoutFactors(view: ModelView, name: string): { name: string; factors: Step[] } {
  const factors: Step[] = [];
  for (let at = name;;) {
    const node = view.maker(at);
    const found = node !== null && view.reads(at) === 1 ? factorOf(view, node, isNumber) : null;
    if (found === null) return { name: at, factors };
    factors.unshift({ kind: found.kind, operands: [found.factor] });
    at = found.of;
  }
}

/** What `node` multiplies or divides by a value that `isFactor` takes for one. */
function factorOf(
  view: ModelView,
  node: Node,
  isFactor: (view: ModelView, name: string | undefined) => boolean,
): { readonly kind: "multiply" | "divide"; readonly of: string; readonly factor: string } | null {
  const [a, b] = node.inputs;
  if (isStandard(node, "Mul")) {
    if (isFactor(view, b)) return { kind: "multiply", of: a!, factor: b! };
    if (isFactor(view, a)) return { kind: "multiply", of: b!, factor: a! };
  }
  return isStandard(node, "Div") && isFactor(view, b)
    ? { kind: "divide", of: a!, factor: b! }
    : null;
}

/** Keys as rows, not as columns: nodes that make them, and their name. */
interface Keys {
  readonly nodes: readonly Node[];
  readonly name: string;
  readonly isTransposed: boolean;
}

/** The keys whose transpose is `name`: what a Transpose, scaled or not, is made of. */
function keysOf(view: ModelView, name: string): Keys {
  const asIs: Keys = { nodes: [], name, isTransposed: false };
  const node = view.maker(name);
  if (node === null) return asIs;
  const scaled = factorOf(view, node, isScalar);
  if (scaled !== null && view.reads(name) === 1) {
    const keys = keysOf(view, scaled.of);
    if (!keys.isTransposed) return asIs;
    const product = view.fresh(`${name}/keys`);
    const opType = scaled.kind === "multiply" ? "Mul" : "Div";
    const made = makeNode(opType, "", [keys.name, scaled.factor], [product]);
    return { nodes: [...keys.nodes, made], name: product, isTransposed: true };
  }
  const perm = isStandard(node, "Transpose") ? intsAttribute(node, "perm") : null;
  if (perm === null || perm.length < 2) return asIs;
  const rows = [...perm.slice(0, -2), perm.at(-1)!, perm.at(-2)!];
  const [source] = node.inputs;
  if (rows.every((axis, i) => axis === i)) {
    return { nodes: [], name: source!, isTransposed: true };
  }
  // Only a transposition that swaps the last two is worth another one in its place.
  const made = view.fresh(`${name}/keys`);
  const turned = makeNode("Transpose", "", [source!], [made], [ints("perm", rows)]);
  return { nodes: [turned], name: made, isTransposed: true };
}

/** A list of names as an attribute. */
function strings(name: string, values: readonly string[]): Attribute {
  const encoder = new TextEncoder();
  return {
    name,
    value: { type: "strings", value: values.map((value) => encoder.encode(value)) },
    carried: NOTHING_CARRIED,
  };
}

/** A product of probabilities and values takes all before it into itself. */
export const attentions: Rule = {
  name: "attention",
  rewrite(view, node): Patch | null {
    if (!isStandard(node, "MatMul")) return null;
    const found = softmaxBefore(view, node.inputs[0]);
    if (found === null) return null;
    const chain = chainTo(view, found.logits, { reads: found.reads });
    if (chain === null) return null;
    const { product } = chain;
    const steps: Step[] = [];
    const alpha = floatAttribute(product, "alpha", 1);
    if (product.opType === "FusedMatMul" && alpha !== 1) {
      steps.push({ kind: "scale", operands: [] });
    }
    const query = withoutFactors(view, product.inputs[0]!);
    const key = withoutFactors(view, product.inputs[1]!);
    steps.push(...query.factors, ...key.factors, ...chain.steps);
    const isTransposed = intAttribute(product, "transB", 0) !== 0;
    const keys: Keys = isTransposed
      ? { nodes: [], name: key.name, isTransposed }
      : keysOf(view, key.name);
    steps.push({ kind: "softmax", operands: [] }, ...found.steps);
    const attention = makeNode(
      SPELLED_ATTENTION,
      PRIVATE_DOMAIN,
      [query.name, keys.name, node.inputs[1]!, ...steps.flatMap(({ operands }) => operands)],
      node.outputs,
      [
        int("transposed", keys.isTransposed ? 1 : 0),
        int("axis", found.axis),
        int("over_rest", found.isOverRest ? 1 : 0),
        strings("steps", steps.map(({ kind }) => kind)),
        ...product.attributes.filter(({ name }) => name === "alpha"),
      ],
      node.name,
    );
    return { nodes: [...keys.nodes, attention] };
  },
};
