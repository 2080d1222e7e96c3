/**
 * The embedded runtime as one text: the files of `src/codegen/runtime` joined in the order of their
 * imports, without import lines, `export` and comments. A module's emitter puts it behind the
 * tables and calls `loadModel(tables, options, weights)`.
 */
import arena from "./runtime/arena.js" with { type: "text" };
import arenaMemory from "./runtime/arena_memory.js" with { type: "text" };
import bindGroups from "./runtime/bind_groups.js" with { type: "text" };
import boundInputs from "./runtime/bound_inputs.js" with { type: "text" };
import choices from "./runtime/choices.js" with { type: "text" };
import device from "./runtime/device.js" with { type: "text" };
import execute from "./runtime/execute.js" with { type: "text" };
import inputs from "./runtime/inputs.js" with { type: "text" };
import layout from "./runtime/layout.js" with { type: "text" };
import load from "./runtime/load.js" with { type: "text" };
import memory from "./runtime/memory.js" with { type: "text" };
import model from "./runtime/model.js" with { type: "text" };
import modelError from "./runtime/model_error.js" with { type: "text" };
import outputBuffers from "./runtime/output_buffers.js" with { type: "text" };
import packedTables from "./runtime/packed_tables.js" with { type: "text" };
import passTimer from "./runtime/pass_timer.js" with { type: "text" };
import pipelines from "./runtime/pipelines.js" with { type: "text" };
import profile from "./runtime/profile.js" with { type: "text" };
import queue from "./runtime/queue.js" with { type: "text" };
import recorded from "./runtime/recorded.js" with { type: "text" };
import recorder from "./runtime/recorder.js" with { type: "text" };
import reservation from "./runtime/reservation.js" with { type: "text" };
import run from "./runtime/run.js" with { type: "text" };
import selection from "./runtime/selection.js" with { type: "text" };
import smallFloats from "./runtime/small_floats.js" with { type: "text" };
import staging from "./runtime/staging.js" with { type: "text" };
import tuning from "./runtime/tuning.js" with { type: "text" };
import values from "./runtime/values.js" with { type: "text" };
import weightSource from "./runtime/weight_source.js" with { type: "text" };
import weights from "./runtime/weights.js" with { type: "text" };

/** Lowest first. */
const FILES: readonly string[] = [
  modelError,
  packedTables,
  smallFloats,
  values,
  arena,
  reservation,
  device,
  memory,
  arenaMemory,
  staging,
  outputBuffers,
  pipelines,
  selection,
  recorded,
  recorder,
  bindGroups,
  layout,
  execute,
  profile,
  passTimer,
  tuning,
  inputs,
  boundInputs,
  queue,
  weightSource,
  weights,
  choices,
  run,
  model,
  load,
];

/** The runtime's source text, which exports nothing: `loadModel` and `ModelError` are its names. */
export function runtimeText(): string {
  return FILES.map(stripModule).join("\n");
}

/**
 * Removes comments, import lines, indentation, the word `export` and needless spaces. Valid for the runtime's own
 * files: an import is one line, `//` comments have lines of their own, no string holds the
 * beginning of a JSDoc comment, and no template spans lines.
 */
export function stripModule(text: string): string {
  return text
    .replace(/\/\*\*[\s\S]*?\*\/ ?/g, "")
    .replace(/^[ \t]*\/\/.*$/gm, "")
    .replace(/^import .*$/gm, "")
    .replace(/^export (?=function|async function|class|const)/gm, "")
    .replace(/^[ \t]+|[ \t]+$/gm, "")
    .replace(/\n\n+/g, "\n")
    .trim()
    .split("\n").map(shortenedLine).join("\n");
}

/**
 * A line without spaces that part nothing: those between two words and between two operators stay, as do
 * those of lines that may hold a string, a template or a regular expression.
 */
function shortenedLine(line: string): string {
  if (/["'`/]/.test(line)) return line;
  return line.replace(/(?<![\w$#.]) (?=[\w$#.])|(?<=[\w$#.]) (?![\w$#.])/g, "")
    .replace(/(?<=[(){}[\],;:]) | (?=[(){}[\],;:])/g, "");
}
