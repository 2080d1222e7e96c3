/**
 * The layout of a model's files: what is written where, to the byte, before anything is written.
 * Tensors go into the model file, or into an external data file beside it: `<model file>.data`; into
 * several where one would pass a limit that was asked for.
 *
 * Within a data file tensors lie in the model's order. One of 64 KiB or more begins at a multiple
 * of 4,096, so that runtimes can map it, as ONNX recommends
 * (https://github.com/onnx/onnx/blob/main/docs/ExternalData.md); a smaller one at a multiple of 64.
 * Tensors that share bytes in the source share them in the output.
 */
import { basename, dirname, relative } from "node:path";
import { byteLength, DTYPES } from "../dtype.ts";
import { InputError } from "../error.ts";
import {
  type Attribute,
  elementCount,
  type Graph,
  type Model,
  type Node,
  type SparseTensor,
  type Tensor,
} from "../ir.ts";
import type { ExternalTarget } from "./edit_fields.ts";
import { encodeModel, inlineLength, type Rope } from "./encode.ts";

/** Where tensors are stored. */
export interface LayoutOptions {
  /**
   * `auto`: in an external file those tensors that are external in the source, and every larger
   * one where the source has any or where the file would pass 2 GiB. `always`: every larger one.
   * `never`: none. `large`: every larger one, but only where the model file would otherwise pass
   * `modelFileBytes`.
   */
  readonly externalData?: "auto" | "always" | "never" | "large";
  /** Bytes from which a tensor counts as larger; 1024, as in ONNX's own tools. */
  readonly externalThreshold?: number;
  /** Bytes that the model file may have with `large`; 2 GiB less one, protobuf's limit, if absent. */
  readonly modelFileBytes?: number;
  /** Bytes that an external data file may have, but for one that holds a single tensor; no limit. */
  readonly dataFileBytes?: number;
  /**
   * What the name of the external data file number `index`, from 0, has after the model file's;
   * `.data`, `.data_1`, ... if absent.
   */
  readonly dataFileSuffix?: (index: number) => string;
}

/** A place in one of the files of a layout. */
export interface Place {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/** Bytes of a file that are known when the layout is made. */
export interface FixedBytes {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** A tensor's data at a place. */
export interface PlacedTensor {
  readonly tensor: Tensor;
  readonly place: Place;
  /** `record`: the records of a typed field as they stand; `raw`: the form of `raw_data`. */
  readonly form: "raw" | "record";
}

/** Protobuf's limit for a file: no parser takes more. */
const LARGEST_FILE = 2 ** 31 - 1;
const PAGE = 4096;
const PAGED_FROM = 64 * 1024;
const LINE = 64;

/** What is written where. */
export class ModelLayout {
  /** The model file. */
  readonly target: string;
  /** The model as it was laid out. */
  readonly model: Model;
  /** The model file, then the external data files where there are any. */
  readonly files: readonly { readonly path: string; readonly byteLength: number }[];
  /** Bytes of all files. */
  readonly totalBytes: number;
  /** The model file but for tensor data. */
  readonly fixed: readonly FixedBytes[];
  /** All tensor data, in order of file and offset. */
  readonly tensors: readonly PlacedTensor[];
  readonly #pending = new Map<Tensor, Place[]>();

  constructor(model: Model, target: string, rope: Rope, external: ExternalData) {
    this.model = model;
    this.target = target;
    this.files = [{ path: target, byteLength: rope.length }, ...external.files];
    this.totalBytes = this.files.reduce((sum, file) => sum + file.byteLength, 0);
    const { fixed, tensors } = positions(rope, target);
    this.fixed = fixed;
    this.tensors = [...tensors, ...external.stored];
    for (const { tensor, place } of this.tensors) {
      if (tensor.data.kind !== "pending") continue;
      const places = this.#pending.get(tensor) ?? [];
      this.#pending.set(tensor, places);
      places.push(place);
    }
  }

  /** Where the bytes of a pending tensor go; the first place of one that occurs several times. */
  placeOf(tensor: Tensor): Place {
    return this.placesOf(tensor)[0]!;
  }

  /** All places of a pending tensor. */
  placesOf(tensor: Tensor): readonly Place[] {
    const places = this.#pending.get(tensor);
    if (places === undefined) {
      throw new TypeError(`the tensor "${tensor.name}" is not pending in this layout`);
    }
    return places;
  }

