/**
 * A heap in a WebAssembly memory that the engine shares with its workers: first fit, neighbours
 * merged, grown when nothing fits. A memory never shrinks, so what is freed is used again.
 */

/** Bytes of a WebAssembly page. */
const PAGE = 65536;

/** Everything starts at a cache line. */
const ALIGNMENT = 64;

/** Where AssemblyScript keeps its constants. */
const RESERVED = 1024;

/** Parts of a piece of a heap, each from a cache line on. */
export interface Places<Name extends string> {
  readonly byteLength: number;
  /** The offset of each part where the piece begins at `start`. */
  from(start: number): Readonly<Record<Name, number>>;
}

/** Places parts of these lengths one after the other. */
export function placesOf<Name extends string>(
  lengths: Readonly<Record<Name, number>>,
): Places<Name> {
  const names = Object.keys(lengths) as Name[];
  let byteLength = 0;
  const offsets = {} as Record<Name, number>;
  for (const name of names) {
    offsets[name] = byteLength;
    byteLength += Math.ceil(lengths[name] / ALIGNMENT) * ALIGNMENT;
  }
  return {
    byteLength,
    from(start) {
      const places = { ...offsets };
      for (const name of names) places[name] += start;
      return places;
    },
  };
}

interface Span {
  offset: number;
  length: number;
}

/** A heap in shared memory. */
export class SharedMemory {
  readonly memory: WebAssembly.Memory;
  /** Free spans in order of offset; no two touch. */
  #free: Span[];
  readonly #used = new Map<number, number>();
  /** Growing makes a new buffer object over the same bytes; older ones stay valid. */
  readonly #buffers = new WeakSet<ArrayBufferLike>();

  constructor() {
    this.memory = new WebAssembly.Memory({ initial: 16, maximum: 65536, shared: true });
    this.#free = [{ offset: RESERVED, length: 16 * PAGE - RESERVED }];
    this.#buffers.add(this.memory.buffer);
  }

  /** Takes `byteLength` bytes and returns their offset; null when the memory can't grow so far. */
  allocate(byteLength: number): number | null {
    const length = Math.max(ALIGNMENT, Math.ceil(byteLength / ALIGNMENT) * ALIGNMENT);
    const index = this.#free.findIndex((span) => span.length >= length);
    if (index < 0) return this.#grow(length) ? this.allocate(byteLength) : null;
    const span = this.#free[index]!;
    const { offset } = span;
    if (span.length === length) this.#free.splice(index, 1);
    else this.#free[index] = { offset: offset + length, length: span.length - length };
    this.#used.set(offset, length);
    return offset;
  }

  /** Gives back what `allocate` returned; a second time does nothing. */
  free(offset: number): void {
    const length = this.#used.get(offset);
    if (length === undefined) return;
    this.#used.delete(offset);
    this.#release({ offset, length });
  }

  /** The `byteLength` bytes at `offset`. */
  bytes(offset: number, byteLength: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, offset, byteLength);
  }

  /** The offset of `bytes` in this memory, or null when they lie elsewhere. */
  offsetOf(bytes: Uint8Array): number | null {
    return this.#buffers.has(bytes.buffer) ? bytes.byteOffset : null;
  }

  #grow(length: number): boolean {
    const end = this.memory.buffer.byteLength;
    const last = this.#free.at(-1);
    const atEnd = last && last.offset + last.length === end ? last.length : 0;
    const pages = Math.ceil((length - atEnd) / PAGE);
    try {
      this.memory.grow(pages);
    } catch (error) {
      if (error instanceof RangeError) return false;
      throw error;
    }
    this.#buffers.add(this.memory.buffer);
    this.#release({ offset: end, length: pages * PAGE });
    return true;
  }

  #release(span: Span): void {
    let index = this.#free.findIndex((other) => other.offset > span.offset);
    if (index < 0) index = this.#free.length;
    this.#free.splice(index, 0, span);
    for (const i of [index, index - 1]) {
      const current = this.#free[i];
      const next = this.#free[i + 1];
      if (current && next && current.offset + current.length === next.offset) {
        current.length += next.length;
        this.#free.splice(i + 1, 1);
      }
    }
  }
}
