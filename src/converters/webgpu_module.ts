/**
 * The files of a module for WebGPU: compiles the model, checks every shader, writes `NAME.js`, `.d.ts`,
 * `.safetensors`, `.html`, `.report.json`, and `.page.json` where the page needs more than it holds
 * itself, and compares what the module computes with the model where that is asked for.
 */
import { basename, dirname, join } from "node:path";
import { declarations } from "../codegen/declarations.ts";
import { planMemory } from "../codegen/memory_plan.ts";
import { type CompiledModule, compileModel } from "../codegen/mod.ts";
import type { InputTable } from "../codegen/module.ts";
import { readAssets } from "../codegen/page/assets.ts";
import { buildPage } from "../codegen/page/mod.ts";
import { canCheck, checkShader, shaderChecker } from "../codegen/shader_check.ts";
import { planWeights, writeWeights } from "../codegen/weights_file.ts";
import { InputError, InterruptedError, ModelcastError } from "../error.ts";
import type { Model } from "../ir.ts";
import { PartialFile, publishTogether } from "../onnx/files.ts";
import { readModel } from "../onnx/reader.ts";
import { type OutputFile, UNVERIFIED } from "./conversion.ts";
import type { ConversionStep, StepOutcome } from "./converter.ts";
import { sha256OfFile, sourceFacts } from "./source.ts";
import { fixDims } from "./webgpu_dims.ts";
import { countOps, describeModule, type ModuleReport, packedBits } from "./webgpu_report.ts";
import type { ModuleVerifier } from "./webgpu_verification.ts";

/** A file of a module, written or planned. */
interface ModuleFile {
  readonly name: string;
  readonly byteLength: number;
}

/** Converts the model of `step` to a module in the step's folder. */
export async function convertToModule(step: ConversionStep): Promise<StepOutcome> {
  const started = performance.now();
  // What is missing, or can't be run, shows before the work, not after it.
  const verifier = step.verify === true && !step.dryRun ? await openVerifier(step) : null;
  const { module, files } = await makeModule(step);
  throwIfAborted(step.signal);
  if (verifier !== null) step.events.stage("verifying", null);
  const { verification, failures } = verifier === null
    ? { verification: null, failures: [] }
    : await verifier.verify(join(step.folder, files[0]!.name));
  throwIfAborted(step.signal);
  const end = failures.length > 0 ? UNVERIFIED : "";
  return {
    models: [{ suffix: "", files: files.map(({ name }) => name), failures }],
    report: {
      kind: "webgpu",
      outputPath: step.outputPath,
      dryRun: step.dryRun,
      module,
      files: files.map((file) => outputFile(file, step, end)),
      verification,
      seconds: (performance.now() - started) / 1000,
    },
  };
}

async function openVerifier(step: ConversionStep): Promise<ModuleVerifier> {
  const { openModuleVerifier } = await import(
    "./webgpu_verification" + ".ts"
  ) as typeof import("./webgpu_verification.ts");
  return await openModuleVerifier(step);
}

/** Compiles the model of `step` and writes the module's files, its own first; a dry run only plans. */
async function makeModule(
  step: ConversionStep,
): Promise<{ readonly module: ModuleReport; readonly files: readonly ModuleFile[] }> {
  const { events, signal, dims, maxDims } = step;
  const model = await readModel(step.modelPath);
  const facts = sourceFacts(model);
  fixDims(model, dims, maxDims);
  const [nodes, bits] = [countOps(model), packedBits(model)];
  const options = model.metadata.find(([key]) => key === "modelcast.options")?.[1] ?? null;
  events.stage("compiling", null);
  const compiled = await compile(model, step);
  const shaders = await checkShaders(compiled, step);
  const name = basename(step.outputPath, ".js");
  const place = (extension: string) => join(step.folder, `${name}${extension}`);
  const table = step.dryRun
    ? planWeights(place(".safetensors"), compiled.weights)
    : await writeWeights(place(".safetensors"), compiled.weights, {
      signal,
      progress: (done, total) => events.progress(done, total),
    });
  const { inputs, outputs } = compiled;
  const assets = await readAssets(step.originPath, (text) => events.warn(text));
  const page = await buildPage({ name, inputs, outputs, assets });
  const module = describeModule({
    source: { name: basename(step.originPath), sha256: facts.sha256, options },
    compiled,
    table,
    bits,
    nodes,
    dims,
    maxDims,
    shaders,
    memory: planOf(compiled, table, maxDims),
    page: page.kind,
  });
  const texts: readonly [extension: string, text: string | null][] = [
    [".js", compiled.javaScript(`${name}.safetensors`, table)],
    [".d.ts", declarations(inputs, outputs)],
    [".html", page.html],
    [".page.json", page.settings],
    [".report.json", `${JSON.stringify(module, null, 1)}\n`],
  ];
  const files: ModuleFile[] = [];
  for (const [extension, text] of texts) {
    if (text === null) continue;
    const bytes = new TextEncoder().encode(text);
    if (!step.dryRun) await writeText(place(extension), bytes, step);
    files.push({ name: `${name}${extension}`, byteLength: bytes.length });
  }
  files.push({ name: `${name}.safetensors`, byteLength: table.bytes });
  return { module, files };
}

