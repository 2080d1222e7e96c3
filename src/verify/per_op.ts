/**
 * Where the original and the result part: both models are run with values inside the graph added to
 * their outputs, a batch at a time, and each value that bears the same name in both is compared, in
 * the order of the graph.
 *
 * No file is written: a serialized protobuf message followed by another is the two merged
 * (https://protobuf.dev/programming-guides/encoding/#last-one-wins), so a model's bytes followed by a
 * few more outputs are that model with these outputs.
 */
import { VerificationError } from "../error.ts";
import { allGraphs, type Model, type Node, subgraphs } from "../ir.ts";
import { type Difference, difference, ShapeMismatch } from "./metrics.ts";
import type { RuntimeProcess } from "./runtime_process.ts";
import { checkpoint, modelFolder, type Port, RuntimeFault } from "./session.ts";
import { castTensor, type HostTensor } from "./values.ts";

/** One value inside the graph, compared. */
export interface ValueComparison {
  /** Name of the value. */
  readonly value: string;
  /** Name of the node that makes it in the original. */
  readonly node: string;
  /** Its op in the original, and in the result. */
  readonly op: { readonly original: string; readonly result: string };
  readonly dims: readonly number[];
  /**
   * Relative L2 error of floats, share of unequal elements of other types; null where the original
   * has no signal.
   */
  readonly error: number | null;
  /** How much larger the error is than the worst of the node's inputs. */
  readonly jump: number;
  /** A difference that no number says: other extents, or NaN in one of the two. */
  readonly mismatch: string | null;
}

/** Where two models part. */
export interface PerOpReport {
  /** Error past which a value counts as parted. */
  readonly threshold: number;
  /** In the order of the original's graph. */
  readonly values: readonly ValueComparison[];
  /** The first value past the threshold; null where none is. */
  readonly first: ValueComparison | null;
  /** The value with the largest jump; null where nothing was compared. */
  readonly largestJump: ValueComparison | null;
  /** Values that could not be compared, and why. */
  readonly skipped: readonly { readonly value: string; readonly reason: string }[];
  /** What lies out of reach, in sentences. */
  readonly notChecked: readonly string[];
}

/** What to compare. */
export interface PerOpRequest {
  readonly runtime: RuntimeProcess;
  readonly original: Model;
  readonly result: Model;
  /** Computes values inside the result by name where ONNX Runtime does not run it. */
  readonly fetchResult?: (names: readonly string[]) => Promise<Map<string, HostTensor>>;
  readonly provider: string;
  readonly feeds: ReadonlyMap<string, HostTensor>;
  readonly threshold: number;
  readonly signal: AbortSignal | undefined;
}

/** Values that are added to the outputs at first; later batches go by the memory that these take. */
const FIRST_BATCH = 32;

/** Most values in a batch, and the bytes of values that a batch should stay below. */
const LARGEST_BATCH = 256;
const BATCH_BYTES = 64 * 2 ** 20;

/** Ops that make sequences and optionals, which can't be fetched. */
const NO_TENSOR = new Set([
  "SequenceConstruct",
  "SequenceEmpty",
  "SequenceInsert",
  "SequenceErase",
  "SequenceMap",
  "SplitToSequence",
  "Optional",
  "ZipMap",
]);

