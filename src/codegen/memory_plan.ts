/**
 * The memory that a run takes for activations, found without a GPU: the generated program is recorded
 * and planned for given dims, by the runtime's own recorder and arena.
 */
import type { CompiledModule } from "./mod.ts";
import type { ModuleTables, Program, WeightTables } from "./module.ts";
import { planArena } from "./runtime/arena.js";
import { ModelError } from "./runtime/model_error.js";
import { ProgramRecorder } from "./runtime/recorder.js";
import { ALIGNMENT } from "./weights_file.ts";

/** What a run takes. Sizes are bytes. */
export interface MemoryPlan {
  /** Dims of each input that this holds for. */
  readonly dims: readonly (readonly number[])[];
  /** Dispatches that a run submits. */
  readonly dispatches: number;
  /** Inputs, outputs and everything between them, in one arena. */
  readonly arenaBytes: number;
  /** The most that is alive at one dispatch, which no plan can go below. */
  readonly liveBytes: number;
}

/** Dispatches past which a program is not followed: a loop's count may be anything. */
const MOST_DISPATCHES = 200_000;

/** Ends the recording of a program that goes on for too long, or wants to know values. */
class Unplanned extends Error {}

/**
 * Plans a run of `compiled` on inputs of `dims`; a sentence where there is no plan before the run.
 */
export function planMemory(
  compiled: CompiledModule,
  weights: WeightTables,
  dims: readonly (readonly number[])[],
): MemoryPlan | string {
  // The text is the emitter's: no name of a model is in it.
  const program: Program = new Function(`${compiled.program}\nreturn program;`)();
  const { inputs, outputs, pipelines, kernels } = compiled;
  const tables: ModuleTables = {
    inputs,
    outputs,
    pipelines,
    kernels,
    weights,
    features: [],
    program,
  };
  let dispatches = 0;
  const recorder = new class extends ProgramRecorder {
    override dispatch(...command: Parameters<ProgramRecorder["dispatch"]>): void {
      if (++dispatches > MOST_DISPATCHES) throw new Unplanned("it has too many dispatches");
      super.dispatch(...command);
    }
  }(tables, {
    dims,
    host: () => {
      throw new Unplanned("it depends on the values of inputs");
    },
    external: inputs.map(() => false),
    maxBinding: Infinity,
  });
  try {
    const { done } = program(recorder).next();
    if (done !== true) return "Memory is planned while the model runs: shapes depend on data.";
    const { commands, tensors } = recorder.cut(null);
    const { bins, bound } = planArena(tensors, ALIGNMENT, Number.MAX_SAFE_INTEGER);
    const arenaBytes = bins.reduce((sum, bytes) => sum + bytes, 0);
    return { dims, dispatches: commands.length, arenaBytes, liveBytes: bound };
  } catch (error) {
    if (error instanceof Unplanned) return `Memory is planned at run time: ${error.message}.`;
    if (error instanceof ModelError) return error.message;
    throw error;
  }
}