  /** The pending tensors, each once. */
  get pending(): readonly Tensor[] {
    return [...this.#pending.keys()];
  }
}

/**
 * Lays `model` out for the file `target`. Reads and writes nothing. Throws an `InputError` where
 * the model can't be stored in the way the options ask for.
 */
export function planModel(
  model: Model,
  target: string,
  options: LayoutOptions = {},
): ModelLayout {
  const { externalData = "auto", externalThreshold = 1024 } = options;
  checkTensors(model);
  const limit = externalData === "large" ? options.modelFileBytes ?? LARGEST_FILE : LARGEST_FILE;
  const ways = choices(model, externalData, externalThreshold);
  for (const [index, choose] of ways.entries()) {
    const external = new ExternalData(target, options);
    for (const { tensor, role } of modelTensors(model)) {
      if (tensor.dtype !== "string" && choose(tensor, role)) external.add(tensor);
    }
    const rope = encodeModel(model, (tensor) => external.places.get(tensor));
    // The last way is as far as it goes: only the format's own limit is left to hold.
    const most = index === ways.length - 1 ? LARGEST_FILE : limit;
    if (rope.length <= most) return new ModelLayout(model, target, rope, external);
  }
  throw new InputError(
    `Cannot write "${target}": the file would pass 2 GiB, which ONNX's file format does not allow` +
      (externalData === "never" ? ". Allow external data." : ", even with external data."),
  );
}

/**
 * Lays out the model file of `model` alone for the file `target`: its external data stay where they
 * are, called by what `rename` makes of the names that they had.
 */
export function planModelFile(
  model: Model,
  target: string,
  rename: (name: string) => string,
): ModelLayout {
  const external = new ExternalData(target, {});
  const folder = dirname(model.path);
  for (const { tensor: { external: apart, data }, tensor } of modelTensors(model)) {
    if (!apart || data.kind !== "file") continue;
    const { path, offset, length } = data;
    external.places.set(tensor, { location: rename(relative(folder, path)), offset, length });
  }
  const rope = encodeModel(model, (tensor) => external.places.get(tensor));
  return new ModelLayout(model, target, rope, external);
}

type Role = "initializer" | "attribute";
type Choice = (tensor: Tensor, role: Role) => boolean;

/** What to keep in the external file, in the order to try. */
function choices(model: Model, externalData: string, threshold: number): Choice[] {
  const large = (tensor: Tensor) => rawLength(tensor) >= threshold;
  const all: Choice[] = [
    (tensor, role) => tensor.external || (role === "initializer" && large(tensor)),
    (tensor) => tensor.external || large(tensor),
  ];
  if (externalData === "never") return [() => false];
  if (externalData === "always") return all;
  if (externalData === "large") return [() => false, ...all];
  const made = (tensor: Tensor) => tensor.data.kind === "memory" || tensor.data.kind === "pending";
  const asSource: Choice = (tensor, role) =>
    tensor.external || (model.external && role === "initializer" && made(tensor) && large(tensor));
  return [asSource, ...all];
}

/** Bytes of a tensor's raw form. */
function rawLength(tensor: Tensor): number {
  return tensor.data.kind === "memory" ? tensor.data.bytes.length : tensor.data.length;
}

/** The external data files: what lies where in them. */
class ExternalData {
  readonly places = new Map<Tensor, ExternalTarget>();
  readonly stored: PlacedTensor[] = [];
  readonly files: { readonly path: string; byteLength: number }[] = [];
  readonly #target: string;
  readonly #suffix: (index: number) => string;
  readonly #limit: number;
  readonly #shared = new Map<string, ExternalTarget>();

  constructor(target: string, { dataFileSuffix, dataFileBytes = Infinity }: LayoutOptions) {
    this.#target = target;
    this.#suffix = dataFileSuffix ?? ((index) => index === 0 ? ".data" : `.data_${index}`);
    this.#limit = dataFileBytes;
  }

  add(tensor: Tensor): void {
    if (this.places.has(tensor)) return;
    const { data } = tensor;
    const key = data.kind === "file" ? `${data.offset}:${data.length}:${data.path}` : null;
    const same = key === null ? undefined : this.#shared.get(key);
    const place = same ?? this.#append(tensor);
    if (key !== null) this.#shared.set(key, place);
    this.places.set(tensor, place);
  }

