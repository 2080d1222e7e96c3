// @ts-check
/** What is recorded of a run: its tensors, and the dispatches between two sync points. */

/**
 * @typedef {import("../module.ts").Storage} Storage
 * @typedef {import("../module.ts").StorageArray} StorageArray
 *
 * @typedef {object} RecordedDispatch
 * @property {number} pipeline
 * @property {RecordedTensor[]} tensors those that the pipeline binds
 * @property {number[]} parameters
 * @property {number} groups
 *
 * @typedef {object} RecordedSegment what lies between two sync points
 * @property {RecordedDispatch[]} commands
 * @property {RecordedTensor[]} tensors those that need a place in the arena, or have one to keep
 * @property {{ tensor: RecordedTensor, storage: Storage, count: number }[]} reads
 */

/** A tensor of a program. */
export class RecordedTensor {
  /** @type {import("./arena.js").Place | null} */
  place = null;
  /** First and last command of the segment that touch it; -1 is before the first. */
  first = 0;
  last = -1;
  /** The segment that it belongs to; the next one where it is carried over. */
  segment = 0;
  /** Lives until the end of the run. */
  kept = false;
  /** Buffer of its own, an index into the run's external buffers; -1: in the arena. */
  external = -1;
  /** What it holds before the first command. @type {StorageArray | null} */
  values = null;

  /**
   * @param {"activation" | "input" | "weight" | "upload"} kind
   * @param {number} index of an input or a weight
   * @param {number} bytes
   */
  constructor(kind, index, bytes) {
    this.kind = kind;
    this.index = index;
    this.bytes = bytes;
  }
}
