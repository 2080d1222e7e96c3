/**
 * The weights of a module as one safetensors file (https://github.com/huggingface/safetensors, "Format"):
 * a tensor of bytes for each GPU buffer, named "0", "1", ..., filled in order of use and no larger than
 * what any device binds. Weights are streamed through: memory is bounded by the pieces that a source
 * gives. Every piece of 4 MiB has its SHA-256, so that a download is checked as it comes and goes on
 * from where it broke.
 */
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { InputError, InterruptedError } from "../error.ts";
import { PartialFile, publishTogether } from "../onnx/files.ts";
import type { WeightChunk, WeightTables } from "./module.ts";

/** One weight to write. */
export interface WeightSource {
  /** What errors call it. */
  readonly name: string;
  readonly bytes: number;
  /** All of its bytes, in pieces of any size. */
  read(): AsyncIterable<Uint8Array>;
}

/** Bytes of a buffer at most: `maxStorageBufferBindingSize` that WebGPU promises of every device. */
export const BUFFER_BYTES = 128 * 2 ** 20;
/** `minStorageBufferOffsetAlignment` at most, as WebGPU promises. */
export const ALIGNMENT = 256;
const CHUNK_BYTES = 4 * 2 ** 20;

/** What writing may be given. */
export interface WriteWeightsOptions {
  /** Bytes of a buffer at most, a multiple of {@link ALIGNMENT}. */
  readonly bufferBytes?: number;
  /** Bytes of a chunk at most, a multiple of 4. */
  readonly chunkBytes?: number;
  readonly signal?: AbortSignal;
  /** Is told how many bytes of weights are written. */
  readonly progress?: (done: number, total: number) => void;
}

/**
 * Writes `weights`, in order of use, to `path`, which changes only when all is written.
 *
 * @throws InputError for a weight that fits no buffer, and where the disk does not take the file.
 * @throws InterruptedError when the signal aborts.
 */
export async function writeWeights(
  path: string,
  weights: readonly WeightSource[],
  options: WriteWeightsOptions = {},
): Promise<WeightTables> {
  const { buffers, tensors } = placeWeights(weights, options.bufferBytes ?? BUFFER_BYTES);
  const header = safetensorsHeader(buffers);
  const total = buffers.reduce((sum, bytes) => sum + bytes, 0);
  const file = new PartialFile(path, header.length + total);
  try {
    await file.write(0, header);
    const writer = new ChunkWriter(file, header.length, buffers, options.chunkBytes ?? CHUNK_BYTES);
    let done = 0;
    for (const [index, weight] of weights.entries()) {
      const [buffer, offset] = tensors[index]!;
      await writer.padTo(buffer, offset);
      let read = 0;
      for await (const piece of weight.read()) {
        if (options.signal?.aborted) {
          throw new InterruptedError(`Cannot write "${path}": interrupted.`);
        }
        read += piece.length;
        if (read > weight.bytes) break;
        await writer.write(piece);
        options.progress?.(done += piece.length, total);
      }
      if (read !== weight.bytes) {
        throw new Error(`the weight "${weight.name}" has ${read} bytes, not ${weight.bytes}`);
      }
    }
    await writer.padTo(buffers.length, 0);
    await file.close(false);
    publishTogether([{ path: file.path, target: path, byteLength: file.byteLength }]);
    return {
      file: basename(path),
      bytes: file.byteLength,
      buffers,
      chunks: writer.chunks,
      tensors,
    };
  } finally {
    file.discard();
  }
}

/**
 * The table that {@link writeWeights} gives, with zeros for hashes: nothing is read or written.
 *
 * @throws InputError for a weight that fits no buffer.
 */
export function planWeights(path: string, weights: readonly WeightSource[]): WeightTables {
  const { buffers, tensors } = placeWeights(weights, BUFFER_BYTES);
  const chunks: WeightChunk[] = [];
  let at = safetensorsHeader(buffers).length;
  for (const [buffer, bytes] of buffers.entries()) {
    for (let offset = 0; offset < bytes; offset += CHUNK_BYTES) {
      const length = Math.min(CHUNK_BYTES, bytes - offset);
      chunks.push({ buffer, offset, at, bytes: length, sha256: "0".repeat(64) });
      at += length;
    }
  }
  return { file: basename(path), bytes: at, buffers, chunks, tensors };
}