  #append(tensor: Tensor): ExternalTarget {
    const length = rawLength(tensor);
    const grain = length >= PAGED_FROM ? PAGE : LINE;
    let file = this.files.at(-1);
    let offset = Math.ceil((file?.byteLength ?? 0) / grain) * grain;
    if (file === undefined || (file.byteLength > 0 && offset + length > this.#limit)) {
      file = { path: this.#target + this.#suffix(this.files.length), byteLength: 0 };
      this.files.push(file);
      offset = 0;
    }
    file.byteLength = offset + length;
    this.stored.push({ tensor, place: { path: file.path, offset, length }, form: "raw" });
    return { location: basename(file.path), offset, length };
  }
}

function positions(
  rope: Rope,
  path: string,
): { fixed: FixedBytes[]; tensors: PlacedTensor[] } {
  const fixed: FixedBytes[] = [];
  const tensors: PlacedTensor[] = [];
  let offset = 0;
  let run: Uint8Array[] = [];
  let runStart = 0;
  const close = () => {
    if (run.length > 0) fixed.push({ offset: runStart, bytes: joined(run, offset - runStart) });
    run = [];
  };
  for (const piece of rope.pieces) {
    if (piece instanceof Uint8Array) {
      if (run.length === 0) runStart = offset;
      run.push(piece);
    } else {
      close();
      const { tensor, length } = piece;
      const form = tensor.data.kind === "typed" ? "record" : "raw";
      tensors.push({ tensor, place: { path, offset, length }, form });
    }
    offset += piece.length;
  }
  close();
  return { fixed, tensors };
}

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array {
  if (pieces.length === 1) return pieces[0]!;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** A tensor whose bytes don't fit its shape would be a broken file: that is a bug of its maker. */
function checkTensors(model: Model): void {
  for (const { tensor } of modelTensors(model)) {
    const { data, dtype, dims } = tensor;
    if (dtype === "string") {
      if (data.kind === "typed") continue;
      throw new TypeError(`the tensor "${tensor.name}" of strings has ${data.kind} data`);
    }
    const expected = byteLength(dtype, elementCount(dims));
    if (rawLength(tensor) !== expected) {
      throw new TypeError(
        `the tensor "${tensor.name}" has ${rawLength(tensor)} bytes where ${dtype} [${dims}] ` +
          `(${DTYPES[dtype].bits} bits each) takes ${expected}`,
      );
    }
    if (data.kind === "pending" && inlineLength(tensor) !== expected) {
      throw new TypeError(`the pending tensor "${tensor.name}" has another length`);
    }
  }
}

/** Every tensor of a model: initializers first, then those in attributes, graph by graph. */
export function* modelTensors(model: Model): Generator<{ tensor: Tensor; role: Role }> {
  yield* graphTensors(model.graph);
  for (const { initialization, algorithm } of model.training) {
    if (initialization !== null) yield* graphTensors(initialization);
    if (algorithm !== null) yield* graphTensors(algorithm);
  }
  for (const definition of model.functions) {
    yield* attributeTensors(definition.attributes);
    yield* nodeTensors(definition.nodes);
  }
}

function* graphTensors(graph: Graph): Generator<{ tensor: Tensor; role: Role }> {
  for (const tensor of graph.initializers) yield { tensor, role: "initializer" };
  for (const sparse of graph.sparseInitializers) yield* sparseTensors(sparse);
  yield* nodeTensors(graph.nodes);
}

function* nodeTensors(nodes: readonly Node[]): Generator<{ tensor: Tensor; role: Role }> {
  for (const node of nodes) yield* attributeTensors(node.attributes);
}

function* attributeTensors(
  attributes: readonly Attribute[],
): Generator<{ tensor: Tensor; role: Role }> {
  for (const { value } of attributes) {
    switch (value.type) {
      case "tensor":
        yield { tensor: value.value, role: "attribute" };
        break;
      case "tensors":
        for (const tensor of value.value) yield { tensor, role: "attribute" };
        break;
      case "graph":
        yield* graphTensors(value.value);
        break;
      case "graphs":
        for (const graph of value.value) yield* graphTensors(graph);
        break;
      case "sparse_tensor":
        yield* sparseTensors(value.value);
        break;
      case "sparse_tensors":
        for (const sparse of value.value) yield* sparseTensors(sparse);
        break;
    }
  }
}

function* sparseTensors(sparse: SparseTensor): Generator<{ tensor: Tensor; role: Role }> {
  yield { tensor: sparse.values, role: "attribute" };
  yield { tensor: sparse.indices, role: "attribute" };
}
