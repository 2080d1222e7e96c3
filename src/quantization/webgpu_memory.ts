/**
 * Host memory for the weights of jobs: within a budget, first come first served, and kept for
 * reuse, because fresh pages cost as much as the copy into them.
 */
import { EngineFault } from "./engine.ts";

/** Memory of one job. */
export interface Allocation {
  readonly bytes: Uint8Array;
  /** Gives the memory back; later calls do nothing. */
  release(): void;
}

/** A budget of host memory. */
export class HostMemory {
  readonly #idle: ArrayBuffer[] = [];
  readonly #waiting: { byteLength: number; go: () => void; fail: (fault: Error) => void }[] = [];
  #used = 0;
  #closed = false;

  /** @param budget Bytes in use at most; a request for more waits until it is alone. */
  constructor(readonly budget: number) {}

  /** `byteLength` bytes, contents undefined. */
  async allocate(byteLength: number): Promise<Allocation> {
    await new Promise<void>((go, fail) => {
      this.#waiting.push({ byteLength, go, fail });
      this.#admit();
    });
    const buffer = this.#takeIdle(byteLength) ?? new ArrayBuffer(byteLength);
    let held = true;
    return {
      bytes: new Uint8Array(buffer, 0, byteLength),
      release: () => {
        if (!held) return;
        held = false;
        this.#used -= byteLength;
        if (!this.#closed) this.#keep(buffer);
        this.#admit();
      },
    };
  }

  /** Forgets idle memory and turns away whoever waits. */
  close(): void {
    this.#closed = true;
    this.#idle.length = 0;
    this.#admit();
  }

  #admit(): void {
    while (this.#waiting.length > 0) {
      const { byteLength, go, fail } = this.#waiting[0]!;
      const fits = this.#used === 0 || this.#used + byteLength <= this.budget;
      if (!fits && !this.#closed) return;
      this.#waiting.shift();
      if (this.#closed) {
        fail(new EngineFault("Cannot allocate memory: the engine was disposed of. Open another."));
      } else {
        this.#used += byteLength;
        go();
      }
    }
  }

  /** The idle buffer that holds `byteLength` with least waste, unless half of it were wasted. */
  #takeIdle(byteLength: number): ArrayBuffer | null {
    let best = -1;
    for (const [index, buffer] of this.#idle.entries()) {
      if (buffer.byteLength < byteLength || buffer.byteLength > 2 * byteLength) continue;
      if (best < 0 || buffer.byteLength < this.#idle[best]!.byteLength) best = index;
    }
    return best < 0 ? null : this.#idle.splice(best, 1)[0]!;
  }

  /** Keeps `buffer` for reuse; the oldest idle ones go while more is held than the budget. */
  #keep(buffer: ArrayBuffer): void {
    this.#idle.push(buffer);
    let held = this.#idle.reduce((sum, idle) => sum + idle.byteLength, this.#used);
    while (held > this.budget && this.#idle.length > 0) held -= this.#idle.shift()!.byteLength;
  }
}
