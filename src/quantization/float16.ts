/**
 * The conversion of a model between float precisions: float16, bfloat16, float32. In the `compute`
 * form the graph works in the new type, as a half-precision ONNX model does; in the `storage` form
 * only the weights are stored in it and a Cast, which runtimes fold at load, restores the type they
 * had, so that every runtime loads the result and computes as before. See `docs/float16.md` for what
 * stays in its precision and why.
 *
 * The conversion also runs over a graph whose weights have been quantized: then activations, scales
 * and what is left of the weights become half precision, and the quantized codes are not touched.
 */
import type { DType } from "../dtype.ts";
import { InputError } from "../error.ts";
import { attribute, elementCount, makeTensor, type Model, type Node, type Tensor } from "../ir.ts";
import {
  type ConstantFacts,
  eachPiece,
  isFloatType,
  judgeConstant,
  maskLimit,
  PIECE_BYTES,
  scalarOfTensor,
} from "./float16/constants.ts";
import { decide, type Decisions, type Demands } from "./float16/decisions.ts";
import { convertElements, FLOAT_BYTES, type FloatType, LARGEST } from "./float16/elements.ts";
import { islands } from "./float16/islands.ts";
import { rewrite, wanted } from "./float16/rewrite.ts";
import {
  allOperations,
  allScopes,
  type Operation,
  operatorKey,
  type Scope,
  type Value,
} from "./float16/typed_graph.ts";
import { typedGraph } from "./float16/resolver.ts";
import { unreachedConstants } from "./float16/unreached.ts";

export { addErrorSums, convertElements, FLOAT_BYTES, type FloatType } from "./float16/elements.ts";

/** What to convert. */
export interface FloatConversionOptions {
  readonly to: "float16" | "bfloat16" | "float32";
  /** `compute`: the graph works in the new type. `storage`: only the weights are stored in it. */
  readonly form: "compute" | "storage";
  /** Whether the model's inputs and outputs take the new type too; else Casts stand at them. */
  readonly io?: boolean;
  /** Whether the constant of this name is stored as it is. */
  readonly keep?: (name: string) => boolean;
  /** Nodes that compute as they did, with the constants that they read. */
  readonly exclude?: (node: Node) => boolean;
  /** Whether to convert the nodes too that half precision is known to break; false by default. */
  readonly unsafe?: boolean;
}

/** A tensor that waits for its converted elements. */
export interface FloatFill {
  /** The new tensor, pending. */
  readonly tensor: Tensor;
  /** The tensor that holds its elements. */
  readonly source: Tensor;
  readonly from: FloatType;
  readonly to: FloatType;
  /** Magnitude that what would overflow becomes; null where nothing would. */
  readonly limit: number | null;
}

/** A constant that was converted. */
export interface ConvertedConstant {
  readonly name: string;
  /** The tensor that it was; null for the implied zero of a ConstantOfShape. */
  readonly source: Tensor | null;
  readonly dims: readonly number[];
  /** Operators that read it, each once; for the filler of a ConstantOfShape that operator. */
  readonly ops: readonly string[];
  readonly from: FloatType;
  readonly to: FloatType;
  /** Elements that became zero and were not. */
  readonly vanished: number;
  /** Elements that became subnormal. */
  readonly subnormal: number;
  /** Mask values that were too large, and the magnitude they got instead; null where none was. */
  readonly clamped: { readonly count: number; readonly limit: number } | null;
}

/** A constant that was not converted. */
export interface KeptConstant {
  readonly name: string;
  readonly dtype: DType;
  readonly elements: number;
  readonly reason: string;
}

/** A node that computes as it did. */
export interface KeptNode {
  readonly name: string;
  readonly opType: string;
  readonly reason: string;
}

/** What a conversion did. */
export interface FloatReport {
  readonly converted: readonly ConvertedConstant[];
  readonly kept: readonly KeptConstant[];
  /** Nodes left alone in the `compute` form. */
  readonly keptNodes: readonly KeptNode[];
  readonly castsAdded: number;
  readonly castsRemoved: number;
}

/** A conversion that has been carried out on the graph and whose large tensors wait to be filled. */
export interface FloatConversion {
  readonly fills: readonly FloatFill[];
  readonly report: FloatReport;
}

/** Constants up to this many bytes are converted at once. */
const SMALL_BYTES = 4096;

/** A constant used in both types is stored in its old one up to this many elements. */
const FEW_ELEMENTS = 64;

/** Bytes that a Cast node takes in a file beside three times the name of its constant. */
const CAST_BYTES = 64;

/** The lowest default-domain opset and IR version that a model must have to be converted. */
export function floatConversionNeeds(
  options: FloatConversionOptions,
): { readonly opset: number; readonly irVersion: number } {
  return options.to === "bfloat16" ? { opset: 13, irVersion: 4 } : { opset: 7, irVersion: 3 };
}

