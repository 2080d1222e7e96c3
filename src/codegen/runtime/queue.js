// @ts-check
/** The queue of a model's runs. */

/**
 * Runs wait for each other, except that one may be submitted while the GPU is still busy with the
 * one before.
 */
export class RunQueue {
  /** Runs that wait or are under way. */
  waiting = 0;
  /** Runs that ever came. */
  entered = 0;
  /** @type {Promise<unknown>} the last run has submitted all its work */
  #submitted = Promise.resolve();
  /** @type {Promise<unknown>} the run before the last has ended */
  #earlier = Promise.resolve();
  /** @type {Promise<unknown>} the last run has ended */
  #latest = Promise.resolve();

  /**
   * Calls `work` when its turn has come. With a signal the caller is let go at once on abort.
   * @template T
   * @param {(submitted: () => void) => Promise<T>} work calls `submitted` when the next may begin
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<T>}
   */
  async enqueue(work, signal) {
    const before = Promise.all([this.#submitted, this.#earlier]);
    /** @type {() => void} */
    let submitted = () => {};
    this.#submitted = new Promise((resolve) => submitted = () => resolve(undefined));
    this.waiting++;
    this.entered++;
    const running = before.then(async () => {
      try {
        signal?.throwIfAborted();
        return await work(submitted);
      } finally {
        this.waiting--;
        submitted();
      }
    });
    this.#earlier = this.#latest;
    this.#latest = running.catch(() => {});
    if (!signal) return await running;
    /** @type {() => void} */
    let abort = () => {};
    /** @type {Promise<never>} */
    const aborted = new Promise((_, reject) => {
      abort = () => reject(signal.reason);
      signal.addEventListener("abort", abort);
    });
    try {
      return await Promise.race([running, aborted]);
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** Resolves when no run waits, and none was begun at once by whom the last one has let go. */
  async idle() {
    do {
      await this.#latest;
      await new Promise((resolve) => setTimeout(resolve, 0));
    } while (this.waiting > 0);
  }
}