/** Fills buffers in order; a weight lies in one buffer. */
function placeWeights(
  weights: readonly WeightSource[],
  limit: number,
): Pick<WeightTables, "buffers" | "tensors"> {
  const buffers: number[] = [];
  const tensors: [buffer: number, offset: number, bytes: number][] = [];
  for (const { name, bytes } of weights) {
    const bound = Math.max(4, Math.ceil(bytes / 4) * 4);
    const taken = Math.ceil(bound / ALIGNMENT) * ALIGNMENT;
    if (taken > limit) {
      throw new InputError(
        `Cannot place the weight "${name}": it takes ${bytes} bytes, and a device may bind no more ` +
          `than ${limit} at once. Quantize it to fewer bits.`,
      );
    }
    const last = buffers.length - 1;
    if (last >= 0 && buffers[last]! + taken <= limit) {
      tensors.push([last, buffers[last]!, bound]);
      buffers[last]! += taken;
    } else {
      tensors.push([last + 1, 0, bound]);
      buffers.push(taken);
    }
  }
  return { buffers, tensors };
}

/** The length and the JSON in front of the tensors, padded so that these are aligned. */
function safetensorsHeader(buffers: readonly number[]): Uint8Array {
  let at = 0;
  const tensors = buffers.map((bytes, index) => {
    const offsets = [at, at += bytes];
    return [String(index), { dtype: "U8", shape: [bytes], data_offsets: offsets }] as const;
  });
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(tensors)));
  const padded = Math.ceil((8 + json.length) / ALIGNMENT) * ALIGNMENT;
  const header = new Uint8Array(padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded - 8), true);
  header.set(json, 8);
  return header;
}

/** Writes buffers one after the other, and hashes their chunks. */
class ChunkWriter {
  readonly chunks: WeightChunk[] = [];
  readonly #file: PartialFile;
  readonly #buffers: readonly number[];
  readonly #chunkBytes: number;
  #at: number;
  #buffer = 0;
  #offset = 0;
  #hash = createHash("sha256");
  #hashed = 0;

  constructor(file: PartialFile, at: number, buffers: readonly number[], chunkBytes: number) {
    this.#file = file;
    this.#at = at;
    this.#buffers = buffers;
    this.#chunkBytes = chunkBytes;
  }

  async write(bytes: Uint8Array): Promise<void> {
    await this.#file.write(this.#at, bytes);
    for (let from = 0; from < bytes.length;) {
      const end = Math.min(this.#offset + this.#chunkBytes - this.#hashed, this.#bufferBytes());
      const part = bytes.subarray(from, from + end - this.#offset);
      this.#hash.update(part);
      from += part.length;
      this.#at += part.length;
      this.#offset += part.length;
      this.#hashed += part.length;
      if (this.#offset === end) this.#endChunk();
    }
  }

  /** Writes zeros up to `offset` of `buffer`; to the end where there is no such buffer. */
  async padTo(buffer: number, offset: number): Promise<void> {
    while (this.#buffer < buffer || this.#offset < offset) {
      const end = this.#buffer < buffer ? this.#bufferBytes() : offset;
      await this.write(new Uint8Array(Math.min(end - this.#offset, CHUNK_BYTES)));
    }
  }

  #bufferBytes(): number {
    return this.#buffers[this.#buffer]!;
  }

  #endChunk(): void {
    this.chunks.push({
      buffer: this.#buffer,
      offset: this.#offset - this.#hashed,
      at: this.#at - this.#hashed,
      bytes: this.#hashed,
      sha256: this.#hash.digest("hex"),
    });
    this.#hash = createHash("sha256");
    this.#hashed = 0;
    if (this.#offset < this.#bufferBytes()) return;
    this.#buffer++;
    this.#offset = 0;
  }
}
