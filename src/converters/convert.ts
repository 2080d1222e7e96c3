/** The way from a request to its result, whoever asks. */
import { statSync } from "node:fs";
import { InputError, ModelcastError } from "../error.ts";
import type { ConversionEvents, ConversionResult, ConverterRequest } from "./converter.ts";
import { ModelConverterRegistry } from "./mod.ts";
import { formatOfPath, type ModelFormat } from "./options.ts";
import { runConverters } from "./run.ts";

/** The formats to convert between; null where the paths tell. */
export interface Formats {
  readonly sourceFormat: ModelFormat | null;
  readonly targetFormat: ModelFormat | null;
}

/**
 * Converts `request.modelPath` by the shortest chain of converters. What went wrong with the input,
 * the options or the tools is in the result; anything thrown is a bug, or a permission that Deno
 * refused.
 */
export async function convertModel(
  request: ConverterRequest,
  formats: Formats,
  events?: Partial<ConversionEvents>,
  signal?: AbortSignal,
): Promise<ConversionResult> {
  const { modelPath, outputPath, modelType } = request;
  try {
    const sourceFormat = formats.sourceFormat ?? sourceFormatOf(modelPath);
    const targetFormat = formats.targetFormat ?? targetFormatOf(outputPath, sourceFormat);
    const path = ModelConverterRegistry.findPath(
      { sourceFormat, targetFormat, modelType },
      request,
    );
    return await runConverters(path, request, events, signal);
  } catch (error) {
    if (!(error instanceof ModelcastError)) throw error;
    return { success: false, outputPath, error, files: [], steps: [] };
  }
}

/** The format of what lies at `path`: its name tells, or that it is a folder. */
function sourceFormatOf(path: string): ModelFormat {
  const named = formatOfPath(path);
  if (named !== null) return named;
  try {
    return statSync(path).isDirectory() ? "pytorch" : "onnx";
  } catch {
    // Whoever reads it says what is wrong with it.
    return "onnx";
  }
}

/** The format that the output's name tells; ONNX to ONNX goes under any name but another format's. */
function targetFormatOf(path: string, sourceFormat: ModelFormat): ModelFormat {
  const named = formatOfPath(path);
  if (named !== null && named !== "pytorch") return named;
  // Who names a script wants no ONNX file.
  const isScript = /\.([cm]?[jt]s|html)$/i.test(path);
  if (named === null && sourceFormat === "onnx" && !isScript) return "onnx";
  throw new InputError(
    `Cannot tell what format to write from the name "${path}": give the target format, or a name ` +
      "that ends in .onnx, .xml or .webgpu.js.",
  );
}
