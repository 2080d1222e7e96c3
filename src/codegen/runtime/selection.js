// @ts-check
/** Which candidate of a kernel is taken: by what the device can do, and by the sizes of a run. */

/**
 * @typedef {import("../module.ts").KernelTable} KernelTable
 * @typedef {import("../module.ts").CandidateTable} CandidateTable
 *
 * @typedef {object} Abilities what a device can do
 * @property {boolean} software a processor plays the GPU
 * @property {Pick<ReadonlySet<string>, "has">} features
 * @property {number} workgroupBytes
 */

/** What every device can do. @type {Abilities} */
export const LEAST_ABILITIES = { software: true, features: new Set(), workgroupBytes: 16384 };

/** Sizes up to this are told apart one by one; of larger ones, powers of two. */
const SMALL_SIZE = 8;
/** Choices that are remembered at most; the oldest go first. */
const MOST_CHOICES = 1024;

/** The candidates of each kernel of a module that a device is to use, and what tuning has found. */
export class KernelSelection {
  /** Of each kernel, indices of candidates in order of preference. @type {number[][]} */
  candidates;
  /** Names of the variants that were the fastest, by the keys of choices. @type {Map<string, string>} */
  decided = new Map();
  #kernels;
  #tune;

  /**
   * @param {readonly KernelTable[]} kernels
   * @param {Abilities} abilities
   * @param {boolean} tune choices are to be tuned: all that may be of use is kept
   */
  constructor(kernels, abilities, tune) {
    this.#kernels = kernels;
    this.#tune = tune;
    this.candidates = kernels.map((kernel) => usable(kernel, abilities, tune));
  }

  /** The pipelines of `kernel` that may be needed. @param {number} kernel */
  pipelines(kernel) {
    const own = this.#kernels[kernel]?.candidates ?? [];
    return (this.candidates[kernel] ?? []).flatMap((index) => own[index]?.pipelines ?? []);
  }

  /**
   * The candidates whose limits hold, the preferred one first.
   * @param {number} kernel
   * @param {readonly number[]} sizes
   * @returns {number[]}
   */
  applicable(kernel, sizes) {
    const own = this.#kernels[kernel]?.candidates ?? [];
    return (this.candidates[kernel] ?? []).filter((index) => holds(own[index], sizes));
  }

  /**
   * The candidate to take; the choice's key where tuning has not made it yet.
   * @param {number} kernel
   * @param {readonly number[]} sizes
   * @returns {{ index: number, open: string | null }}
   */
  choose(kernel, sizes) {
    const applicable = this.applicable(kernel, sizes);
    const [first = -1] = applicable;
    if (!this.#tune || applicable.length < 2) return { index: first, open: null };
    const key = `${kernel}:${sizes.map(rounded).join()}:${applicable.join()}`;
    const name = this.decided.get(key);
    const own = this.#kernels[kernel]?.candidates ?? [];
    const index = applicable.find((entry) => own[entry]?.variant.name === name);
    return index === undefined ? { index: first, open: key } : { index, open: null };
  }

  /**
   * Makes a choice for the runs to come.
   * @param {string} key
   * @param {number} kernel
   * @param {number} index
   */
  decide(key, kernel, index) {
    const name = this.#kernels[kernel]?.candidates[index]?.variant.name;
    if (name === undefined) return;
    this.decided.delete(key);
    this.decided.set(key, name);
    const [oldest] = this.decided.keys();
    if (this.decided.size > MOST_CHOICES && oldest !== undefined) this.decided.delete(oldest);
  }
}

/** A size as choices tell it from others. @param {number} size */
function rounded(size) {
  return size <= SMALL_SIZE ? size : 2 ** Math.ceil(Math.log2(size));
}

/**
 * The candidates that a device can use. Those for its kind of adapter and for any come first; others
 * follow only where those may all be outside of their limits.
 * @param {KernelTable} kernel
 * @param {Abilities} abilities
 * @param {boolean} all
 */
function usable({ candidates }, { software, features, workgroupBytes }, all) {
  const able = candidates.map((_, index) => index).filter((index) => {
    const variant = candidates[index]?.variant;
    return variant !== undefined && variant.workgroupBytes <= workgroupBytes &&
      variant.features.every((feature) => features.has(feature));
  });
  const kind = software ? "hardware" : "software";
  const fits = (/** @type {number} */ index) => candidates[index]?.variant.adapter !== kind;
  const isSure = (/** @type {number} */ index) => candidates[index]?.limits.length === 0;
  const fitting = able.filter(fits);
  const first = fitting.findIndex(isSure);
  if (first >= 0) return all ? fitting : fitting.slice(0, first + 1);
  const others = able.filter((index) => !fits(index));
  return [...fitting, ...others.slice(0, others.findIndex(isSure) + 1)];
}

/**
 * @param {CandidateTable | undefined} candidate
 * @param {readonly number[]} sizes
 */
function holds(candidate, sizes) {
  return candidate?.limits.every(({ size, least, most }) => {
    const value = Number(sizes[size]);
    return (least === undefined || value >= least) && (most === undefined || value <= most);
  }) ?? false;
}