/** Writes one of the texts; what fails is said of the file that it is to become. */
async function writeText(path: string, bytes: Uint8Array, step: ConversionStep): Promise<void> {
  const file = new PartialFile(path, bytes.length);
  try {
    await file.write(0, bytes);
    await file.close(false);
    throwIfAborted(step.signal);
    publishTogether([{ path: file.path, target: path, byteLength: bytes.length }]);
  } finally {
    file.discard();
  }
}

/** Compiles `model`; what the compiler stumbles over is a model that contradicts itself, or a bug. */
async function compile(model: Model, step: ConversionStep): Promise<CompiledModule> {
  try {
    return await compileModel(model, { limits: new Map(Object.entries(step.maxDims)) });
  } catch (cause) {
    if (cause instanceof ModelcastError || !(cause instanceof Error)) throw cause;
    throw new InputError(
      `Cannot compile "${step.sourceName}": its nodes don't fit together (${cause.message}). ` +
        "Check it with onnx.checker; where that finds nothing, report this with the model.",
      { cause },
    );
  }
}

/** Every shader through the checker that this machine has. */
async function checkShaders(
  { pipelines }: CompiledModule,
  { sourceName, events, signal }: ConversionStep,
): Promise<ModuleReport["shaders"]> {
  const checker = await shaderChecker();
  if (checker === "none") return { checker, checked: 0 };
  events.stage("checking shaders", null);
  let checked = 0;
  for (const { label, code, features = [] } of pipelines) {
    throwIfAborted(signal);
    if (!await canCheck(features)) continue;
    checked++;
    const problem = await checkShader(code);
    if (problem === null) continue;
    const line = code.split("\n")[problem.line - 1]?.trim();
    throw new InputError(
      `Cannot compile "${sourceName}": the shader of ${label} is refused by ${checker}: ` +
        `${problem.message.trim().replace(/\.$/, "")}${
          line === undefined ? "" : `, in "${line}"`
        }. ` +
        "Report this with the model.",
    );
  }
  return { checker, checked };
}

/** The plan of memory for dims of which all are fixed or limited. */
function planOf(
  compiled: CompiledModule,
  table: Parameters<typeof planMemory>[1],
  maxDims: Readonly<Record<string, number>>,
): ModuleReport["memory"] {
  const known: number[][] = [];
  for (const input of compiled.inputs) {
    const dims = extentsOf(input, maxDims);
    if (typeof dims === "string") {
      return `Memory is planned at run time: "${dims}" is not fixed (--dim) or limited (--max-dim).`;
    }
    known.push(dims);
  }
  return planMemory(compiled, table, known);
}

/** The largest dims of an input, or the name of one that nothing limits. */
function extentsOf(
  { dims }: InputTable,
  maxDims: Readonly<Record<string, number>>,
): number[] | string {
  const unknown = dims.find((dim) => typeof dim === "string" && !Object.hasOwn(maxDims, dim));
  if (unknown !== undefined) return String(unknown);
  return dims.map((dim) => typeof dim === "number" ? dim : maxDims[dim]!);
}

function outputFile(
  { name, byteLength }: ModuleFile,
  step: ConversionStep,
  end: string,
): OutputFile {
  return {
    path: join(dirname(step.outputPath), `${name}${end}`),
    byteLength,
    sha256: step.sha256 && !step.dryRun ? sha256OfFile(join(step.folder, name)) : null,
  };
}

function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new InterruptedError("interrupted; the target is as it was");
}