/** Compares the values that both models of `request` have by name. */
export async function comparePerOp(request: PerOpRequest): Promise<PerOpReport> {
  const { original, result } = request;
  const resultMakers = makersOf(result);
  const skipped: { value: string; reason: string }[] = [];
  const shared: string[] = [];
  let renamed = 0;
  for (const node of original.graph.nodes) {
    if (node.opType === "Constant") continue;
    for (const output of node.outputs) {
      if (output === "") continue;
      if (!resultMakers.has(output)) renamed++;
      else if (NO_TENSOR.has(node.opType)) {
        skipped.push({ value: output, reason: `${node.opType} makes no tensor` });
      } else shared.push(output);
    }
  }

  const originalBytes = await ExtendableModel.read(original);
  const fetchResult = request.fetchResult ?? await inRuntime(request, result);
  const found = new Map<string, Found>();
  let size = FIRST_BATCH;
  for (let at = 0; at < shared.length;) {
    await checkpoint(request.signal);
    const names = shared.slice(at, at + size);
    let values: Map<string, HostTensor>[];
    try {
      values = [
        await fetchValues(request, originalBytes, names),
        await fetchResult(names),
      ];
    } catch (error) {
      if (!(error instanceof RuntimeFault || error instanceof VerificationError)) throw error;
      // One of them can't be an output: halves find which.
      if (names.length === 1) {
        skipped.push({ value: names[0]!, reason: error.message });
        at++;
      } else size = names.length >> 1;
      continue;
    }
    at += names.length;
    const bytes = [...values[0]!.values()].reduce(
      (sum, { data }) => sum + (Array.isArray(data) ? 0 : data.byteLength),
      0,
    );
    if (2 * bytes < BATCH_BYTES) size = Math.min(LARGEST_BATCH, 2 * names.length);
    else if (bytes > BATCH_BYTES) size = Math.max(1, names.length >> 1);
    for (const name of names) {
      const before = values[0]!.get(name);
      const after = values[1]!.get(name);
      if (before === undefined || after === undefined) {
        skipped.push({ value: name, reason: "it is not a tensor of a type that can be fetched" });
      } else found.set(name, compareValue(before, after));
    }
  }
  return report(request, resultMakers, found, skipped, renamed);
}

/** What is known of one value that both models have. */
interface Found {
  readonly dims: readonly number[];
  /** Null where the extents differ, which `mismatch` then says. */
  readonly difference: Difference | null;
  readonly mismatch: string | null;
}

/** Compares one value. */
function compareValue(before: HostTensor, after: HostTensor): Found {
  const { dims } = before;
  try {
    const found = difference(before, after);
    const mismatch = found.nonFiniteMismatches === 0
      ? null
      : `${found.nonFiniteMismatches} elements are NaN or infinite in one of the two`;
    return { dims, difference: found, mismatch };
  } catch (error) {
    if (!(error instanceof ShapeMismatch)) throw error;
    return { dims, difference: null, mismatch: error.message };
  }
}

/** Walks the original's nodes in order and gives every compared value its jump. */
function report(
  request: PerOpRequest,
  resultMakers: ReadonlyMap<string, Node>,
  found: ReadonlyMap<string, Found>,
  skipped: readonly { value: string; reason: string }[],
  renamed: number,
): PerOpReport {
  /** Error of each value so far; a value that was not compared has that of its worst input. */
  const errors = new Map<string, number>();
  const values: ValueComparison[] = [];
  for (const node of request.original.graph.nodes) {
    const inherited = readNames(node).reduce(
      (worst, name) => Math.max(worst, errors.get(name) ?? 0),
      0,
    );
    for (const output of node.outputs) {
      const entry = found.get(output);
      if (entry === undefined) {
        errors.set(output, inherited);
        continue;
      }
      const error = entry.difference?.error ?? null;
      errors.set(output, error ?? inherited);
      values.push({
        value: output,
        node: node.name,
        op: { original: node.opType, result: resultMakers.get(output)!.opType },
        dims: entry.dims,
        error,
        jump: error === null ? 0 : error - inherited,
        mismatch: entry.mismatch,
      });
    }
  }
  const parted = (entry: ValueComparison) =>
    entry.mismatch !== null || (entry.error !== null && entry.error > request.threshold);
  return {
    threshold: request.threshold,
    values,
    first: values.find(parted) ?? null,
    largestJump: values.reduce<ValueComparison | null>(
      (best, entry) => best === null || entry.jump > best.jump ? entry : best,
      null,
    ),
    skipped,
    notChecked: [
      ...outOfReach(request.original, renamed),
      ...(request.fetchResult === undefined ? [] : [
        "nodes as the module joins them: what is an output is not computed inside of what reads it",
      ]),
    ],
  };
}

/** What can't be compared in `model`. */
function outOfReach(model: Model, renamed: number): string[] {
  const sentences: string[] = [];
  let inner = 0;
  for (const graph of allGraphs(model.graph)) {
    if (graph !== model.graph) inner += graph.nodes.length;
  }
  if (inner > 0) {
    sentences.push(
      `${inner} nodes inside subgraphs (If, Loop, Scan), whose values can't be made outputs`,
    );
  }
  const functions = new Set(model.functions.map((entry) => `${entry.domain}:${entry.name}`));
  const calls =
    model.graph.nodes.filter((node) => functions.has(`${node.domain}:${node.opType}`)).length;
  if (calls > 0) sentences.push(`the inside of ${calls} calls of the model's own functions`);
  if (renamed > 0) sentences.push(`${renamed} values that the result has no more by that name`);
  return sentences;
}

