/**
 * Tests in the layout of ONNX's backend tests: a folder a test with `model.onnx`, data sets
 * `test_data_set_N/input_M.pb` and `output_M.pb`, and perhaps `tolerance.json` with `rtol` and
 * `atol` (or `relativeL2`).
 */
import { join } from "node:path";
import { InputError } from "../src/error.ts";
import { allGraphs, type Model } from "../src/ir.ts";
import { readTensorFile } from "../src/onnx/tensor_file.ts";
import { DEFAULT_TOLERANCE, type Tolerance } from "./compare.ts";
import { isNumeric, readValue, type Value } from "./values.ts";

/** The data sets of a test that are on disk: paths of its inputs and outputs, in order. */
export interface DataSet {
  readonly name: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/** Names of the tests in the folder `directory`, sorted. */
export async function listCases(directory: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const entry of Deno.readDir(directory)) {
      if (!entry.isFile && await isFile(join(directory, entry.name, "model.onnx"))) {
        names.push(entry.name);
      }
    }
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory)) {
      throw cause;
    }
    throw new InputError(
      `Cannot read the tests in "${directory}": there is no such folder. Write ONNX's own there ` +
        "with: deno task conformance:data --output FOLDER",
      { cause },
    );
  }
  if (names.length === 0) {
    throw new InputError(
      `Cannot find a test in "${directory}": none of its folders holds a model.onnx. Name the ` +
        "folder whose folders are the tests.",
    );
  }
  return names.sort();
}

/** Whether `name` holds the text that `pattern` stands for. */
export function matches(pattern: string, name: string): boolean {
  const parts = pattern.split("*").map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, "\\$&"));
  return new RegExp(parts.join(".*")).test(name);
}

/** The data sets of the test in `folder`, in order. */
export async function dataSets(folder: string): Promise<DataSet[]> {
  const found: { name: string; number: number }[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const number = /^test_data_set_(\d+)$/.exec(name)?.[1];
    if (isDirectory && number !== undefined) found.push({ name, number: Number(number) });
  }
  found.sort((a, b) => a.number - b.number);
  if (found.length === 0) {
    throw new InputError(
      `Cannot run the test in "${folder}": it has no folder test_data_set_0. Generate it again.`,
    );
  }
  const sets: DataSet[] = [];
  for (const { name } of found) {
    const files: Record<string, string[]> = { input: [], output: [] };
    for await (const entry of Deno.readDir(join(folder, name))) {
      const match = /^(input|output)_(\d+)\.pb$/.exec(entry.name);
      if (match !== null) files[match[1]!]![Number(match[2])] = join(folder, name, entry.name);
    }
    sets.push({ name, inputs: files["input"]!, outputs: files["output"]! });
  }
  return sets;
}

/** The tolerance of the test in `folder`. */
export async function readTolerance(folder: string): Promise<Tolerance> {
  const path = join(folder, "tolerance.json");
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return DEFAULT_TOLERANCE;
    throw error;
  }
  const bad = (state: string, cause?: unknown) =>
    new InputError(
      `Cannot read "${path}": ${state}. Give {"rtol": number, "atol": number} or ` +
        '{"relativeL2": number}.',
      { cause },
    );
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (cause) {
    throw bad("it is no JSON", cause);
  }
  if (typeof given !== "object" || given === null) throw bad("it is no object");
  const fields: Readonly<Record<string, unknown>> = { ...given };
  const number = (name: string, fallback: number): number => {
    const value = fields[name] ?? fallback;
    if (typeof value === "number" && value >= 0) return value;
    throw bad(`${name} is no number that is 0 or more`);
  };
  if ("relativeL2" in fields) {
    return { relativeL2: number("relativeL2", 0), resolution: number("resolution", 0) };
  }
  return { rtol: number("rtol", 1e-3), atol: number("atol", 1e-5) };
}

/** Operators whose results no test can expect. */
const RANDOM: ReadonlySet<string> = new Set([
  "Bernoulli",
  "Multinomial",
  "RandomNormal",
  "RandomNormalLike",
  "RandomUniform",
  "RandomUniformLike",
]);

const OTHER_DOMAINS: ReadonlySet<string> = new Set([
  "ai.onnx.ml",
  "ai.onnx.preview.training",
  "ai.onnx.training",
]);

/**
 * Why the test of `model` is none of numeric tensors alone, or null where it is one: an input or
 * output that is no tensor of numbers, an operator that draws random numbers, or one of another
 * domain of ONNX (classical machine learning, training).
 */
export function notNumeric(model: Model): string | null {
  for (
    const [kind, values] of [["input", model.graph.inputs], [
      "output",
      model.graph.outputs,
    ]] as const
  ) {
    for (const { name, dtype } of values) {
      if (dtype === null) return `${kind} "${name}" is no tensor`;
      if (!isNumeric(dtype)) return `${kind} "${name}" is of ${dtype}`;
    }
  }
  const nodes = [
    ...[...allGraphs(model.graph)].flatMap((graph) => graph.nodes),
    ...model.functions.flatMap((body) => body.nodes),
  ];
  for (const { opType, domain } of nodes) {
    if (OTHER_DOMAINS.has(domain)) return `${opType} is of the domain ${domain}`;
    if (domain === "" && RANDOM.has(opType)) return `${opType} draws random numbers`;
  }
  return null;
}

/** The inputs and expected outputs of a data set, by the names that `model` gives them. */
export async function readDataSet(
  model: Model,
  set: DataSet,
): Promise<{ inputs: Map<string, Value>; outputs: Map<string, Value> }> {
  const { graph } = model;
  const constants = new Set(graph.initializers.map((tensor) => tensor.name));
  const inputs = graph.inputs.map((value) => value.name);
  const open = inputs.filter((name) => !constants.has(name));
  const names = open.length === set.inputs.length ? open : inputs;
  return {
    inputs: await readValues(set.inputs, names),
    outputs: await readValues(set.outputs, graph.outputs.map((value) => value.name)),
  };
}

async function readValues(
  paths: readonly string[],
  names: readonly string[],
): Promise<Map<string, Value>> {
  const values = new Map<string, Value>();
  for (let i = 0; i < paths.length; i++) {
    const path = paths[i];
    // An optional input may be left out.
    if (path === undefined) continue;
    const name = names[i];
    if (name === undefined) {
      throw new InputError(
        `Cannot run the test of "${path}": the model takes and gives no such value. Generate it ` +
          "again.",
      );
    }
    values.set(name, await readValue(readTensorFile(path)));
  }
  return values;
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch {
    return false;
  }
}
