// @ts-check
/**
 * Tuning: where a kernel can be computed in several ways, each is timed on memory of its own while no
 * run waits, and the fastest is taken from then on.
 */
import { SegmentExecutor } from "./execute.js";
import { PassTimer } from "./pass_timer.js";
import { ProgramRecorder } from "./recorder.js";

/**
 * @typedef {import("../module.ts").ModuleTables} ModuleTables
 * @typedef {import("./recorder.js").OpenChoice} OpenChoice
 *
 * @typedef {object} TunerContext what tuning works with, and what it is to leave alone
 * @property {GPUDevice} device
 * @property {ModuleTables} tables
 * @property {import("./memory.js").GpuMemory} memory
 * @property {import("./pipelines.js").MadePipelines} made
 * @property {readonly GPUBuffer[]} weights
 * @property {import("./selection.js").KernelSelection} selection
 * @property {import("./queue.js").RunQueue} queue
 * @property {() => void} onChanged called when other candidates are to be taken than before
 * @property {() => Promise<void>} save keeps what was found out for the next load
 */

/** Microseconds that a candidate is run for at a time: browsers round time stamps to 100. */
const TIMED = 2000;
const MOST_REPEATS = 256;
/** Times that each candidate is timed; the least counts. */
const ROUNDS = 3;
/** Microseconds of one dispatch from which on timing it once is enough. */
const SLOW = 50_000;
/** What takes so many times as long as another at first is not timed again. */
const HOPELESS = 4;
/** Only what is faster than the preferred candidate by more than noise takes its place. */
const GAIN = 0.95;
/** Times that a measurement which a run came between is begun anew. */
const MOST_ATTEMPTS = 8;

/** Times the open choices of a model. Its failures end tuning, never a run. */
export class KernelTuner {
  /** @type {Map<string, OpenChoice>} */
  #open = new Map();
  #stopped = false;
  /** @type {Promise<void> | null} */
  #work = null;
  #context;

  /** @param {TunerContext} context */
  constructor(context) {
    this.#context = context;
  }

  /**
   * Takes choices that a run has left open.
   * @param {ReadonlyMap<string, OpenChoice>} open
   */
  add(open) {
    if (this.#stopped) return;
    for (const [key, choice] of open) this.#open.set(key, choice);
    this.#start();
  }

  #start() {
    if (this.#open.size === 0 || this.#work !== null) return;
    this.#work = this.#tune().catch(() => this.stop()).finally(() => {
      this.#work = null;
      // A run may have ended while the last of it was put away.
      this.#start();
    });
  }

  /** Resolves when nothing is left to tune. */
  async settled() {
    while (this.#work !== null) await this.#work;
  }

  /** Ends tuning: what is under way is dropped. */
  stop() {
    this.#stopped = true;
    this.#open.clear();
  }

  async #tune() {
    const { device, tables, memory, made, weights, selection, onChanged, save } = this.#context;
    const executor = new SegmentExecutor(device, tables, memory, made, weights);
    device.pushErrorScope("validation");
    const timer = new PassTimer(device);
    const failed = device.popErrorScope();
    let changed = false;
    try {
      if (await failed !== null) throw new Error("there is no timer");
      for (;;) {
        const [entry] = this.#open;
        if (entry === undefined) break;
        const [key, choice] = entry;
        const candidates = selection.applicable(choice.kernel, choice.sizes);
        const best = await this.#best(choice, candidates, executor, timer);
        if (this.#stopped) return;
        this.#open.delete(key);
        selection.decide(key, choice.kernel, best);
        changed ||= best !== candidates[0];
        if (this.#open.size === 0) await save();
      }
    } finally {
      timer.destroy();
      executor.destroy();
      if (changed && !this.#stopped) onChanged();
    }
  }

  /**
   * The fastest of `candidates`.
   * @param {OpenChoice} choice
   * @param {number[]} candidates
   * @param {SegmentExecutor} executor
   * @param {PassTimer} timer
   */
  async #best(choice, candidates, executor, timer) {
    let best = Number(candidates[0]);
    let least = Infinity;
    for (const index of candidates) {
      const time = await this.#time(choice, index, least, executor, timer);
      if (this.#stopped) break;
      if (time < least) {
        best = index;
        least = index === candidates[0] ? GAIN * time : time;
      }
    }
    return best;
  }

  /**
   * Microseconds of one candidate.
   * @param {OpenChoice} choice
   * @param {number} index
   * @param {number} rival the least time of those before
   * @param {SegmentExecutor} executor
   * @param {PassTimer} timer
   */
  async #time({ kernel, sizes, tensors, parameters }, index, rival, executor, timer) {
    const { device, tables, queue } = this.#context;
    const recorder = new ProgramRecorder({ ...tables, inputs: [], outputs: [] }, {
      dims: [],
      host: () => [],
      external: [],
      selection: this.#context.selection,
      maxBinding: device.limits.maxStorageBufferBindingSize,
    });
    const own = tensors.map(({ kind, index, bytes }) =>
      kind === "weight" ? recorder.weight(index) : recorder.tensor(bytes)
    );
    recorder.candidate(kernel, index, own, parameters, sizes);
    const prepared = executor.prepare(recorder.cut(null));
    const commands = prepared.segment.commands.length;
    const repeated = (/** @type {number} */ repeats) =>
      timer.time((pass) => {
        for (let i = 0; i < repeats * commands; i++) executor.encode(pass, prepared, i % commands);
      });
    let least = Infinity;
    for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
      await queue.idle();
      if (this.#stopped) return Infinity;
      const { entered } = queue;
      await executor.reserve(prepared);
      await device.queue.onSubmittedWorkDone();
      if (this.#stopped) return Infinity;
      device.pushErrorScope("validation");
      executor.ready(prepared);
      // The first time around is slower: memory is touched, and caches are filled.
      const submitted = repeated(1);
      // It fails where the device goes, which the scope may be told of first.
      submitted.catch(() => {});
      const error = await device.popErrorScope();
      const first = await submitted;
      if (error !== null) throw new Error(error.message);
      if (queue.entered !== entered) continue;
      if (first > SLOW || first > Math.max(TIMED, HOPELESS * rival)) return first;
      const repeats = Math.min(MOST_REPEATS, Math.ceil(TIMED / Math.max(1, first)));
      for (let round = 0; round < ROUNDS && queue.entered === entered; round++) {
        if (this.#stopped) return Infinity;
        const time = await repeated(repeats) / repeats;
        if (queue.entered === entered) least = Math.min(least, time);
      }
      if (queue.entered === entered) return least;
    }
    return least;
  }
}
