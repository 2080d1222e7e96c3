/**
 * Streams weights through an engine: reads a tile of a matrix into the engine's memory, quantizes
 * it for every target that wants it, and hands the results on. Reading, computing and writing
 * overlap; memory is bounded by the engine's budget, not by the model.
 */
import { EngineFault } from "./engine.ts";
import type { Engine, QuantizeFileJob, QuantizeJob, QuantizeResult, WeightType } from "./engine.ts";
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

type QuantizeTarget = WeightTarget & { readonly kind: "quantize" };

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

/** The same where the engine reads them: of its memory, only results of these bytes are taken. */
const FILE_TILE_BYTES = 64 * 1024 * 1024;

/** Tiles that an engine which reads them works on at a time: one is computed, one written, one waits. */
const MOST_TILES = 3;

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
  /** Bytes of weights in one job; {@link TILE_BYTES} or {@link FILE_TILE_BYTES} where absent. */
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
        const file = fileWork(weight, reader);
        const tileBytes = options.tileBytes ?? (file === null ? TILE_BYTES : FILE_TILE_BYTES);
        for (const tile of tilesOf(weight, tileBytes)) {
          if (options.signal.aborted) {
            throw new InterruptedError("Interrupted: nothing was written.");
          }
          if (failures.length > 0) throw failures[0];
          let started: Promise<void>;
          if (file !== null && engines.readsFiles) {
            started = quantizeFileTile(file, tile, engines);
          } else {
            // Waits while the engine's memory is in use.
            const memory = await readToMemory(weight, reader, tile, engines);
            started = quantizeTile(weight, tile, memory, engines);
          }
          const work = started
            .then(() => options.onProgress(tileBytesOf(weight, tile)))
            .catch((error) => void failures.push(error))
            .finally(() => pending.delete(work));
          pending.add(work);
          // No memory is asked for where the engine reads: there the number of tiles is limited.
          while (file !== null && pending.size >= MOST_TILES) await Promise.race(pending);
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

/** A weight that an engine may read from its file, and the one target that it has. */
interface FileWork {
  readonly weight: WeightStream;
  readonly target: QuantizeTarget;
  readonly place: { readonly path: string; readonly offset: number };
}

/**
 * A weight of several targets is read once for all of them; one whose rows are one block each is read
 * in larger pieces than an engine's worker takes. Both are not for the engine to read.
 */
function fileWork(weight: WeightStream, { place }: TensorReader): FileWork | null {
  const [target, second] = weight.targets;
  return place !== null && second === undefined && target?.kind === "quantize" &&
      target.format.blockSize !== 0
    ? { weight, target, place }
    : null;
}

/** Has the engine read and quantize one tile. Where it fails, its fallback does the tile again. */
async function quantizeFileTile(
  { weight, target, place }: FileWork,
  tile: Tile,
  engines: EngineWithFallback,
): Promise<void> {
  const { rows, columns, order, weightType } = weight.view;
  const first = tile.batch * rows * columns + tile.firstRow * (order === "rows" ? columns : 1);
  let result: QuantizeResult;
  try {
    result = await engines.quantizeFile({
      ...jobOf(weight, target, tile),
      weights: {
        path: place.path,
        offset: place.offset + first * ELEMENT_BYTES[weightType],
        pitch: order === "rows" ? columns : rows,
      },
    });
  } catch (error) {
    // Throws where it was the file that failed.
    const reader = weight.open();
    try {
      if (!engines.takesOver(error)) throw error;
      return await quantizeTile(
        weight,
        tile,
        await readToMemory(weight, reader, tile, engines),
        engines,
      );
    } finally {
      reader.close();
    }
  }
  await handOver(result, target, tile);
}

/** Reads one tile into the engine's memory. */
async function readToMemory(
  weight: WeightStream,
  reader: TensorReader,
  tile: Tile,
  engines: EngineWithFallback,
): Promise<EngineMemory> {
  const memory = await engines.allocate(tileBytesOf(weight, tile));
  try {
    await readTile(reader, weight.view, tile, memory.bytes);
    return memory;
  } catch (error) {
    memory.release();
    throw error;
  }
}

/** Quantizes one tile for each of the weight's targets, and releases its memory. */
async function quantizeTile(
  weight: WeightStream,
  tile: Tile,
  memory: EngineMemory,
  engines: EngineWithFallback,
): Promise<void> {
  try {
    for (const target of weight.targets) {
      if (target.kind === "elements") {
        await target.accept(memory.bytes, tile);
        continue;
      }
      const job = { ...jobOf(weight, target, tile), weights: memory.bytes };
      await handOver(await engines.quantize(job), target, tile);
    }
  } finally {
    memory.release();
  }
}

/** What an engine is to do for a target, without the weights. */
function jobOf(
  weight: WeightStream,
  target: QuantizeTarget,
  tile: Tile,
): Omit<QuantizeJob, "weights"> {
  const { rows, columns, order, weightType } = weight.view;
  const wholeMatrix = target.format.blockSize === 0 && rows === 1;
  return {
    weightType,
    rows: tile.rows,
    columns,
    order: wholeMatrix ? "rows" : order,
    format: target.format,
    method: target.method,
    ...(target.importance === undefined ? {} : { importance: target.importance }),
    measure: true,
  };
}

/** Gives a result to its target and then its memory back. */
async function handOver(result: QuantizeResult, target: QuantizeTarget, tile: Tile): Promise<void> {
  try {
    await target.accept(result, tile);
  } finally {
    result.release();
  }
}

/** Bytes of a tile's weights. */
function tileBytesOf({ view }: WeightStream, tile: Tile): number {
  return tile.rows * view.columns * ELEMENT_BYTES[view.weightType];
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

type EngineMemory = Awaited<ReturnType<Engine["allocate"]>>;

/** An engine whose faults are made good by another. */
class EngineWithFallback {
  #fallback: Promise<Engine> | null = null;

  constructor(readonly options: StreamOptions) {}

  allocate(byteLength: number): Promise<EngineMemory> {
    return this.#try((engine) => engine.allocate(byteLength));
  }

  quantize(job: QuantizeJob): Promise<QuantizeResult> {
    return this.#try((engine) => engine.quantize(job));
  }

  /** Whether the engine reads files, and no other has taken over. */
  get readsFiles(): boolean {
    return this.options.engine.quantizeFile !== undefined && this.#fallback === null;
  }

  /** Without fallback, as that one may not read files: see {@link takesOver}. */
  quantizeFile(job: QuantizeFileJob): Promise<QuantizeResult> {
    return this.options.engine.quantizeFile!(job);
  }

  /** Whether the fallback is to do what failed with `error`; it does all that follows, too. */
  takesOver(error: unknown): boolean {
    // An interruption may end the engine: that is no fault of its.
    if (!(error instanceof EngineFault) || this.options.signal.aborted) return false;
    if (this.#fallback === null) this.options.onFallback(error.message);
    this.#fallback ??= this.options.fallback();
    return true;
  }

  async #try<Result>(use: (engine: Engine) => Promise<Result>): Promise<Result> {
    if (this.#fallback !== null) return await use(await this.#fallback);
    try {
      return await use(this.options.engine);
    } catch (error) {
      if (!this.takesOver(error)) throw error;
      return await use(await this.#fallback!);
    }
  }
}
