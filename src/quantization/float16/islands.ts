/**
 * The operations that a conversion to half precision leaves in the precision they had, because half
 * precision would give not a less exact result but a wrong one, or none:
 *
 * - Sums of squares and of exponentials with what is divided by them: variances and norms
 *   (Pow, ReduceMean, Add, Sqrt, Div), log-sum-exp, softplus. A square passes 65504 at 256 and
 *   vanishes below 2.4e-4; an epsilon of 1e-12 is zero.
 * - Arithmetic on positions and extents: whole numbers that were cast to floats and end in a sine, a
 *   cosine, a rounding or a cast back. Above 2048 float16 can't tell neighbours apart.
 * - Running sums.
 * - Angles: what enters a sine or cosine, element by element.
 * - Operators that ONNX Runtime's CPU provider takes in float16 when it loads a model and then refuses
 *   (Scatter with a reduction, MelWeightMatrix: 1.22 to 1.32) or computes wrongly (Attention with
 *   grouped heads: 1.24).
 */
import { attribute, intAttribute } from "../../ir.ts";
import { dtypeOfOnnx } from "../../dtype.ts";
import {
  allOperations,
  inputOf,
  isInteger,
  type Operation,
  outputsOf,
  type Scope,
  type Value,
} from "./typed_graph.ts";

/** The one element of a small constant; null where the value is no such. */
export type ScalarOf = (value: Value) => number | null;

const SUMS = "a sum of squares or exponentials overflows or vanishes in half precision";
const POSITIONS = "positions and extents are whole numbers that half precision can't hold";
const RUNNING = "a running sum needs more digits than half precision has";
const NO_KERNEL = "ONNX Runtime's CPU provider fails at it in half precision";
const ANGLES = "an angle needs its digits before it is wrapped";

/** Operators that sum squares or exponentials by themselves. */
const SUMMING: ReadonlySet<string> = new Set([
  "LpNormalization",
  "MeanVarianceNormalization",
  "ReduceL2",
  "ReduceLogSum",
  "ReduceLogSumExp",
  "ReduceSumSquare",
]);

/** Operators whose presence makes a chain from squares or exponentials a sum of them. */
const TOTALS: ReadonlySet<string> = new Set([
  ...SUMMING,
  "GlobalAveragePool",
  "Log",
  "ReduceMean",
  "ReduceSum",
  "Sqrt",
]);

/** Operators that pass such a chain on. */
const CARRIERS: ReadonlySet<string> = new Set([
  ...TOTALS,
  "Add",
  "Clip",
  "Concat",
  "Expand",
  "Identity",
  "Max",
  "Min",
  "Pow",
  "Reciprocal",
  "Reshape",
  "Slice",
  "Squeeze",
  "Sub",
  "Sum",
  "Transpose",
  "Unsqueeze",
]);

/** Operators that use what a chain ends in as a factor or divisor. */
const USERS: ReadonlySet<string> = new Set(["Div", "Mul"]);

/** Operators in which a position or an extent is used as such. */
const POSITION_SINKS: ReadonlySet<string> = new Set([
  "Ceil",
  "Cos",
  "Floor",
  "Mod",
  "Range",
  "Round",
  "Sin",
  "Tan",
]);

const PERIODIC: ReadonlySet<string> = new Set(["Cos", "Sin", "Tan"]);

/** Operators through which an angle is followed back. */
const ELEMENTWISE: ReadonlySet<string> = new Set([
  "Add",
  "Concat",
  "Div",
  "Expand",
  "Identity",
  "Mul",
  "Reshape",
  "Slice",
  "Sub",
  "Transpose",
  "Unsqueeze",
]);

/** The operations of `scope` and of all bodies to leave as they are, each with the reason. */
export function islands(scope: Scope, scalarOf: ScalarOf): Map<Operation, string> {
  const operations = [...allOperations(scope)].filter(({ node }) => node.domain === "");
  const kept = new Map<Operation, string>();
  for (const operation of operations) {
    if (lacksKernel(operation)) kept.set(operation, NO_KERNEL);
    if (operation.node.opType === "CumSum") kept.set(operation, RUNNING);
  }
  for (const operation of positions(operations)) kept.set(operation, POSITIONS);
  for (const operation of angles(operations)) {
    if (!kept.has(operation)) kept.set(operation, ANGLES);
  }
  for (const operation of sums(operations, scalarOf)) {
    if (!kept.has(operation)) kept.set(operation, SUMS);
  }
  return kept;
}

function lacksKernel({ node }: Operation): boolean {
  if (node.opType === "MelWeightMatrix" || node.opType === "Attention") return true;
  if (node.opType !== "ScatterElements" && node.opType !== "ScatterND") return false;
  const reduction = attribute(node, "reduction");
  return reduction?.type === "string" && new TextDecoder().decode(reduction.value) !== "none";
}

