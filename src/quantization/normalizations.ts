/**
 * Which normalizations a value comes from: the one whose result it is, and those before it on the
 * residual stream, the sum that sublayers add to, where that stream itself is normalized again and
 * again (as in BERT, whose normalizations follow the additions).
 */
import type { Node, Tensor } from "../ir.ts";
import { attribute } from "../ir.ts";
import type { Body, Scopes } from "./scopes.ts";

/** A normalization over the last axis, with its constants. */
export interface Normalization {
  /** The node whose result is the normalization's. */
  readonly node: Node;
  readonly scale: Tensor;
  readonly bias: Tensor | null;
  /** Whether the mean over the axis is taken off before. */
  readonly centered: boolean;
}

/** A normalization and the values whose sum it normalizes; none where they are not known. */
interface Found {
  readonly normalization: Normalization;
  readonly body: Body;
  readonly addends: readonly string[];
}

/** Operators that hand every channel on as it is. */
const PASSING: ReadonlySet<string> = new Set(["Identity", "Cast", "Dropout"]);

/** Where an operator has its scale, its bias and the values that it adds and normalizes. */
interface Operands {
  readonly scale: number;
  readonly bias: number | null;
  readonly addends: readonly number[];
  readonly centered: boolean;
}

/** Operators that normalize over the last axis. */
const NORMALIZATIONS: Readonly<Record<string, Operands>> = {
  "LayerNormalization": { scale: 1, bias: 2, addends: [0], centered: true },
  "RMSNormalization": { scale: 1, bias: null, addends: [0], centered: false },
  "SimplifiedLayerNormalization": { scale: 1, bias: null, addends: [0], centered: false },
  "com.microsoft.SkipLayerNormalization": { scale: 2, bias: 3, addends: [0, 1], centered: true },
  "com.microsoft.SkipSimplifiedLayerNormalization": {
    scale: 2,
    bias: null,
    addends: [0, 1],
    centered: false,
  },
};

/** Most operators that are looked at from a value to normalizations, and most of these in a row. */
const MOST_STEPS = 8;
const MOST_NORMALIZATIONS = 64;

/**
 * The normalizations that `name`, seen from `body`, has gone through: the one whose result it is,
 * the one before it on the stream, and so on. None where it is no normalization's result.
 */
export function* normalizationsOf(
  scopes: Scopes,
  body: Body,
  name: string,
): Generator<Normalization, void, void> {
  let found = lastNormalization(scopes, body, name);
  for (let count = 0; found !== null && count < MOST_NORMALIZATIONS; count++) {
    yield found.normalization;
    found = normalizedAddend(scopes, found);
  }
}

/** The normalization whose result `name` is. */
function lastNormalization(scopes: Scopes, body: Body, name: string): Found | null {
  for (let step = 0; step < MOST_STEPS; step++) {
    const definition = scopes.resolve(body, name);
    if (definition?.kind !== "node" || definition.output !== 0) return null;
    const found = matched(scopes, definition.body, definition.node);
    if (found !== null || !isPassing(definition.node)) return found;
    body = definition.body;
    name = definition.node.inputs[0] ?? "";
  }
  return null;
}

/** The normalization among what `found` adds up, where there is exactly one. */
function normalizedAddend(scopes: Scopes, { body, addends }: Found): Found | null {
  let result: Found | null = null;
  const pending = addends.map((name) => ({ body, name }));
  for (let step = 0; pending.length > 0; step++) {
    if (step >= MOST_STEPS) return null;
    const { body, name } = pending.shift()!;
    const definition = scopes.resolve(body, name);
    if (definition?.kind !== "node" || definition.output !== 0) continue;
    const { node } = definition;
    const found = matched(scopes, definition.body, node);
    if (found !== null) {
      if (result !== null && result.normalization.node !== found.normalization.node) return null;
      result = found;
    } else if (isPassing(node)) pending.push({ body: definition.body, name: node.inputs[0] ?? "" });
    else if (node.opType === "Add" && node.domain === "") {
      pending.push(...node.inputs.map((name) => ({ body: definition.body, name })));
    }
  }
  return result;
}

function isPassing(node: Node): boolean {
  return PASSING.has(node.opType) && node.domain === "";
}

/** The normalization that `node` is, or is the last operator of. */
function matched(scopes: Scopes, body: Body, node: Node): Found | null {
  return wholeNormalization(scopes, body, node) ?? decomposedNormalization(scopes, body, node);
}

function wholeNormalization(scopes: Scopes, body: Body, node: Node): Found | null {
  const key = node.domain === "" ? node.opType : `${node.domain}.${node.opType}`;
  const operands = Object.hasOwn(NORMALIZATIONS, key) ? NORMALIZATIONS[key] : undefined;
  if (operands === undefined) return null;
  const axis = attribute(node, "axis");
  if (axis?.type === "int" && axis.value !== -1n) return null;
  const scale = scopes.constant(body, node.inputs[operands.scale] ?? "");
  if (scale === null) return null;
  const biasName = operands.bias === null ? "" : node.inputs[operands.bias] ?? "";
  const bias = biasName === "" ? null : scopes.constant(body, biasName);
  if (biasName !== "" && bias === null) return null;
  return {
    normalization: { node, scale, bias, centered: operands.centered },
    body,
    addends: operands.addends.map((operand) => node.inputs[operand] ?? ""),
  };
}

/** A normalization in parts: a quotient times a constant, plus a constant. */
function decomposedNormalization(scopes: Scopes, body: Body, node: Node): Found | null {
  const sum = withConstant(scopes, body, node, "Add");
  if (sum === null) return null;
  const product = withConstant(scopes, sum.body, sum.node, "Mul");
  if (product === null || product.node.opType !== "Div" || product.node.domain !== "") return null;
  const input = centeredInput(scopes, product.body, product.node.inputs[0] ?? "");
  return {
    normalization: { node, scale: product.constant, bias: sum.constant, centered: true },
    body: input?.body ?? product.body,
    addends: input === null ? [] : [input.name],
  };
}

/** What the mean is taken off from, where `name` is a difference from a mean. */
function centeredInput(
  scopes: Scopes,
  body: Body,
  name: string,
): { body: Body; name: string } | null {
  const difference = scopes.resolve(body, name);
  if (difference?.kind !== "node" || difference.node.opType !== "Sub") return null;
  const [input = "", meanName = ""] = difference.node.inputs;
  const mean = scopes.resolve(difference.body, meanName);
  const isMean = mean?.kind === "node" && mean.node.opType === "ReduceMean" &&
    mean.node.inputs[0] === input;
  return isMean ? { body: difference.body, name: input } : null;
}

/** The constant operand of `node`, an `opType`, and the node that makes the other one. */
function withConstant(
  scopes: Scopes,
  body: Body,
  node: Node,
  opType: string,
): { constant: Tensor; body: Body; node: Node } | null {
  if (node.opType !== opType || node.domain !== "" || node.inputs.length !== 2) return null;
  for (const [constantName, otherName] of [node.inputs, node.inputs.toReversed()]) {
    const constant = scopes.constant(body, constantName!);
    const other = scopes.resolve(body, otherName!);
    if (constant !== null && other?.kind === "node") {
      return { constant, body: other.body, node: other.node };
    }
  }
  return null;
}
