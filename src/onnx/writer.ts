/**
 * Writes a model to its files: plan, begin, fill in what is pending, commit. Tensor data is copied
 * from where it is in large pieces, reading ahead of writing; the targets appear when everything
 * is there, or not at all.
 */
import type { Model, Tensor } from "../ir.ts";
import { checkSpace, checkTarget, PartialFile, publishTogether } from "./files.ts";
import {
  type FixedBytes,
  type LayoutOptions,
  type ModelLayout,
  modelTensors,
  type PlacedTensor,
  planModel,
} from "./layout.ts";
import { openTensor, SourceFiles } from "./tensor.ts";
import { removeLitter } from "./temporary.ts";

export { type LayoutOptions, type ModelLayout, type Place, planModel } from "./layout.ts";

/** Bytes copied at a time. */
const COPY_BYTES = 8 * 1024 * 1024;

/** Writes a model of which nothing is pending to the file `target`. */
export async function writeModel(
  model: Model,
  target: string,
  options: LayoutOptions = {},
): Promise<ModelLayout> {
  const layout = planModel(model, target, options);
  const writer = await beginModel(layout);
  try {
    await writer.commit();
  } finally {
    writer.abort();
  }
  return layout;
}

/**
 * Creates the temporary files of `layout` beside their targets. Throws an `InputError`, with nothing
 * created, where a target is a file that the model is read from, is not a regular file, lies in no
 * folder, or does not fit on its disk.
 */
// deno-lint-ignore require-await
export async function beginModel(layout: ModelLayout): Promise<ModelWriter> {
  const sources = new Set<string>([layout.model.path]);
  for (const { tensor: { data } } of modelTensors(layout.model)) {
    if (data.kind === "file" || data.kind === "typed") sources.add(data.path);
  }
  for (const { path } of layout.files) checkTarget(path, sources);
  for (const { path } of layout.files) removeLitter(path);
  checkSpace(layout.target, layout.totalBytes);
  const files: PartialFile[] = [];
  try {
    for (const { path, byteLength } of layout.files) files.push(new PartialFile(path, byteLength));
  } catch (error) {
    for (const file of files) file.discard();
    throw error;
  }
  return new ModelWriter(layout, files);
}

/** Writes the files of one layout. */
export class ModelWriter {
  readonly #layout: ModelLayout;
  readonly #files: readonly PartialFile[];
  readonly #byPath: ReadonlyMap<string, PartialFile>;
  readonly #written = new Map<Tensor, number>();
  readonly #onUnload = () => this.abort();
  #state: "open" | "committing" | "complete" | "done" = "open";