/**
 * Rewrites `model` in place. Reads every constant that is to be converted once, to see what the new
 * type can hold; tensors that are pending stay as they are, with a Cast where they are used.
 *
 * @throws InputError where the opset is too low or a tensor can't be read.
 */
export async function convertFloats(
  model: Model,
  options: FloatConversionOptions,
): Promise<FloatConversion> {
  const { to, form } = options;
  const opset = model.opsets.get("") ?? 1;
  const needs = floatConversionNeeds(options);
  if (opset < needs.opset) {
    throw new InputError(
      `Cannot convert "${model.path}" to ${to}: it has opset ${opset}, and ${to} needs ` +
        `${needs.opset}. Raise its opset first.`,
    );
  }
  const compute = form === "compute";
  const from = sourceTypes(to, form);
  const scope = typedGraph(model);
  const operations = [...allOperations(scope)];

  const facts = await judgeConstants(scope, from, to, options);
  const safe = compute && to !== "float32" && options.unsafe !== true;
  const left = safe ? islands(scope, scalars()) : new Map<Operation, string>();
  const fillers = constantsOfShape(operations, from, to, left);
  const demands: Demands = {
    from,
    to,
    compute,
    io: compute && (options.io ?? false),
    islands: left,
    excluded: options.exclude ?? (() => false),
    factsOf: (value) => facts.get(value),
  };
  const decisions = decide(scope, demands);

  const fills: FloatFill[] = [];
  const converted: ConvertedConstant[] = [];
  const kept: KeptConstant[] = unreachedConstants(model, from);
  const made = new Map<Value, Tensor>();
  for (const [value, fact] of facts) {
    const source = value.tensor!;
    const type = source.dtype as FloatType;
    const elements = elementCount(source.dims);
    const reason = fact.unfit ?? reasonToKeep(value, source, decisions, demands);
    if (reason !== null) {
      kept.push({ name: value.name, dtype: type, elements, reason });
      continue;
    }
    const tensor = await convertTensor(source, type, to, fact.limit, fills);
    made.set(value, tensor);
    converted.push({
      name: value.name,
      source,
      dims: source.dims,
      ops: readersOf(value),
      from: type,
      to,
      vanished: fact.survey.vanished,
      subnormal: fact.survey.subnormal,
      clamped: fact.limit === null ? null : { count: fact.survey.overflowed, limit: fact.limit },
    });
  }

  const attributes = new Map<Operation, Tensor>();
  for (const [operation, filler] of fillers) {
    const output = operation.slots.find((slot) => slot.role === "make");
    if (output === undefined || decisions.chosen.get(output.variable) !== to) continue;
    attributes.set(operation, filler.tensor);
    if (filler.clamped !== null) {
      converted.push({
        name: output.value.name,
        source: filler.source,
        dims: [1],
        ops: [operatorKey(operation.node)],
        from: filler.from,
        to,
        vanished: 0,
        subnormal: 0,
        clamped: { count: 1, limit: filler.clamped },
      });
    }
  }

  const counts = rewrite(model, scope, decisions, demands, made, attributes);
  const keptNodes = compute
    ? [...decisions.kept].map(([{ node }, reason]) => ({
      name: node.name !== "" ? node.name : node.outputs.find((name) => name !== "") ?? "",
      opType: operatorKey(node),
      reason,
    }))
    : [];
  return { fills, report: { converted, kept, keptNodes, ...counts } };
}

/** Writes the elements of a fill, in pieces and in order, with `write`, which sees their source too. */
export async function fillFloats(
  fill: FloatFill,
  write: (offset: number, bytes: Uint8Array, source: Uint8Array) => Promise<void>,
): Promise<void> {
  const { source, from, to, limit } = fill;
  const into = new Uint8Array((PIECE_BYTES / FLOAT_BYTES[from]) * FLOAT_BYTES[to]);
  await eachPiece(source, async (piece, offset) => {
    const bytes = (piece.length / FLOAT_BYTES[from]) * FLOAT_BYTES[to];
    convertElements(piece, from, to, into, limit);
    await write((offset / FLOAT_BYTES[from]) * FLOAT_BYTES[to], into.subarray(0, bytes), piece);
  });
}

/** The types that a conversion replaces. Storage in another type only pays where it is smaller. */
function sourceTypes(to: FloatType, form: "compute" | "storage"): ReadonlySet<DType> {
  const types: FloatType[] = ["float16", "bfloat16", "float32", "float64"];
  return new Set(
    types.filter((type) => form === "compute" ? type !== to : FLOAT_BYTES[type] > FLOAT_BYTES[to]),
  );
}

/** Reads the exponents and epsilons that a graph is judged by, each once. */
function scalars(): (value: Value) => number | null {
  const known = new Map<Value, number | null>();
  return (value) => {
    if (value.tensor === null) return null;
    let scalar = known.get(value);
    if (scalar === undefined) known.set(value, scalar = scalarOfTensor(value.tensor));
    return scalar;
  };
}

