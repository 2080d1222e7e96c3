/**
 * ONNX to a module for WebGPU. Needs no GPU. Quantization is what a step before this one does; the
 * compiler is loaded when there is something to compile.
 */
import { type ConversionStep, ModelConverter, type StepOutcome } from "./converter.ts";
import { registerConverter } from "./registry.ts";

/** Modules for WebGPU of ONNX models, at the precision that these have. */
@registerConverter({ sourceFormat: "onnx", targetFormat: "webgpu" })
export class OnnxToWebGpu extends ModelConverter {
  readonly sourceFormat = "onnx";
  readonly targetFormat = "webgpu";
  readonly supportedModelTypes = "any";

  override async executeConversion(step: ConversionStep): Promise<StepOutcome> {
    const { writeModule } = await import(
      "./webgpu_module" + ".ts"
    ) as typeof import("./webgpu_module.ts");
    return await writeModule(step);
  }
}
