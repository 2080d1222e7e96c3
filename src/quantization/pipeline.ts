/**
 * Streams weights through an engine: reads a tile of a matrix into the engine's memory, quantizes
 * it for every target that wants it, and hands the results on. Reading, computing and writing
 * overlap; memory is bounded by the engine's budget, not by the model.
 */
import { EngineFault } from "./engine.ts";
import type { Engine, QuantizeJob, QuantizeResult, WeightType } from "./engine.ts";
import type { BlockFormat } from "../formats.ts";
import type { Method } from "./engine.ts";
import type { TensorReader } from "../onnx/tensor.ts";
import { InterruptedError } from "../error.ts";

/** A constant tensor seen as `batch` matrices, one after the other. */
export interface MatrixView {
  readonly batch: number;
  readonly rows: number;
  readonly columns: number;
  /** `rows`: the reduction axis is innermost. `columns`: the rows are. */
  readonly order: "rows" | "columns";
  readonly weightType: WeightType;
}

/** A range of rows of one matrix of the batch. */
export interface Tile {
  readonly batch: number;
  readonly firstRow: number;
  readonly rows: number;
}

/** What one output wants of a weight: its quantization, or its elements as they are. */
export type WeightTarget =
  | {
    readonly kind: "quantize";
    readonly format: BlockFormat;
    readonly method: Method;
    /** How much the columns count; left out where all count alike. */
    readonly importance?: Float32Array;
    /** Takes the result for `tile`. The result's arrays are valid until the promise settles. */
    accept(result: QuantizeResult, tile: Tile): Promise<void>;
  }
  | {
    readonly kind: "elements";
    /** Takes the elements of `tile` in the view's order; valid until the promise settles. */
    accept(bytes: Uint8Array, tile: Tile): Promise<void>;
  };

/** A weight and everything that is made of it from one read. */
export interface WeightStream {
  readonly view: MatrixView;
  /** Bytes of the source tensor. */
  readonly byteLength: number;
  /** Opens the source tensor's bytes. */
  open(): TensorReader;
  readonly targets: readonly WeightTarget[];
}

/** Bytes of weights in one job: large enough to keep workers busy, small beside the budget. */
const TILE_BYTES = 32 * 1024 * 1024;

/** Bytes of an element of each weight type. */
export const ELEMENT_BYTES: Readonly<Record<WeightType, number>> = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  float64: 8,
};

/** Options of {@link streamWeights}. */
export interface StreamOptions {
  readonly engine: Engine;
  /** Opens the engine that redoes what `engine` could not do; called once, when first needed. */
  readonly fallback: () => Promise<Engine>;
  /** Called when the fallback is taken, with the reason. */
  readonly onFallback: (reason: string) => void;
  /** Called with the bytes of weights done since the last call. */
  readonly onProgress: (bytes: number) => void;
  readonly signal: AbortSignal;
  /** Bytes of weights in one job; {@link TILE_BYTES} where absent. */
  readonly tileBytes?: number;
}

/** Streams all of `weights`. Throws what reading, an engine without fallback or a target throws. */
export async function streamWeights(
  weights: readonly WeightStream[],
  options: StreamOptions,
): Promise<void> {
  const engines = new EngineWithFallback(options);
  const pending = new Set<Promise<void>>();
  const failures: unknown[] = [];
  try {
    for (const weight of weights) {
      const reader = weight.open();
      try {
        for (const tile of tilesOf(weight, options.tileBytes ?? TILE_BYTES)) {
          if (options.signal.aborted) {
            throw new InterruptedError("Interrupted: nothing was written.");
          }
          if (failures.length > 0) throw failures[0];
          const byteLength = tile.rows * weight.view.columns *
            ELEMENT_BYTES[weight.view.weightType];
          const memory = await engines.allocate(byteLength);
          try {
            await readTile(reader, weight.view, tile, memory.bytes);
          } catch (error) {
            memory.release();
            throw error;
          }
          const work = quantizeTile(weight, tile, memory.bytes, engines)
            .then(() => options.onProgress(byteLength))
            .catch((error) => void failures.push(error))
            .finally(() => {
              memory.release();
              pending.delete(work);
            });
          pending.add(work);
        }
      } finally {
        reader.close();
      }
    }
  } finally {
    await Promise.all(pending);
  }
  if (failures.length > 0) throw failures[0];
}

