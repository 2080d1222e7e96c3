/**
 * The verification of a module for WebGPU: ONNX Runtime runs the model that it is made of, at the same
 * precision, Deno's WebGPU the module, both on the same inputs.
 */
import { basename, dirname, join } from "node:path";
import { compileModel } from "../codegen/mod.ts";
import { writeWeights } from "../codegen/weights_file.ts";
import { InputError, VerificationError } from "../error.ts";
import { makeValueInfo, type Model } from "../ir.ts";
import { readModel } from "../onnx/reader.ts";
import {
  checkVerification,
  findModuleAdapter,
  type HostTensor,
  type ModuleSamples,
  type Original,
  runModule,
  runOriginal,
  type Tolerance,
  type VerificationReport,
} from "../verify.ts";
import { limitedTo, MODULE_TOLERANCES } from "../verify/tolerance.ts";
import { UNVERIFIED } from "./conversion.ts";
import type { ConversionStep, ConverterRequest } from "./converter.ts";
import { computesInHalf } from "./openvino_inputs.ts";
import { fixDims } from "./webgpu_dims.ts";

/** Compares a module with its model, which has run. */
export interface ModuleVerifier {
  /** Runs the module at `path`; what went wrong with it is in `failures`. */
  verify(path: string): Promise<{
    readonly verification: VerificationReport | null;
    readonly failures: readonly string[];
  }>;
}

/**
 * Sees to what the verification needs, before any work.
 *
 * @throws MissingToolError where ONNX Runtime, the permission to start Deno or an adapter is missing.
 */
export async function prepareModuleVerification(
  { provider, inputs }: ConverterRequest,
  signal: AbortSignal,
): Promise<void> {
  await checkVerification(provider, inputs);
  await findModuleAdapter(signal);
}

/** Runs the model of `step` in ONNX Runtime. */
export async function openModuleVerifier(step: ConversionStep): Promise<ModuleVerifier> {
  const { modelPath, inputs, seed, provider, signal, dims, maxDims, maxError } = step;
  const original = await runOriginal({
    original: modelPath,
    ...(inputs === null ? {} : { inputs: { kind: "file", path: inputs } }),
    seed,
    provider,
    extents: { fixed: dims, largest: maxDims },
    scratch: step.folder,
    signal,
  });
  const usual = toleranceOf(await readModel(modelPath));
  const tolerance = maxError === null ? usual : limitedTo(maxError, usual);
  return { verify: async (path) => await verify(path, original, tolerance, step) };
}

async function verify(
  path: string,
  original: Original,
  tolerance: Tolerance,
  step: ConversionStep,
): ReturnType<ModuleVerifier["verify"]> {
  const { signal, perOp, outputPath, sourceName } = step;
  try {
    const report = await original.compareModule({
      result: path,
      tolerance,
      run: async (samples, runs) => await runModule(jobOf(path, samples, runs, step)),
      fetchInside: perOp ? insideOf(step) : null,
    });
    const end = report.passed ? "" : UNVERIFIED;
    return {
      verification: { ...report, original: sourceName, result: `${outputPath}${end}` },
      failures: report.failures,
    };
  } catch (error) {
    signal.throwIfAborted();
    // A module that could not be compared is not a verified one.
    if (error instanceof VerificationError) {
      return { verification: null, failures: [error.message.replace(/\.$/, "")] };
    }
    throw error;
  }
}

function jobOf(
  path: string,
  samples: ModuleSamples,
  runs: number,
  { outputPath, timeout, signal }: ConversionStep,
): Parameters<typeof runModule>[0] {
  return { path, name: outputPath, samples, runs, timeoutMs: 1000 * timeout, signal };
}

/** Computes values inside the model by modules of it that have them as outputs. */
function insideOf(
  step: ConversionStep,
): (names: readonly string[], feeds: ModuleSamples[number]) => Promise<Map<string, HostTensor>> {
  let count = 0;
  return async (names, feeds) => {
    const model = await readModel(step.modelPath);
    fixDims(model, step.dims, step.maxDims);
    const { outputs } = model.graph;
    const known = new Set(outputs.map(({ name }) => name));
    for (const name of names) if (!known.has(name)) outputs.push(makeValueInfo(name, null, null));
    const folder = join(step.folder, `inside-${count++}`);
    Deno.mkdirSync(folder);
    try {
      const path = join(folder, "inside.js");
      await writeInside(model, path);
      const { samples } = await runModule(jobOf(path, [feeds], 0, step));
      return samples[0]!;
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  };
}

async function writeInside(model: Model, path: string): Promise<void> {
  const weights = join(dirname(path), "inside.safetensors");
  try {
    const compiled = await compileModel(model);
    const table = await writeWeights(weights, compiled.weights);
    await Deno.writeTextFile(path, compiled.javaScript(basename(weights), table));
  } catch (cause) {
    if (!(cause instanceof InputError)) throw cause;
    throw new VerificationError(cause.message, { cause });
  }
}

/** How far a module of `model` may be off: what is stored is the same in both. */
function toleranceOf(model: Model): Tolerance {
  if (computesInHalf(model)) return MODULE_TOLERANCES.float16;
  const quantized = model.graph.nodes.some(({ opType }) => /NBits$|Quantize/.test(opType));
  return quantized ? MODULE_TOLERANCES.quantized : MODULE_TOLERANCES.float32;
}
