/**
 * Plans the quantization of a model: finds its weights, gives each a block format and the form in
 * which all named runtimes load it fastest, and knows the resulting sizes to the byte. Planning
 * changes nothing; `applyPlan` rewrites the model and says how the new tensors are filled.
 */
import { InputError, nearestNames } from "../error.ts";
import { byteLength } from "../dtype.ts";
import type { Bits, BlockFormat, BlockSize, ScaleType } from "../formats.ts";
import type { Model } from "../ir.ts";
import { elementCount } from "../ir.ts";
import { contentKey } from "../onnx/tensor.ts";
import { upgradeModel } from "../onnx/upgrade.ts";
import type { Granularity, Patch, Target } from "./encodings/encoding.ts";
import { PatchBuilder, SharedConstants } from "./encodings/encoding.ts";
import type { Form, FormName } from "./encodings/encoding.ts";
import type { Encoding } from "./encodings/mod.ts";
import { FORMS, formsOf } from "./encodings/mod.ts";
import type { Fill } from "./encodings/packing.ts";
import type { Method } from "./engine.ts";
import type { MatrixView } from "./pipeline.ts";
import { rewriteModel } from "./rewrite.ts";
import type { Runtime } from "./runtimes.ts";
import {
  DEFAULT_RUNTIME,
  lacks,
  losesOperator,
  NEWEST_RUNTIME,
  parseRuntime,
  slows,
} from "./runtimes.ts";
import { nodesOf, outermost, Scopes } from "./scopes.ts";
import type { SkippedTensor, Weight } from "./weights.ts";
import { findWeights, quoted } from "./weights.ts";

/** What is asked for. */
export interface QuantizationOptions {
  readonly bits: Bits;
  readonly symmetric: boolean;
  readonly blockSize: BlockSize;
  readonly scaleType: ScaleType;
  readonly method: Method;
  readonly encoding: Encoding;
  /** `float16` where the graph will be converted to compute in it afterwards. */
  readonly activations?: "float32" | "float16";
  /** Runtimes by name, as `parseRuntime` reads them; none means {@link DEFAULT_RUNTIME}. */
  readonly runtimes: readonly string[];
  /** Weights to leave alone: patterns over names of tensors and nodes; `*` is any run, `?` any one. */
  readonly exclude: readonly string[];
  /** `contentKey` of weights that hold NaN or infinity, which no form can: they stay as they are. */
  readonly nonFinite?: ReadonlySet<string>;
}

/** Why a weight with NaN or infinity is left alone. */
export const NON_FINITE = "it holds NaN or infinity";

/** A weight that will be quantized. */
export interface PlannedWeight {
  readonly weight: Weight;
  readonly name: string;
  /** Operators that read it, each once. */
  readonly ops: readonly string[];
  readonly dims: readonly number[];
  readonly role: string;
  readonly bits: Bits;
  readonly form: FormName;
  readonly granularity: Granularity;
  /** The matrix to quantize, with its format and method; rows of `fills` are rows of this view. */
  readonly view: MatrixView;
  readonly format: BlockFormat;
  readonly method: Method;
  readonly bytesBefore: number;
  /** Bytes of codes, scales and zero points. */
  readonly bytesAfter: number;
  /** `8 * bytesAfter / weights`. */
  readonly bitsPerWeight: number;
  /** Bytes that the runtime keeps once it has loaded the model. */
  readonly memoryBytes: number;
  readonly fills: readonly Fill[];
}

/** What quantization would do to a model. */
export interface QuantizationPlan {
  readonly options: QuantizationOptions;
  readonly runtimes: readonly Runtime[];
  readonly weights: readonly PlannedWeight[];
  readonly skipped: readonly SkippedTensor[];
  /** Lowest default-domain opset and IR version that the result can have. */
  readonly opset: number;
  readonly irVersion: number;
  /** For `applyPlan`. */
  readonly patches: readonly Patch[];
  readonly scopes: Scopes;
}

/** Rows shorter than this have a scale for too few weights. */
const LEAST_COLUMNS = 4;

/**
 * Plans the quantization of `model`. Throws an `InputError` for an unknown runtime, a pattern that
 * nothing matches, and a weight that the asked-for encoding can't express for every runtime.
 */
