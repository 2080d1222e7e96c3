/** A converter that only writes files, for the tests of what stands around converters. */
import { join } from "node:path";
import {
  type ConversionStep,
  type ConverterRequest,
  ModelConverter,
  type StepOutcome,
} from "../../src/converters/converter.ts";
import { type ConverterOptions, DEFAULTS, type ModelFormat } from "../../src/converters/options.ts";

export const FLOAT: ConverterOptions = { ...DEFAULTS, precisions: ["float32"] };

/** Writes what it is told to: the bytes of its source and its own name. */
export class Writer extends ModelConverter {
  sourceFormat: ModelFormat = "onnx";
  targetFormat: ModelFormat = "onnx";
  supportedModelTypes: readonly string[] | "any" = "any";
  override failureAdvice = "Look at it.";
  /** Suffixes of the models that it writes, and which of them fail. */
  models: readonly { readonly suffix: string; readonly fails?: boolean }[] = [{ suffix: "" }];
  steps: ConversionStep[] = [];

  override writesPrecision(): boolean {
    return true;
  }

  override executeConversion(step: ConversionStep): Promise<StepOutcome> {
    this.steps.push(step);
    const source = Deno.readTextFileSync(step.modelPath);
    const name = step.outputPath.split(/[\\/]/).at(-1)!;
    const models = this.models.map(({ suffix, fails }) => {
      const file = name.replace(/(\.[a-z]+)$/, `${suffix}$1`);
      Deno.writeTextFileSync(join(step.folder, file), `${source}+${suffix}`);
      Deno.writeTextFileSync(join(step.folder, `${file}.data`), "data");
      return { suffix, files: [file, `${file}.data`], failures: fails ? ["it is off"] : [] };
    });
    return Promise.resolve({
      models,
      report: { kind: "onnx", outputPath: step.outputPath, conversions: [] },
    });
  }
}

/** A request for a conversion of `source.onnx`, which it writes, to `out.onnx`. */
export function request(folder: string, options: Partial<ConverterRequest> = {}): ConverterRequest {
  const modelPath = join(folder, "source.onnx");
  Deno.writeTextFileSync(modelPath, "source");
  return { ...FLOAT, modelPath, outputPath: join(folder, "out.onnx"), modelType: null, ...options };
}
