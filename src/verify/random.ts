/**
 * Repeatable random numbers for inputs: the same seed and name give the same numbers on every
 * machine. Not for secrets.
 */

/** A stream of random numbers (mulberry32 over a hash of the seed). */
export class Random {
  #state: number;

  /** A stream that depends on every character of `seed`. */
  constructor(seed: string) {
    // FNV-1a, 32 bits.
    let hash = 0x811c9dc5;
    for (let i = 0; i < seed.length; i++) {
      hash = Math.imul(hash ^ seed.charCodeAt(i), 0x01000193);
    }
    this.#state = hash | 0;
  }

  /** A number from 0 up to but not including 1, evenly distributed, of 32 random bits. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 up to but not including `end`. */
  integer(end: number): number {
    return Math.floor(this.next() * end);
  }

  /** A number of the normal distribution of mean 0 and deviation 1 (Box-Muller). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
  }
}