export function planQuantization(model: Model, options: QuantizationOptions): QuantizationPlan {
  const runtimes = runtimesFor(model, options.runtimes);
  const scopes = new Scopes(model);
  const shared = new SharedConstants(scopes);
  const found = findWeights(scopes);
  const operators = new Set(
    scopes.bodies.flatMap((body) =>
      nodesOf(body).filter(({ domain }) => domain === "").map(({ opType }) => opType)
    ),
  );
  const excluded = matchExclusions(options.exclude, found.weights, found.skipped);
  const skipped: SkippedTensor[] = [];
  const patches: Patch[] = [];
  found.weights.forEach((weight, number) => {
    const bytes = byteLength(weight.tensor.dtype, elementCount(weight.tensor.dims));
    const skip = (reason: string) =>
      void skipped.push({ name: weight.name, tensor: weight.tensor, bytes, reason });
    const pattern = excluded.get(weight);
    if (pattern !== undefined) return skip(`excluded by "${pattern}"`);
    if (weight.view.columns < LEAST_COLUMNS && options.blockSize !== "tensor") {
      return skip(`too small: ${weight.view.columns} weights would share a scale`);
    }
    const target = targetOf(weight, options);
    const form = chooseForm(model, operators, target, options, runtimes);
    const builder = new PatchBuilder(target, form.name, shared, number);
    form.express(target, builder);
    const patch = builder.finish();
    if (patch.bytes + patch.overhead >= bytes) {
      const after = Math.max(0, patch.bytes + patch.overhead);
      return skip(`too small: ${bytes} bytes would become ${after} with scales and nodes`);
    }
    // Last, so that only what would be quantized is listed with this reason.
    if (options.nonFinite?.has(contentKey(weight.tensor))) return skip(NON_FINITE);
    patches.push(patch);
  });
  return {
    options,
    runtimes,
    weights: patches.map((patch) => planned(patch, options.method)),
    skipped: [...skipped, ...found.skipped],
    opset: Math.max(1, ...patches.map((patch) => patch.opset)),
    irVersion: Math.max(1, ...patches.map((patch) => patch.irVersion)),
    patches,
    scopes,
  };
}

/**
 * Rewrites the model that `plan` was made of: raises its opset and IR version as far as needed, puts
 * the new nodes and tensors in, takes out what nothing reads any more. The returned weights are the
 * plan's; their fills name the pending tensors that are now in the model. Call it once for a model.
 */
export function applyPlan(model: Model, plan: QuantizationPlan): readonly PlannedWeight[] {
  const current = raiseModel(model, plan);
  rewriteModel(model, current.patches);
  return current.weights;
}

/**
 * Raises the opset and the IR version of the model that `plan` was made of as far as the plan needs,
 * and returns the plan for the raised model: `plan` itself where nothing had to be raised.
 */
export function raiseModel(model: Model, plan: QuantizationPlan): QuantizationPlan {
  const { patches, opset, irVersion, options } = plan;
  if (patches.length === 0) return plan;
  // A function imports an opset of its own, which may be below the model's.
  const bodies = patches.map(({ target }) => outermost(target.weight.body));
  const lowest = Math.min(
    ...[model, ...bodies.map((body) => body.function ?? model)].map(({ opsets }) =>
      opsets.get("") ?? 1
    ),
  );
  if (lowest >= opset && model.irVersion >= irVersion) return plan;
  upgradeModel(model, { opset, irVersion });
  // The upgrade may have exchanged nodes that the plan refers to.
  return planQuantization(model, options);
}

/**
 * The runtimes of these names; ONNX Runtime where there are none. Throws an `InputError` where one is
 * unknown or can't load `model` to begin with.
 */
export function runtimesFor(model: Model, names: readonly string[]): readonly Runtime[] {
  const runtimes = (names.length === 0 ? [DEFAULT_RUNTIME] : names).map(parseRuntime);
  const opset = model.opsets.get("") ?? 1;
  for (const runtime of runtimes) {
    const reason = lacks(runtime, { op: "opset", opset, irVersion: model.irVersion });
    if (reason === null) continue;
    throw new InputError(
      `Cannot prepare "${model.path}" for ${runtime.text}: the model itself has opset ${opset} ` +
        `and IR version ${model.irVersion}, and ${reason}. ` +
        (names.length === 0
          ? `Name the runtime that the result is for, such as --runtime ${NEWEST_RUNTIME}.`
          : "Name a newer runtime."),
    );
  }
  return runtimes;
}

/** The format of a weight: rows shorter than a block are one block each. */
function targetOf(weight: Weight, options: QuantizationOptions): Target {
  const { view } = weight;
  const { blockSize, bits, symmetric } = options;
  const granularity: Granularity = blockSize === "tensor"
    ? "tensor"
    : blockSize === "channel" || view.columns < blockSize
    ? "channel"
    : "block";
  const half = weight.uses.some((use) => use.kind !== "float" && use.view.dtype === "float16");
  const format: BlockFormat = {
    bits,
    symmetric,
    blockSize: granularity === "block" && typeof blockSize === "number" ? blockSize : 0,
    scaleType: half ? "float16" : options.scaleType,
  };
  const whole: MatrixView = {
    batch: 1,
    rows: 1,
    columns: elementCount(weight.tensor.dims),
    order: "rows",
    weightType: view.weightType,
  };
  return {
    weight,
    granularity,
    format,
    view: granularity === "tensor" ? whole : view,
    ...(options.activations === "float16" ? { activations: "float16" } : {}),
  };
}

