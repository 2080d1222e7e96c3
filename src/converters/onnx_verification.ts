/**
 * The verification of results from ONNX to ONNX: ONNX Runtime runs both on the same inputs. A result
 * that fails gets the names under which it is kept aside.
 */
import { basename, join } from "node:path";
import { ModelcastError } from "../error.ts";
import { renameDataFiles } from "../onnx/data_names.ts";
import type { Original, VerificationReport } from "../verify.ts";
import { defaultTolerance, limitedTo, type Tolerance } from "../verify/tolerance.ts";
import { type Conversion, UNVERIFIED, type VerifiedConversion } from "./conversion.ts";
import type { ConversionStep, ConverterRequest } from "./converter.ts";
import { sha256OfFile } from "./source.ts";
import { withFiles } from "./totals.ts";

/** Compares results with their source, which has run. */
export interface Verifier {
  /**
   * Runs what `conversion` wrote; what is wrong with it is in `failures`, and its files are then called
   * what they will be called.
   */
  verify(conversion: Conversion): Promise<{
    readonly verified: VerifiedConversion;
    readonly failures: readonly string[];
  }>;
}

/**
 * Sees to what the verification needs, before any work.
 *
 * @throws MissingToolError where ONNX Runtime or the provider is missing or not permitted.
 */
export async function prepareVerification(request: ConverterRequest): Promise<void> {
  const { checkVerification } = await loadVerification();
  await checkVerification(request.provider, request.inputs);
}

/** Runs the source of `step` in ONNX Runtime, once for all precisions. */
export async function openVerifier(step: ConversionStep): Promise<Verifier> {
  const { runOriginal } = await loadVerification();
  const original = await runOriginal({
    original: step.modelPath,
    ...(step.inputs === null ? {} : { inputs: { kind: "file", path: step.inputs } }),
    seed: step.seed,
    provider: step.provider,
    scratch: step.folder,
    signal: step.signal,
  });
  return {
    async verify(conversion) {
      const path = join(step.folder, basename(conversion.files[0]!.path));
      const { report, failures } = await compare(conversion, path, original, step);
      const kept = failures.length === 0
        ? conversion
        : await putAside(conversion, path, step.sha256);
      const verification = report === null
        ? null
        : { ...report, original: kept.source.path, result: kept.files[0]!.path };
      return { verified: { ...kept, verification }, failures };
    },
  };
}

/** Compares what was written to `path` with its source. */
async function compare(
  conversion: Conversion,
  path: string,
  original: Original,
  step: ConversionStep,
): Promise<{ report: VerificationReport | null; failures: readonly string[] }> {
  try {
    const tolerance = toleranceOf(conversion, step);
    const report = await original.compare({ result: path, perOp: step.perOp, tolerance });
    return { report, failures: report.failures };
  } catch (error) {
    step.signal.throwIfAborted();
    // A result that could not be compared is not a verified one.
    if (error instanceof ModelcastError) {
      return { report: null, failures: [error.message.replace(/\.$/, "")] };
    }
    throw error;
  }
}

/** The limits for a precision; where activations are float16 too, the wider of the two. */
function toleranceOf(
  { precision }: Conversion,
  { activations, maxError }: ConversionStep,
): Tolerance | null {
  const own = defaultTolerance(precision);
  const half = activations === "float16" ? defaultTolerance("float16") : own;
  const usual = own === null || half === null || own.relativeL2 >= half.relativeL2 ? own : half;
  return maxError === null ? usual : limitedTo(maxError, usual);
}

/** `conversion`, whose model file lies at `path`, under the names that a result gets which failed. */
async function putAside(
  conversion: Conversion,
  path: string,
  sha256: boolean,
): Promise<Conversion> {
  const [own, ...data] = conversion.files.map((file) => ({
    ...file,
    path: `${file.path}${UNVERIFIED}`,
  }));
  if (data.length === 0) return { ...conversion, files: [own!] };
  // It must be loadable for whoever looks for the fault.
  const byteLength = await renameDataFiles(path, (name) => `${name}${UNVERIFIED}`);
  const hash = sha256 ? sha256OfFile(path) : null;
  const files = [{ ...own!, byteLength, sha256: hash }, ...data];
  return { ...conversion, files, totals: withFiles(conversion.totals, files) };
}

async function loadVerification(): Promise<typeof import("../verify.ts")> {
  return await import("../verify" + ".ts") as typeof import("../verify.ts");
}