/** Names that `node` reads, those of its subgraphs included. */
function readNames(node: Node): string[] {
  const names = [...node.inputs];
  for (const graph of subgraphs(node)) {
    for (const inner of graph.nodes) for (const name of readNames(inner)) names.push(name);
  }
  return names;
}

/** The node that makes each value of the top graph. */
function makersOf(model: Model): Map<string, Node> {
  const makers = new Map<string, Node>();
  for (const node of model.graph.nodes) {
    for (const output of node.outputs) makers.set(output, node);
  }
  return makers;
}

/** Computes values inside `model` in ONNX Runtime. */
async function inRuntime(
  request: PerOpRequest,
  model: Model,
): Promise<NonNullable<PerOpRequest["fetchResult"]>> {
  const bytes = await ExtendableModel.read(model);
  return async (names) => await fetchValues(request, bytes, names);
}

/** Runs a model with `names` as further outputs, and returns those of them that are tensors. */
async function fetchValues(
  request: PerOpRequest,
  model: ExtendableModel,
  names: readonly string[],
): Promise<Map<string, HostTensor>> {
  await using session = await request.runtime.open(
    { bytes: model.withOutputs(names), folder: model.folder },
    request.provider,
    { calm: true },
  );
  const types = new Map(session.outputs.map((port) => [port.name, port]));
  const tensors = names.filter((name) => (types.get(name)?.dtype ?? null) !== null);
  if (tensors.length === 0) return new Map();
  return await session.run(fitFeeds(request.feeds, session.inputs), tensors);
}

/** `feeds` in the element types that `ports` want. */
export function fitFeeds(
  feeds: ReadonlyMap<string, HostTensor>,
  ports: readonly Port[],
): Map<string, HostTensor> {
  const fitted = new Map<string, HostTensor>();
  for (const port of ports) {
    const tensor = feeds.get(port.name);
    if (tensor === undefined) throw new RuntimeFault(`it wants an input "${port.name}" besides`);
    fitted.set(
      port.name,
      port.dtype === null ? tensor : castTensor(tensor, port.dtype, port.name),
    );
  }
  return fitted;
}

/** The bytes of a model file, with room for more outputs behind them. */
class ExtendableModel {
  readonly folder: string;
  readonly #length: number;
  readonly #outputs: ReadonlySet<string>;
  #bytes: Uint8Array;

  private constructor(model: Model, bytes: Uint8Array) {
    this.folder = modelFolder(model.path);
    this.#bytes = bytes;
    this.#length = bytes.length;
    this.#outputs = new Set(model.graph.outputs.map((output) => output.name));
  }

  static async read(model: Model): Promise<ExtendableModel> {
    return new ExtendableModel(model, await Deno.readFile(model.path));
  }

  /** The model with `names` as outputs too; valid until the next call. */
  withOutputs(names: readonly string[]): Uint8Array {
    const outputs = names.filter((name) => !this.#outputs.has(name)).map((name) =>
      // GraphProto.output (12), whose ValueInfoProto has a name (1) and leaves the type to inference.
      lengthDelimited(12, lengthDelimited(1, new TextEncoder().encode(name)))
    );
    // ModelProto.graph (7).
    const tail = outputs.length === 0 ? new Uint8Array(0) : lengthDelimited(7, concat(outputs));
    if (this.#bytes.length < this.#length + tail.length) {
      const larger = new Uint8Array(this.#length + 2 * tail.length);
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#bytes.set(tail, this.#length);
    return this.#bytes.subarray(0, this.#length + tail.length);
  }
}

/** A length-delimited protobuf field. */
function lengthDelimited(field: number, content: Uint8Array): Uint8Array {
  return concat([varint(field << 3 | 2), varint(content.length), content]);
}

/** `value` as a base-128 varint. */
function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push(value % 128 | 128);
  bytes.push(value);
  return Uint8Array.from(bytes);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