/** The best form of the asked-for encoding that every runtime loads. */
function chooseForm(
  model: Model,
  /** Operators of the default domain that the model has nodes of. */
  operators: ReadonlySet<string>,
  target: Target,
  options: QuantizationOptions,
  runtimes: readonly Runtime[],
): Form {
  const opset = model.opsets.get("") ?? 1;
  const fails = (form: Form): string | null => form.rejects(target) ?? obstacle(form);
  const obstacle = (form: Form): string | null => {
    const needs = form.needs(target);
    const raisedTo = needs.reduce(
      (most, need) => need.op === "opset" ? Math.max(most, need.opset) : most,
      opset,
    );
    const added = new Set(needs.map(({ op }) => op));
    for (const runtime of runtimes) {
      const lost = losesOperator(runtime, operators, opset, raisedTo) ??
        losesOperator(runtime, added, 0, raisedTo);
      if (lost !== null) return lost;
      for (const need of needs) {
        const raised = need.op === "opset"
          ? {
            ...need,
            opset: Math.max(opset, need.opset),
            irVersion: Math.max(model.irVersion, need.irVersion),
          }
          : need;
        const reason = lacks(runtime, raised);
        if (reason !== null) return reason;
      }
    }
    return null;
  };
  const isProduct = target.weight.uses.some((use) => use.kind === "matmul") &&
    target.weight.uses.every((use) => use.kind !== "float");
  const tried = options.encoding === "matmulnbits" && isProduct
    ? formsOf("matmulnbits").filter((form) => form.name.startsWith("matmulnbits"))
    : formsOf(options.encoding);
  const slow = (form: Form): boolean =>
    runtimes.some((runtime) => form.needs(target).some((need) => slows(runtime, need) !== null));
  const possible = tried.filter((candidate) => fails(candidate) === null);
  const fast = options.encoding === "auto" ? possible.find((form) => !slow(form)) : undefined;
  const form = fast ?? possible[0];
  if (form !== undefined) return form;
  const best = tried.find((candidate) => candidate.rejects(target) === null) ?? tried[0]!;
  const nearest = FORMS.find((candidate) => fails(candidate) === null);
  const user = target.weight.uses[0]!.node;
  throw new InputError(
    `Cannot express the weight "${target.weight.name}" of ${quoted(user)} in "${model.path}" as ` +
      `${options.encoding} at ${options.bits} bits: ${fails(best)}. ` +
      (nearest === undefined
        ? "No form at these bits is loaded by all the named runtimes."
        : `The nearest form that ${runtimes.map((runtime) => runtime.text).join(" and ")} ` +
          `${runtimes.length === 1 ? "loads" : "all load"} is "${nearest.name}": ` +
          `take --encoding ${nearest.name === "dequantizelinear" ? "qdq" : "auto"}.`),
  );
}

/** What the plan says of a patch. */
function planned(patch: Patch, method: Method): PlannedWeight {
  const { weight, format, granularity, view } = patch.target;
  const { tensor } = weight;
  const count = elementCount(tensor.dims);
  return {
    weight,
    name: weight.name,
    ops: [...new Set(weight.uses.map((use) => use.node.opType))],
    dims: tensor.dims,
    role: weight.role,
    bits: format.bits,
    form: patch.form,
    granularity,
    view,
    format,
    method,
    bytesBefore: byteLength(tensor.dtype, count),
    bytesAfter: patch.bytes,
    bitsPerWeight: 8 * patch.bytes / count,
    memoryBytes: patch.memoryBytes,
    fills: patch.fills,
  };
}

/** The pattern that excludes each excluded weight. Throws where a pattern matches nothing. */
function matchExclusions(
  patterns: readonly string[],
  weights: readonly Weight[],
  others: readonly SkippedTensor[],
): Map<Weight, string> {
  const excluded = new Map<Weight, string>();
  for (const pattern of patterns) {
    const expression = globMatcher(pattern);
    const namesOf = (weight: Weight) => [
      weight.name,
      ...weight.uses.flatMap((use) => [use.node.name, use.node.outputs[0] ?? ""]),
    ];
    const hits = weights.filter((weight) => namesOf(weight).some((name) => expression.test(name)));
    if (hits.length === 0 && !others.some((other) => expression.test(other.name))) {
      const names = weights.flatMap(namesOf).filter((name) => name !== "");
      throw new InputError(
        `Cannot exclude "${pattern}": no weight and no node that reads one has such a name. ` +
          `The nearest are ${nearestNames(pattern, new Set(names)).join(", ") || "none"}.`,
      );
    }
    for (const weight of hits) if (!excluded.has(weight)) excluded.set(weight, pattern);
  }
  return excluded;
}

/**
 * A test of names: `*` is any run of characters, `?` any one; the rest stands for itself. In time
 * that grows with the product of the lengths, for names come from models: no regular expression.
 */
export function globMatcher(pattern: string): { test(name: string): boolean } {
  const wanted = [...pattern];
  return {
    test(name) {
      const chars = [...name];
      let at = 0;
      let index = 0;
      /** Where the last star stands, and how far what it stands for reaches. */
      let star = -1;
      let reach = 0;
      while (index < chars.length) {
        if (wanted[at] === "*") {
          star = at++;
          reach = index;
        } else if (at < wanted.length && (wanted[at] === "?" || wanted[at] === chars[index])) {
          at++;
          index++;
        } else if (star >= 0) {
          at = star + 1;
          index = ++reach;
        } else return false;
      }
      while (wanted[at] === "*") at++;
      return at === wanted.length;
    },
  };
}
