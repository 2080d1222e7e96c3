/**
 * Reads the tensors of a model file: what their data is and where, checked against their shapes
 * before anything is believed. The data itself stays where it is.
 */
import { byteLength, type DType, dtypeOfOnnx } from "../dtype.ts";
import type { SparseTensor, Tensor, TensorData, TypedField } from "../ir.ts";
import { ExternalFiles } from "./external.ts";
import { CarriedFields, type Message, type MessageReader, type Span } from "./message.ts";
import { decodeSparseDims, decodeTensor, FIELD, type TensorFields } from "./schema.ts";
import { countTyped, typedCount, typedFieldOf } from "./typed.ts";
import { fieldError, WireType } from "./wire.ts";

/** Bytes that the dims and the external entries of one tensor may take. */
const LONGEST_HEADER = 64 * 1024;

const TYPED_FIELDS: Readonly<Record<number, TypedField>> = {
  [FIELD.tensor.floatData]: "float_data",
  [FIELD.tensor.int32Data]: "int32_data",
  [FIELD.tensor.stringData]: "string_data",
  [FIELD.tensor.int64Data]: "int64_data",
  [FIELD.tensor.doubleData]: "double_data",
  [FIELD.tensor.uint64Data]: "uint64_data",
};

/** The fields of a `TensorProto`, sorted but not yet checked. */
interface Parts {
  readonly carried: Uint8Array;
  /** Payload of `raw_data`. */
  readonly raw: Span | null;
  readonly typed: ReadonlyMap<TypedField, readonly Span[]>;
}

/** Reads tensors of one model. */
export class TensorMessages {
  /** Whether any tensor read so far is external. */
  anyExternal = false;
  readonly #reader: MessageReader;
  readonly #external: ExternalFiles;

  constructor(reader: MessageReader) {
    this.#reader = reader;
    this.#external = new ExternalFiles(
      reader.file.path,
      (byteLength) => reader.addFile(byteLength),
    );
  }

  /** Reads a `TensorProto`. */
  tensor(message: Message): Tensor {
    const reader = this.#reader;
    reader.charge(240);
    const parts = this.#parts(message);
    const fields = reader.decode(message, parts.carried, decodeTensor);
    const dtype = dtypeOfOnnx(fields.dataType);
    if (dtype === undefined) {
      throw reader.fail(message, `has the element type ${fields.dataType}, which ONNX has not`);
    }
    const count = this.#elements(message, fields.dims);
    return {
      name: reader.text(fields.name),
      dtype,
      dims: fields.dims,
      data: this.#data(message, parts, fields, dtype, count),
      external: fields.external,
      carried: parts.carried,
    };
  }

  /** Reads a `SparseTensorProto`. */
  sparse(message: Message): SparseTensor {
    const reader = this.#reader;
    let values: Tensor | null = null;
    let indices: Tensor | null = null;
    const carried = reader.walk(message, {
      [FIELD.sparse.values]: { name: "values", repeated: false },
      [FIELD.sparse.indices]: { name: "indices", repeated: false },
    }, (number, child) => {
      if (number === FIELD.sparse.values) values = this.tensor(child);
      else indices = this.tensor(child);
    });
    if (values === null || indices === null) {
      throw reader.fail(message, `has no ${values === null ? "values" : "indices"}`);
    }
    const dims = reader.decode(message, carried, decodeSparseDims);
    this.#elements(message, dims);
    return { values, indices, dims, carried };
  }

  #parts(message: Message): Parts {
    const reader = this.#reader;
    const carried = new CarriedFields(reader.file);
    const typed = new Map<TypedField, Span[]>();
    let raw: Span | null = null;
    let header = 0;
    const records = reader.records(message);
    while (records.next()) {
      const { number, start, end } = records;
      const field = TYPED_FIELDS[number];
      if (number === FIELD.tensor.rawData) {
        if (records.wireType !== WireType.bytes) {
          throw records.error("has raw_data that is no bytes");
        }
        if (raw !== null) throw records.error("has raw_data twice");
        raw = { start: records.payload, end };
      } else if (field !== undefined) {
        let spans = typed.get(field);
        if (spans === undefined) typed.set(field, spans = []);
        const last = spans.at(-1);
        if (last?.end === start) last.end = end;
        else {
          reader.charge(100);
          spans.push({ start, end });
        }
      } else {
        carried.add(start, end);
        if (number === FIELD.tensor.dims || number === FIELD.tensor.externalData) {
          header += end - start;
        }
      }
    }
    if (header > LONGEST_HEADER) {
      throw reader.fail(
        message,
        `has ${header} bytes of dims and places, more than any tensor has`,
      );
    }
    return { carried: reader.kept(carried), raw, typed };
  }

  #data(
    message: Message,
    { raw, typed }: Parts,
    fields: TensorFields,
    dtype: DType,
    count: number,
  ): TensorData {
    const reader = this.#reader;
    const { path } = reader.file;
    const expected = byteLength(dtype, count);
    const shape = `${dtype} [${fields.dims}]`;
    if (dtype === "string" && (fields.external || raw !== null)) {
      throw reader.fail(message, "keeps strings elsewhere than in string_data");
    }
    if (raw !== null && typed.size > 0) {
      throw reader.fail(message, `has both raw_data and ${[...typed.keys()].join(", ")}`);
    }
    if (fields.external) {
      if (raw !== null || typed.size > 0) {
        throw reader.fail(message, "has data both in the file and in an external one");
      }
      const place = this.#external.resolve(
        fields.entries,
        expected,
        (state, remedy) => reader.fail(message, state, remedy),
      );
      this.anyExternal = true;
      return { kind: "file", ...place };
    }
    if (raw !== null) {
      const length = raw.end - raw.start;
      if (length !== expected) {
        const at = { parent: message.path, field: "raw_data", index: null };
        const state = `has ${length} bytes where ${shape} takes ${expected}`;
        throw fieldError(path, at, raw.start, state);
      }
      return { kind: "file", path, offset: raw.start, length };
    }
    const field = typedFieldOf(dtype);
    for (const other of typed.keys()) {
      if (other !== field) throw reader.fail(message, `keeps ${dtype} values in ${other}`);
    }
    const spans = typed.get(field) ?? [];
    const found = countTyped(reader.file, field, spans, message.path);
    const wanted = typedCount(dtype, count);
    if (found !== wanted) {
      const state = `has ${found} values in ${field} where ${shape} takes ${wanted}`;
      throw reader.fail(message, state);
    }
    const ranges = spans.map(({ start, end }) => ({ offset: start, length: end - start }));
    const stored = ranges.reduce((sum, range) => sum + range.length, 0);
    return { kind: "typed", field, path, ranges, length: dtype === "string" ? stored : expected };
  }

  /** Product of `dims`, which must be a possible shape. */
  #elements(message: Message, dims: readonly number[]): number {
    let count = 1;
    let past = false;
    for (const dim of dims) {
      if (dim < 0) throw this.#reader.fail(message, `has the negative extent ${dim} in its dims`);
      count *= dim;
      past ||= !Number.isSafeInteger(dim);
    }
    // Elements take up to 16 bytes.
    if (past || !Number.isSafeInteger(count * 16)) {
      const shown = dims.length > 16 ? `${dims.slice(0, 16)},...` : `${dims}`;
      throw this.#reader.fail(message, `has dims [${shown}], larger than any data can be`);
    }
    return count;
  }
}
