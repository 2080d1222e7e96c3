/** The dialog with ONNX Runtime's own quantizers (bench/python/onnxruntime_rival.py). */
import { startDialog } from "../../tests/python/dialog.ts";

/** ONNX Runtime's quantizers in a process of Python. */
export interface Rival extends AsyncDisposable {
  /** Reads a float32 matrix [rows, columns] to quantize from a file. */
  load(path: string, rows: number, columns: number): Promise<void>;
  /**
   * Seconds of one quantization of the matrix to 4 bits, block 32, in plain mode: of
   * `MatMulNBitsQuantizer.process()` on a model of one MatMul, and of its inner loop alone.
   */
  quantize(symmetric: boolean): Promise<{ seconds: number; kernel: number }>;
  /**
   * Quantizes the MatMuls of a model to 4 bits, block 32, asymmetric, and saves it unless `output` is
   * null; seconds without file access.
   */
  quantizeModel(source: string, method: "plain" | "hqq", output: string | null): Promise<number>;
  /** SQNR in dB of the last hidden state of each of `others` against `original`. */
  compare(original: string, others: readonly string[]): Promise<number[]>;
}

/** Sequences that the models are compared on, and their length. */
export const COMPARED = { inputs: 32, length: 64 } as const;

/** Starts the rival. */
export function startRival(): Rival {
  const dialog = startDialog("bench/python/onnxruntime_rival.py");
  return {
    load: async (path, rows, columns) => void await dialog.ask({ op: "load", path, rows, columns }),
    quantize: async (symmetric) => {
      const { seconds, kernel } = await dialog.ask({ op: "matrix", symmetric });
      return { seconds: Number(seconds), kernel: Number(kernel) };
    },
    quantizeModel: async (source, method, output) =>
      Number((await dialog.ask({ op: "model", source, method, output })).seconds),
    compare: async (original, others) =>
      (await dialog.ask({ op: "compare", original, others, ...COMPARED })).sqnr as number[],
    [Symbol.asyncDispose]: () => dialog[Symbol.asyncDispose](),
  };
}