/** The floating-point values that an operation reads and that are no constants. */
function floatInputs(operation: Operation): Value[] {
  return operation.slots.flatMap(({ role, input, value }) =>
    role === "read" && input >= 0 && value.tensor === null && value.dtype !== null &&
      !isInteger(value.dtype) && value.dtype !== "bool"
      ? [value]
      : []
  );
}

function sums(operations: readonly Operation[], scalarOf: ScalarOf): Set<Operation> {
  // Chains that meet are one: the parent of an operation leads to its chain's first one.
  const chain = new Map<Operation, Operation>();
  const root = (operation: Operation): Operation => {
    let at = operation;
    for (let next = chain.get(at)!; next !== at; next = chain.get(at)!) {
      chain.set(at, chain.get(next)!);
      at = next;
    }
    return at;
  };
  for (const operation of operations) {
    const inputs = floatInputs(operation);
    const before = inputs.map(({ producer }) => producer);
    const carries = CARRIERS.has(operation.node.opType) && inputs.length > 0 &&
      before.every((one) => one !== null && chain.has(one));
    if (!carries && !beginsSum(operation, scalarOf)) continue;
    chain.set(operation, operation);
    for (const one of before) {
      if (one !== null && chain.has(one)) chain.set(root(one), root(operation));
    }
  }
  const summing = new Set<Operation>();
  for (const operation of chain.keys()) {
    if (isTotal(operation, scalarOf)) summing.add(root(operation));
  }
  const found = new Set<Operation>();
  const inSum = (operation: Operation | null) =>
    operation !== null && chain.has(operation) && summing.has(root(operation));
  for (const operation of operations) {
    const uses = USERS.has(operation.node.opType) &&
      floatInputs(operation).some(({ producer }) => inSum(producer));
    if (uses || inSum(operation)) found.add(operation);
  }
  return found;
}

/** Whether an operation makes squares or exponentials, or sums of them. */
function beginsSum(operation: Operation, scalarOf: ScalarOf): boolean {
  const { node } = operation;
  if (SUMMING.has(node.opType) || node.opType === "Exp") return true;
  if (node.opType === "Mul") return node.inputs[0] === node.inputs[1];
  return node.opType === "Pow" && exponent(operation, scalarOf) === 2;
}

/** Whether an operation sums, or takes a root as what follows a sum does. */
function isTotal(operation: Operation, scalarOf: ScalarOf): boolean {
  if (TOTALS.has(operation.node.opType)) return true;
  return operation.node.opType === "Pow" &&
    Math.abs(exponent(operation, scalarOf) ?? 0) === 0.5;
}

function exponent(operation: Operation, scalarOf: ScalarOf): number | null {
  const value = inputOf(operation, 1);
  return value === null ? null : scalarOf(value);
}

function positions(operations: readonly Operation[]): Set<Operation> {
  // Float values that follow from whole numbers and constants alone.
  const whole = new Set<Value>();
  const makers = new Set<Operation>();
  for (const operation of operations) {
    const { node, slots, bodies } = operation;
    if (bodies.length > 0) continue;
    const inputs = slots.filter(({ role, value }) => role === "read" && value.tensor === null);
    if (inputs.length === 0 && node.opType !== "Range") continue;
    if (!inputs.every(({ value }) => isInteger(value.dtype) || whole.has(value))) continue;
    const begins = node.opType === "Cast" || node.opType === "Range" || node.opType === "CumSum";
    if (!begins && !inputs.some(({ value }) => whole.has(value))) continue;
    makers.add(operation);
    for (const value of outputsOf(operation)) {
      if (!isInteger(value.dtype) && value.dtype !== "bool") whole.add(value);
    }
  }
  const waiting = operations.filter((operation) =>
    operation.node.opType === "Range" ||
    isPositionSink(operation) && floatInputs(operation).some((value) => whole.has(value))
  );
  const found = new Set<Operation>();
  for (let operation = waiting.pop(); operation !== undefined; operation = waiting.pop()) {
    if (found.has(operation)) continue;
    found.add(operation);
    for (const { producer } of floatInputs(operation)) {
      if (producer !== null && makers.has(producer)) waiting.push(producer);
    }
  }
  return found;
}

function isPositionSink({ node }: Operation): boolean {
  if (POSITION_SINKS.has(node.opType)) return true;
  return node.opType === "Cast" && isInteger(dtypeOfOnnx(intAttribute(node, "to", 0)) ?? null);
}

function angles(operations: readonly Operation[]): Set<Operation> {
  const found = new Set<Operation>();
  const waiting = operations.filter(({ node }) => PERIODIC.has(node.opType));
  for (let operation = waiting.pop(); operation !== undefined; operation = waiting.pop()) {
    if (found.has(operation)) continue;
    found.add(operation);
    for (const { producer } of floatInputs(operation)) {
      if (producer !== null && ELEMENTWISE.has(producer.node.opType)) waiting.push(producer);
    }
  }
  return found;
}
