/**
 * ONNX to a module for WebGPU. Needs no GPU but for `--verify`. Quantization is what a step before this
 * one does; the compiler is loaded when there is something to compile.
 */
import {
  type ConversionEvents,
  type ConversionStep,
  type ConverterRequest,
  ModelConverter,
  type StepOutcome,
} from "./converter.ts";
import { registerConverter } from "./registry.ts";

/** Modules for WebGPU of ONNX models, at the precision that these have. */
@registerConverter({ sourceFormat: "onnx", targetFormat: "webgpu" })
export class OnnxToWebGpu extends ModelConverter {
  readonly sourceFormat = "onnx";
  readonly targetFormat = "webgpu";
  readonly supportedModelTypes = "any";
  override readonly verifiedUnasked = false;
  override readonly failureAdvice =
    "Find the node where the two part with --per-op, and report it with the model.";

  override async prepare(
    request: ConverterRequest,
    _events: ConversionEvents,
    signal: AbortSignal,
  ): Promise<void> {
    if (request.verify !== true || request.dryRun) return;
    const { prepareModuleVerification } = await import(
      "./webgpu_verification" + ".ts"
    ) as typeof import("./webgpu_verification.ts");
    await prepareModuleVerification(request, signal);
  }

  override async executeConversion(step: ConversionStep): Promise<StepOutcome> {
    const { convertToModule } = await import(
      "./webgpu_module" + ".ts"
    ) as typeof import("./webgpu_module.ts");
    return await convertToModule(step);
  }
}