async function judgeConstants(
  scope: Scope,
  from: ReadonlySet<DType>,
  to: FloatType,
  { keep = () => false, exclude = () => false }: FloatConversionOptions,
): Promise<Map<Value, ConstantFacts>> {
  const facts = new Map<Value, ConstantFacts>();
  for (const { values } of allScopes(scope)) {
    for (const value of values.values()) {
      const { tensor } = value;
      if (tensor === null || !from.has(tensor.dtype) || !isFloatType(tensor.dtype)) continue;
      if (tensor.data.kind === "pending") continue;
      const fact = await judgeConstant(value, tensor, tensor.dtype, to);
      const kept = keep(value.name) ||
        value.uses.some(({ operation }) => operation !== null && exclude(operation.node));
      facts.set(value, kept ? { ...fact, unfit: fact.unfit ?? "left alone on request" } : fact);
    }
  }
  return facts;
}

/** The operators that read `value`, each once. */
function readersOf({ uses }: Value): string[] {
  return [
    ...new Set(
      uses.flatMap(({ operation }) => operation === null ? [] : [operatorKey(operation.node)]),
    ),
  ];
}

/** A ConstantOfShape's new value. */
interface Filler {
  readonly tensor: Tensor;
  readonly source: Tensor | null;
  readonly from: FloatType;
  readonly clamped: number | null;
}

/**
 * The new values of the ConstantOfShape nodes that fill with a source type. One that overflows and is
 * no mask is added to `left`.
 */
function constantsOfShape(
  operations: readonly Operation[],
  from: ReadonlySet<DType>,
  to: FloatType,
  left: Map<Operation, string>,
): Map<Operation, Filler> {
  const found = new Map<Operation, Filler>();
  for (const operation of operations) {
    const { node } = operation;
    if (node.opType !== "ConstantOfShape" || node.domain !== "") continue;
    const value = attribute(node, "value");
    const source = value?.type === "tensor" ? value.value : null;
    const type = source?.dtype ?? "float32";
    if (!isFloatType(type) || !from.has(type)) continue;
    const number = source === null ? 0 : scalarOfTensor(source);
    if (number === null) continue;
    const overflows = Number.isFinite(number) && Math.abs(number) > LARGEST[to];
    if (overflows && number > 0 && number < 1e9) {
      left.set(operation, `its value ${number} overflows ${to}`);
      continue;
    }
    const clamped = overflows ? maskLimit(to) : null;
    const bytes = new Uint8Array(FLOAT_BYTES[to]);
    convertElements(
      new Uint8Array(new Float64Array([number]).buffer),
      "float64",
      to,
      bytes,
      clamped,
    );
    const tensor = makeTensor(source?.name ?? "", to, [1], { kind: "memory", bytes });
    found.set(operation, { tensor, source, from: type, clamped });
  }
  return found;
}

/** Why a constant that fits the new type is not stored in it; null where it is. */
function reasonToKeep(
  value: Value,
  tensor: Tensor,
  decisions: Decisions,
  demands: Demands,
): string | null {
  const elements = elementCount(tensor.dims);
  const saved = elements * (FLOAT_BYTES[tensor.dtype as FloatType] - FLOAT_BYTES[demands.to]);
  const worthCast = saved > CAST_BYTES + 3 * value.name.length;
  if (!demands.compute) {
    return worthCast ? null : `smaller than the Cast that would restore its type`;
  }
  const elsewhere = value.uses.filter((use) => wanted(use, decisions, demands) !== demands.to);
  if (elsewhere.length === 0) return null;
  const reason = elsewhere.map(({ operation }) => {
    if (operation === null) return "it is an output of the model";
    if (decisions.refused.has(operation)) return null;
    const why = decisions.kept.get(operation);
    return why === undefined ? null : `used by ${operation.node.opType}: ${why}`;
  }).find((one) => one !== null);
  if (elsewhere.length === value.uses.length) {
    if (reason !== undefined) return reason;
    return worthCast ? null : `used only where ${tensor.dtype} is needed`;
  }
  return elements <= FEW_ELEMENTS ? `used in ${tensor.dtype} as well` : null;
}

/** The new tensor: small ones at once, large ones pending. */
async function convertTensor(
  source: Tensor,
  from: FloatType,
  to: FloatType,
  limit: number | null,
  fills: FloatFill[],
): Promise<Tensor> {
  const length = elementCount(source.dims) * FLOAT_BYTES[to];
  const tensor: Tensor = {
    name: source.name,
    dtype: to,
    dims: source.dims,
    data: { kind: "pending", length },
    external: source.external,
    carried: source.carried,
  };
  const fill = { tensor, source, from, to, limit };
  if (length > SMALL_BYTES) {
    fills.push(fill);
    return tensor;
  }
  const bytes = new Uint8Array(length);
  await fillFloats(fill, (offset, piece) => {
    bytes.set(piece, offset);
    return Promise.resolve();
  });
  tensor.data = { kind: "memory", bytes };
  return tensor;
}
