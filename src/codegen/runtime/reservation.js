// @ts-check
/** Places in memory that was made beforehand, for the largest run that there can be. */
import { planArena } from "./arena.js";

/** @typedef {import("./arena.js").ArenaItem} ArenaItem */

/** The plan of the largest run, within which others stay. */
export class Reservation {
  /** @type {{ items: { bytes: number, first: number, last: number }[], places: import("./arena.js").Place[], bins: readonly number[] } | null} */
  #kept = null;

  /**
   * Keeps a plan whose memory is made.
   * @param {readonly ArenaItem[]} items with their places
   * @param {readonly number[]} bins bytes of the buffers
   */
  keep(items, bins) {
    this.#kept = {
      items: items.map(({ bytes, first, last }) => ({ bytes, first, last })),
      places: items.flatMap(({ place }) => place ?? []),
      bins,
    };
  }

  /**
   * A plan for `items`: the smallest that is found, or, where that would take more than was made, the
   * places that the same tensors have in the largest run.
   * @param {readonly ArenaItem[]} items
   * @param {number} alignment
   * @param {number} capacity
   * @returns {ReturnType<typeof planArena>}
   */
  plan(items, alignment, capacity) {
    const plan = planArena(items, alignment, capacity);
    const kept = this.#kept;
    if (kept === null || plan.bins.every((bytes, bin) => bytes <= (kept.bins[bin] ?? 0))) {
      return plan;
    }
    const isSame = items.length === kept.items.length && items.every((item, i) => {
      const largest = kept.items[i];
      return largest !== undefined && !item.place && item.bytes <= largest.bytes &&
        item.first === largest.first && item.last === largest.last;
    });
    return isSame ? { places: kept.places, bins: [...kept.bins], bound: plan.bound } : plan;
  }
}
