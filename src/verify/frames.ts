/**
 * What the process that runs ONNX Runtime and the one that started it say to each other: frames over
 * standard input and output.
 *
 * A frame is the byte lengths of its header and of its body as two float64, the header as JSON, and the
 * body: the elements of the tensors that the header describes, in order. Each part is padded to 8 bytes.
 */
import { elementCount } from "../ir.ts";
import type { Port, RuntimeBuild } from "./session.ts";
import { elementBytes, type HostTensor, isHostType, viewBytes } from "./values.ts";

/** A named tensor; strings are in the header, other elements in the body. */
export interface TensorHeader {
  readonly name: string;
  readonly dtype: string;
  readonly dims: readonly number[];
  readonly bytes: number;
  readonly strings?: readonly string[] | undefined;
}

/** What the process is asked to do, one thing at a time; it has one model at a time. */
export type Request =
  | {
    readonly kind: "open";
    /** Path of the model, or how many bytes of the body it is and where its external data lie. */
    readonly model: string | { readonly bytes: number; readonly folder: string };
    readonly provider: string;
    readonly profile: string | null;
    readonly calm: boolean;
  }
  | {
    readonly kind: "run";
    readonly feeds: readonly TensorHeader[];
    readonly fetches: readonly string[];
    /** Runs to time, of which nothing but the times is answered; null for one whose outputs are. */
    readonly timed: number | null;
  }
  | { readonly kind: "end profiling" }
  | { readonly kind: "close" };

/** What it answers; `ready` comes unasked when ONNX Runtime is loaded. */
export type Answer =
  | ({ readonly kind: "ready" } & RuntimeBuild)
  | {
    readonly kind: "opened";
    readonly inputs: readonly Port[];
    readonly outputs: readonly Port[];
    readonly loadTime: number;
  }
  | { readonly kind: "ran"; readonly outputs: readonly TensorHeader[] }
  | { readonly kind: "timed"; readonly times: readonly number[] }
  | { readonly kind: "done" }
  /** What {@link RuntimeFault}, `MissingToolError` and other errors say. */
  | { readonly kind: "fault" | "missing" | "bug"; readonly message: string };

/** A frame that was read. */
export interface Frame {
  readonly header: unknown;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** Bytes that a header may take: what is longer is no frame. */
const MOST_HEADER = 2 ** 30;

/** The bytes of a frame, in pieces; `parts` are those of its body, each padded. */
export function* frameParts(
  header: Request | Answer,
  parts: readonly Uint8Array[] = [],
): Generator<Uint8Array> {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const head = new Uint8Array(16 + padded(json.length)).fill(0x20);
  const view = new DataView(head.buffer);
  view.setFloat64(0, head.length - 16, true);
  view.setFloat64(8, parts.reduce((sum, { length }) => sum + padded(length), 0), true);
  head.set(json, 16);
  yield head;
  for (const part of parts) {
    if (part.length > 0) yield part;
    const rest = padded(part.length) - part.length;
    if (rest > 0) yield new Uint8Array(rest);
  }
}

/** Reads frames from a stream that `read` gives in pieces; null is its end. */
export class FrameReader {
  readonly #read: () => Promise<Uint8Array | null>;
  #piece: Uint8Array = new Uint8Array(0);

  constructor(read: () => Promise<Uint8Array | null>) {
    this.#read = read;
  }

  /** The next frame; null where the stream ends before its end. Throws a `TypeError` for no frame. */
  async next(): Promise<Frame | null> {
    const lengths = await this.#take(16);
    if (lengths === null) return null;
    const view = new DataView(lengths.buffer);
    const [head, body] = [view.getFloat64(0, true), view.getFloat64(8, true)];
    if (!(head >= 0 && head <= MOST_HEADER && Number.isSafeInteger(body) && body >= 0)) {
      throw new TypeError("what came is no frame");
    }
    const json = await this.#take(head);
    const bytes = json === null ? null : await this.#take(body);
    if (json === null || bytes === null) return null;
    const header: unknown = JSON.parse(new TextDecoder().decode(json));
    return { header, body: bytes };
  }

  async #take(count: number): Promise<Uint8Array<ArrayBuffer> | null> {
    const taken = new Uint8Array(count);
    for (let at = 0; at < count;) {
      if (this.#piece.length === 0) {
        const piece = await this.#read();
        if (piece === null) return null;
        this.#piece = piece;
      }
      const part = this.#piece.subarray(0, count - at);
      taken.set(part, at);
      at += part.length;
      this.#piece = this.#piece.subarray(part.length);
    }
    return taken;
  }
}

/** The headers of `tensors`, and the parts of the body that they describe. */
export function packTensors(
  tensors: ReadonlyMap<string, HostTensor>,
): { headers: TensorHeader[]; parts: Uint8Array[] } {
  const parts: Uint8Array[] = [];
  const headers = [...tensors].map(([name, { dtype, dims, data }]): TensorHeader => {
    if (Array.isArray(data)) return { name, dtype, dims, bytes: 0, strings: data };
    parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return { name, dtype, dims, bytes: data.byteLength };
  });
  return { headers, parts };
}

/** The tensors that `headers` describe, views of `body`. Throws a `TypeError` where they don't fit. */
export function unpackTensors(
  headers: readonly TensorHeader[],
  body: Uint8Array<ArrayBuffer>,
): Map<string, HostTensor> {
  let at = 0;
  const tensors = new Map<string, HostTensor>();
  for (const { name, dtype, dims, bytes, strings } of headers) {
    if (!isHostType(dtype)) throw new TypeError(`tensor "${name}" is of ${dtype}`);
    if (dtype === "string") {
      tensors.set(name, { dtype, dims, data: [...strings ?? []] });
      continue;
    }
    const elements = body.subarray(at, at + bytes);
    at += padded(bytes);
    if (elements.length !== elementCount(dims) * elementBytes(dtype)) {
      throw new TypeError(`tensor "${name}" has ${bytes} bytes for ${dtype} [${dims}]`);
    }
    tensors.set(name, { dtype, dims, data: viewBytes(dtype, elements) });
  }
  return tensors;
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}
