/**
 * What a converter is: a class for one pair of formats that writes files into a folder and says what
 * it wrote. Staging, verification's consequences and publishing are the same for all of them and
 * happen in `run.ts`.
 */
import { InputError, type ModelcastError } from "../error.ts";
import type { OnnxReport, OutputFile } from "./conversion.ts";
import type { OpenVinoReport } from "./openvino_answer.ts";
import type { WebGpuReport } from "./webgpu_report.ts";
import type { ConverterOptions, ModelFormat } from "./options.ts";
import type { ExportReport } from "./pytorch_to_onnx.ts";

/** How a conversion tells what it does. */
export interface ConversionEvents {
  /** `done` of `total` bytes of weights are converted. */
  progress(done: number, total: number): void;
  /** What is being done now, and how far it is (0 to 1) where that is known. */
  stage(name: string, fraction: number | null): void;
  warn(text: string): void;
  note(text: string): void;
}

/** What to convert, and how. */
export interface ConverterRequest extends ConverterOptions {
  /** The file or folder to read. */
  readonly modelPath: string;
  /** The file to write; replaced when everything has succeeded. */
  readonly outputPath: string;
  /** Architecture of the model, such as "bert", where its files don't tell; null otherwise. */
  readonly modelType: string | null;
}

/** One step of a conversion: {@link ConverterRequest} and where its files go meanwhile. */
export interface ConversionStep extends ConverterRequest {
  /** What reports call the model, which may be the result of another step. */
  readonly sourceName: string;
  /** What the whole conversion began with: files beside it may tell what the model is for. */
  readonly originPath: string;
  /** A fresh folder; files are written there under the names that they will have. */
  readonly folder: string;
  readonly events: ConversionEvents;
  readonly signal: AbortSignal;
}

/** One model that a step wrote. */
export interface WrittenModel {
  /** What stands between the output's name and its extension: "", ".encoder", ".4bit". */
  readonly suffix: string;
  /** Names in the step's folder, the model's own file first. */
  readonly files: readonly string[];
  /** Why it is not what it was made from; none where that holds or was not checked. */
  readonly failures: readonly string[];
}

/** What a step did whose converter has no report of its own. */
export interface PlainReport {
  readonly kind: "plain";
  readonly outputPath: string;
  readonly sourceFormat: ModelFormat;
  readonly targetFormat: ModelFormat;
  readonly files: readonly OutputFile[];
}

/** What a step did, as plain data. Paths are those that the files have when all is done. */
export type StepReport = OnnxReport | ExportReport | OpenVinoReport | WebGpuReport | PlainReport;

/** What a step gives. */
export interface StepOutcome {
  readonly models: readonly WrittenModel[];
  /** Absent where there is no more to tell than what files there are. */
  readonly report?: StepReport;
}

/** What became of a conversion. */
export type ConversionResult =
  & {
    /** The file that was asked for. */
    readonly outputPath: string;
    /** Every file that was written, in order; those kept aside end in `.unverified`. */
    readonly files: readonly string[];
    /** A report for each step that ran, in order. */
    readonly steps: readonly StepReport[];
  }
  & (
    | { readonly success: true; readonly error: null }
    | { readonly success: false; readonly error: ModelcastError }
  );

/**
 * A converter from one format to another, or to the same format at another precision. A subclass
 * names its formats and the model types that it takes, and has one method to write,
 * `executeConversion`.
 */
export abstract class ModelConverter {
  abstract readonly sourceFormat: ModelFormat;
  abstract readonly targetFormat: ModelFormat;
  /** What to do about a result that failed its verification: a sentence. */
  readonly failureAdvice: string = "Look at it before you use it.";
  /** Whether its results are compared unasked where Python runs on the way. */
  readonly verifiedUnasked: boolean = true;
  /** The model types that it takes; "any" for whatever its source format holds. */
  abstract readonly supportedModelTypes: readonly string[] | "any";

  /**
   * Whether it gives the precisions asked for by itself: float32 alone, where a subclass does not say
   * otherwise. A converter that does not still keeps the precision of its source.
   */
  writesPrecision(options: ConverterOptions): boolean {
    return options.activations === "float32" &&
      options.precisions.every((precision) => precision === "float32");
  }

  /** Runtimes that must be able to load what this converter reads. */
  get sourceRuntimes(): readonly string[] {
    return [];
  }

  /**
   * Sees to the tools that it needs, before any converter of a chain begins its work.
   *
   * @throws MissingToolError where one is missing or not permitted.
   */
  prepare(
    _request: ConverterRequest,
    _events: ConversionEvents,
    _signal: AbortSignal,
  ): Promise<void> {
    return Promise.resolve();
  }

  /**
   * Writes the files of one conversion into `step.folder`, verified where `step.verify` asks for it.
   * It leaves everything else alone; what fails is a {@link ModelcastError}.
   */
  abstract executeConversion(step: ConversionStep): Promise<StepOutcome>;

  /**
   * Converts `request.modelPath`. What went wrong with the input, the options or the tools is in the
   * result; the output is then as it was. Anything thrown is a bug.
   */
  async convert(
    request: ConverterRequest,
    events: Partial<ConversionEvents> = {},
    signal?: AbortSignal,
  ): Promise<ConversionResult> {
    const [{ runConverters }, { checkWholeRequest, refusedRequest }] = await Promise.all([
      import("./run.ts"),
      import("./request.ts"),
    ]);
    let checked: ConverterRequest;
    try {
      checked = checkWholeRequest(request, events, signal);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      return refusedRequest(error, request);
    }
    return await runConverters([this], checked, events, signal);
  }
}
