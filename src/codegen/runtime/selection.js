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

/** The candidates of each kernel of a module that a device is to use. */
export class KernelSelection {
  /** Of each kernel, indices of candidates in order of preference. @type {number[][]} */
  candidates;
  #kernels;

  /**
   * @param {readonly KernelTable[]} kernels
   * @param {Abilities} abilities
   * @param {boolean} all keep those too that come behind one which always does
   */
  constructor(kernels, abilities, all) {
    this.#kernels = kernels;
    this.candidates = kernels.map((kernel) => usable(kernel, abilities, all));
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
   * The candidate to take.
   * @param {number} kernel
   * @param {readonly number[]} sizes
   * @returns {number}
   */
  choose(kernel, sizes) {
    return this.applicable(kernel, sizes)[0] ?? -1;
  }
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
