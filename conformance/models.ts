/**
 * `deno task conformance:models [--output DIR] [--only PATTERN]`: writes whole models as tests in
 * ONNX's layout to DIR, or to `.cache/conformance-models`: the five trained models, and the 14
 * families of `deno task fixtures`, in float32, and converted to float16, 8, 4, 3 and 2 bits.
 *
 * What is expected is what ONNX Runtime computes from the same file.
 */
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { convert } from "../mod.ts";
import type { Precision } from "../src/converters/options.ts";
import { MissingToolError, ModelcastError } from "../src/error.ts";
import { readModel } from "../src/onnx/reader.ts";
import { loadRuntime, openSession, type Runtime } from "../src/verify/runtime.ts";
import type { Session } from "../src/verify/session.ts";
import { type HostTensor, isHostType } from "../src/verify/values.ts";
import { REAL_MODELS } from "../tests/real_models.ts";
import { dataSets, listCases, matches, readDataSet } from "./cases.ts";
import { realInputs } from "./real_inputs.ts";
import { encodeValue } from "./values.ts";

const FIXTURES = fileURLToPath(new URL("../fixtures/generated", import.meta.url));

/** Where the models are kept. */
export const MODEL_TESTS: string = fileURLToPath(
  new URL("../.cache/conformance-models", import.meta.url),
);

/** Largest relative L2 error of an output, by precision. */
export const BARS: Readonly<Record<Exclude<Precision, "bfloat16">, number>> = {
  float32: 1e-4,
  float16: 1e-2,
  "8bit": 1e-3,
  "4bit": 1e-3,
  "3bit": 1e-3,
  "2bit": 1e-3,
};

/**
 * What ONNX Runtime's Sigmoid resolves, a float32 near 0.5. The detector's output is one, and at 2
 * bits it finds no text in any picture: nothing but zeros and this.
 */
const SIGMOID_RESOLUTION = 2 ** -24;

type BarPrecision = keyof typeof BARS;

const PRECISIONS = Object.keys(BARS) as BarPrecision[];

/** A model to make tests of. */
interface Source {
  readonly name: string;
  readonly precisions: readonly BarPrecision[];
  /** Root mean square of differences that mean nothing. */
  readonly resolution?: number;
  path(): string;
  /** Values by input, a map a data set. */
  inputs(session: Session): Promise<readonly ReadonlyMap<string, HostTensor>[]>;
}

/** The trained models. */
const TRAINED: readonly Source[] = REAL_MODELS.map((real): Source => ({
  name: real.label,
  precisions: PRECISIONS,
  ...(real.label === "detector" ? { resolution: SIGMOID_RESOLUTION } : {}),
  path: () => real.path,
  inputs: async (session) => await realInputs(real.label, await readModel(real.path), session),
}));

/** The families; the static ones in float32 alone. */
async function families(): Promise<Source[]> {
  let names: string[];
  try {
    names = await listCases(FIXTURES);
  } catch (cause) {
    throw new MissingToolError(
      `Cannot find the 14 families in "${FIXTURES}". Generate them with: deno task fixtures`,
      { cause },
    );
  }
  return names.map((name): Source => ({
    name,
    precisions: name.endsWith("-static") ? ["float32"] : PRECISIONS,
    path: () => join(FIXTURES, name, "model.onnx"),
    inputs: () => fixtureInputs(join(FIXTURES, name)),
  }));
}

/** The inputs of a family's data sets. */
async function fixtureInputs(folder: string): Promise<ReadonlyMap<string, HostTensor>[]> {
  const model = await readModel(`${folder}/model.onnx`);
  const sets: ReadonlyMap<string, HostTensor>[] = [];
  for (const set of await dataSets(folder)) {
    const { inputs } = await readDataSet(model, set);
    sets.push(
      new Map([...inputs].map(([name, { dtype, dims, data }]) => {
        if (!isHostType(dtype)) throw new TypeError(`the input "${name}" is of ${dtype}`);
        return [name, { dtype, dims, data }];
      })),
    );
  }
  return sets;
}

/** Writes the test of `source` in one precision to `folder`, which is replaced. */
async function writeTest(
  runtime: Runtime,
  source: Source,
  precision: BarPrecision,
  folder: string,
): Promise<void> {
  await Deno.remove(folder, { recursive: true }).catch(ignoreAbsence);
  await Deno.mkdir(folder, { recursive: true });
  const path = `${folder}/model.onnx`;
  if (precision === "float32") await Deno.copyFile(source.path(), path);
  else {
    const { success, error } = await convert({
      modelPath: source.path(),
      outputPath: path,
      precision,
      engine: "wasm",
      ...(precision === "float16" ? { activations: "float16" as const } : {}),
    });
    if (!success) throw error;
  }
  await using session = await openSession(runtime, path, "cpu");
  const outputs = session.outputs.map((port) => port.name);
  const sets = await source.inputs(session);
  for (const [index, feeds] of sets.entries()) {
    const results = await session.run(feeds, outputs);
    const data = `${folder}/test_data_set_${index}`;
    await Deno.mkdir(data);
    await writeValues(data, "input", feeds, session.inputs.map((port) => port.name));
    await writeValues(data, "output", results, outputs);
  }
  await Deno.writeTextFile(
    `${folder}/tolerance.json`,
    JSON.stringify({ relativeL2: BARS[precision], resolution: source.resolution }) + "\n",
  );
}

async function writeValues(
  folder: string,
  kind: "input" | "output",
  values: ReadonlyMap<string, HostTensor>,
  names: readonly string[],
): Promise<void> {
  for (const [index, name] of names.entries()) {
    const value = values.get(name);
    if (value === undefined) throw new TypeError(`there is no value for "${name}"`);
    const { dtype, dims, data } = value;
    if (dtype === "string" || Array.isArray(data)) throw new TypeError(`"${name}" is of strings`);
    await Deno.writeFile(`${folder}/${kind}_${index}.pb`, encodeValue(name, { dtype, dims, data }));
  }
}

function ignoreAbsence(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    args: Deno.args,
    options: { output: { type: "string" }, only: { type: "string" } },
  });
  const output = values.output === undefined ? MODEL_TESTS : resolve(values.output);
  const { only } = values;
  const wanted = (sources: readonly Source[]) =>
    sources.flatMap((source) =>
      source.precisions.map((precision) => ({ source, precision }))
        .filter(({ precision }) =>
          only === undefined || matches(only, `${source.name}.${precision}`)
        )
    );
  const trained = wanted(TRAINED);
  // Some trained models can be had without the families.
  const others = only !== undefined && trained.length > 0 && !await hasFamilies()
    ? []
    : wanted(await families());
  const runtime = await loadRuntime();
  for (const { source, precision } of [...trained, ...others]) {
    const name = `${source.name}.${precision}`;
    await writeTest(runtime, source, precision, join(output, name));
    console.error(name);
  }
  console.log(`${trained.length + others.length} tests written to ${output}`);
}

async function hasFamilies(): Promise<boolean> {
  try {
    return (await Deno.stat(FIXTURES)).isDirectory;
  } catch {
    return false;
  }
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    if (!(error instanceof ModelcastError)) throw error;
    console.error(`error: ${error.message}`);
    Deno.exitCode = error.exitCode;
  }
}