  constructor(layout: ModelLayout, files: readonly PartialFile[]) {
    this.#layout = layout;
    this.#files = files;
    this.#byPath = new Map(files.map((file) => [file.target, file]));
    globalThis.addEventListener("unload", this.#onUnload);
  }

  /**
   * Writes `bytes` of the pending `tensor` at `offset` of its data. Pieces may come in any order and
   * at the same time, each byte once; `bytes` must stay as it is until the promise settles.
   */
  async write(tensor: Tensor, offset: number, bytes: Uint8Array): Promise<void> {
    if (this.#state !== "open") throw new Error("the writer has ended");
    for (const place of this.#layout.placesOf(tensor)) {
      if (offset < 0 || offset + bytes.length > place.length) {
        throw new RangeError(
          `bytes ${offset} + ${bytes.length} of the tensor "${tensor.name}" of ${place.length}`,
        );
      }
      await this.#byPath.get(place.path)!.write(place.offset + offset, bytes);
    }
    this.#written.set(tensor, (this.#written.get(tensor) ?? 0) + bytes.length);
  }

  /** {@link complete} and {@link publish}. */
  async commit(options: { readonly durable?: boolean } = {}): Promise<void> {
    await this.complete(options);
    this.publish();
  }

  /**
   * Copies all other tensors and writes what lies between them. With `durable` the files are on the
   * disk then, which takes the disk's time. When it throws, the temporary files are gone.
   */
  async complete(options: { readonly durable?: boolean } = {}): Promise<void> {
    if (this.#state !== "open") throw new Error("the writer has ended");
    for (const tensor of this.#layout.pending) {
      const written = this.#written.get(tensor) ?? 0;
      const { length } = this.#layout.placeOf(tensor);
      if (written !== length) {
        throw new Error(
          `${written} of ${length} bytes of the tensor "${tensor.name}" were written`,
        );
      }
    }
    this.#state = "committing";
    try {
      await this.#fill();
      for (const file of this.#files) await file.close(options.durable ?? false);
    } catch (error) {
      this.abort();
      throw error;
    }
    if (this.#state === "committing") this.#state = "complete";
  }

  /** {@link publishModels} of this one. */
  publish(): void {
    publishModels([this]);
  }

  /** The complete files, the data file first, so that the model never names one that is not there. */
  completeFiles(): readonly PartialFile[] {
    if (this.#state !== "complete") throw new Error("the writer is not complete");
    return this.#files.toReversed();
  }

  /** To be called once the files have their targets' names. */
  end(): void {
    this.#state = "done";
    globalThis.removeEventListener("unload", this.#onUnload);
  }

  /** Removes the temporary files; the targets stay as they were. Does nothing after a commit. */
  abort(): void {
    if (this.#state === "done") return;
    for (const file of this.#files) file.discard();
    this.end();
  }

  /** Writes everything that is not pending. */
  async #fill(): Promise<void> {
    const sources = new SourceFiles();
    try {
      const largest = Math.max(...this.#layout.files.map((file) => file.byteLength));
      const length = Math.min(COPY_BYTES, Math.max(largest, 1));
      const buffers = [new Uint8Array(length), new Uint8Array(length)] as const;
      for (const file of this.#files) {
        const assembler = new Assembler(file, buffers);
        for (const part of parts(this.#layout, file.target)) {
          if ("bytes" in part) {
            const { offset, bytes } = part;
            await assembler.append(offset, bytes.length, (at, into) => {
              into.set(bytes.subarray(at, at + into.length));
            });
          } else await this.#copy(assembler, sources, part);
        }
        await assembler.finish();
      }
    } finally {
      sources.close();
    }
  }

  async #copy(assembler: Assembler, sources: SourceFiles, placed: PlacedTensor): Promise<void> {
    const { tensor, place: { offset, length }, form } = placed;
    const { data } = tensor;
    if (data.kind === "file") {
      await assembler.append(
        offset,
        length,
        (at, into) => sources.read(data.path, data.offset + at, into),
      );
    } else if (data.kind === "typed" && form === "record") {
      let done = 0;
      for (const range of data.ranges) {
        await assembler.append(
          offset + done,
          range.length,
          (at, into) => sources.read(data.path, range.offset + at, into),
        );
        done += range.length;
      }
    } else if (data.kind !== "pending") {
      const reader = openTensor(tensor);
      try {
        await assembler.append(offset, length, (at, into) => reader.readSync(at, into));
      } finally {
        reader.close();
      }
    }
  }
}

/**
 * Puts the completed files of all `writers` in their targets' places. When it throws, every target is
 * as it was and the temporary files are gone.
 */
export function publishModels(writers: readonly ModelWriter[]): void {
  try {
    publishTogether(writers.flatMap((writer) => writer.completeFiles()));
  } catch (error) {
    for (const writer of writers) writer.abort();
    throw error;
  }
  for (const writer of writers) writer.end();
}

/** Fixed bytes and tensors of one file, in order of offset. */
function parts(layout: ModelLayout, path: string): (FixedBytes | PlacedTensor)[] {
  const tensors = layout.tensors.filter(({ place }) => place.path === path);
  const fixed = path === layout.target ? layout.fixed : [];
  const merged: (FixedBytes | PlacedTensor)[] = [];
  let next = 0;
  for (const placed of tensors) {
    while (next < fixed.length && fixed[next]!.offset <= placed.place.offset) {
      merged.push(fixed[next++]!);
    }
    merged.push(placed);
  }
  while (next < fixed.length) merged.push(fixed[next++]!);
  return merged;
}

type Source = (at: number, into: Uint8Array) => Promise<void> | void;

/** Gathers what is written to one file into large pieces; fills one while the other is written. */
class Assembler {
  readonly #file: PartialFile;
  #buffer: Uint8Array;
  #other: Uint8Array;
  /** Where the buffer's first byte goes. */
  #start = 0;
  #used = 0;
  #writing: Promise<void> = Promise.resolve();

  constructor(file: PartialFile, [buffer, other]: readonly [Uint8Array, Uint8Array]) {
    this.#file = file;
    this.#buffer = buffer;
    this.#other = other;
  }

  async append(offset: number, length: number, source: Source): Promise<void> {
    if (offset !== this.#start + this.#used) {
      await this.#flush();
      this.#start = offset;
    }
    for (let at = 0; at < length;) {
      const count = Math.min(this.#buffer.length - this.#used, length - at);
      const waits = source(at, this.#buffer.subarray(this.#used, this.#used + count));
      if (waits !== undefined) await waits;
      at += count;
      this.#used += count;
      if (this.#used === this.#buffer.length) await this.#flush();
    }
  }

  async finish(): Promise<void> {
    await this.#flush();
    await this.#writing;
  }

  async #flush(): Promise<void> {
    if (this.#used === 0) return;
    await this.#writing;
    const full = this.#buffer;
    this.#writing = this.#file.write(this.#start, full.subarray(0, this.#used));
    this.#writing.catch(() => {});
    this.#start += this.#used;
    this.#used = 0;
    this.#buffer = this.#other;
    this.#other = full;
  }
}