/** Quantizes one tile for each of the weight's targets. */
async function quantizeTile(
  weight: WeightStream,
  tile: Tile,
  bytes: Uint8Array,
  engines: EngineWithFallback,
): Promise<void> {
  const { columns, order, weightType } = weight.view;
  for (const target of weight.targets) {
    if (target.kind === "elements") {
      await target.accept(bytes, tile);
      continue;
    }
    const wholeMatrix = target.format.blockSize === 0 && weight.view.rows === 1;
    const result = await engines.quantize({
      weights: bytes,
      weightType,
      rows: tile.rows,
      columns,
      order: wholeMatrix ? "rows" : order,
      format: target.format,
      method: target.method,
      ...(target.importance === undefined ? {} : { importance: target.importance }),
      measure: true,
    });
    try {
      await target.accept(result, tile);
    } finally {
      result.release();
    }
  }
}

/** Cuts each matrix of the batch into ranges of rows that fit a tile; at least one row each. */
function* tilesOf({ view }: WeightStream, tileBytes: number): Generator<Tile> {
  const rowBytes = view.columns * ELEMENT_BYTES[view.weightType];
  const wholeBytes = rowBytes * view.rows;
  // A whole matrix is read in one piece; only a tile of columns costs a read for each column.
  const limit = view.order === "columns" && wholeBytes <= 2 * tileBytes ? wholeBytes : tileBytes;
  const rowsPerTile = Math.max(1, Math.min(view.rows, evenRows(Math.floor(limit / rowBytes))));
  for (let batch = 0; batch < view.batch; batch++) {
    for (let firstRow = 0; firstRow < view.rows; firstRow += rowsPerTile) {
      yield { batch, firstRow, rows: Math.min(rowsPerTile, view.rows - firstRow) };
    }
  }
}

/** Rows of a tile are a multiple of 16, so that SIMD lanes are full and codes end on a byte. */
function evenRows(rows: number): number {
  return rows < 16 ? rows : rows - (rows % 16);
}

/** Reads the weights of `tile`, in the view's order, into `into`. */
async function readTile(
  reader: TensorReader,
  view: MatrixView,
  tile: Tile,
  into: Uint8Array,
): Promise<void> {
  const size = ELEMENT_BYTES[view.weightType];
  const matrix = tile.batch * view.rows * view.columns;
  if (view.order === "rows") {
    await reader.read((matrix + tile.firstRow * view.columns) * size, into);
  } else if (tile.rows === view.rows) {
    await reader.read(matrix * size, into);
  } else {
    const length = tile.rows * size;
    for (let column = 0; column < view.columns; column++) {
      reader.readSync(
        (matrix + column * view.rows + tile.firstRow) * size,
        into.subarray(column * length, (column + 1) * length),
      );
    }
  }
}

/** An engine whose faults are made good by another. */
class EngineWithFallback {
  #fallback: Promise<Engine> | null = null;

  constructor(readonly options: StreamOptions) {}

  allocate(byteLength: number): ReturnType<Engine["allocate"]> {
    return this.#try((engine) => engine.allocate(byteLength));
  }

  quantize(job: QuantizeJob): Promise<QuantizeResult> {
    return this.#try((engine) => engine.quantize(job));
  }

  async #try<Result>(use: (engine: Engine) => Promise<Result>): Promise<Result> {
    if (this.#fallback !== null) return await use(await this.#fallback);
    try {
      return await use(this.options.engine);
    } catch (error) {
      // An interruption may end the engine: that is no fault of its.
      if (!(error instanceof EngineFault) || this.options.signal.aborted) throw error;
      if (this.#fallback === null) this.options.onFallback(error.message);
      this.#fallback ??= this.options.fallback();
      return await use(await this.#fallback);
    }
  }
}
