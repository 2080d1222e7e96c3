/** The converters there are, and the shortest way through them from one format to another. */
import { InputError, nearestNames } from "../error.ts";
import type { ModelConverter } from "./converter.ts";
import { type ConverterOptions, MODEL_FORMATS, type ModelFormat } from "./options.ts";

/** A converter's class. */
export type ConverterClass = new () => ModelConverter;

/** A pair of formats. */
export interface FormatPair {
  readonly sourceFormat: ModelFormat;
  readonly targetFormat: ModelFormat;
}

/** What a converter is looked up by. */
export interface ConverterQuery extends FormatPair {
  /** Null where it is not known: then a converter for any type is meant. */
  readonly modelType: string | null;
}

/** The registered converters. */
export class ModelConverterRegistry {
  static readonly #rows: { readonly pair: FormatPair; readonly converter: ConverterClass }[] = [];

  /**
   * Adds a converter; of several for a pair, one that names the model type goes first.
   *
   * @throws InputError where the pair is none of formats, or the class none of a converter.
   */
  static register(pair: FormatPair, converter: ConverterClass): void {
    checkPair(pair, "register a converter");
    const given: unknown = converter;
    if (typeof given !== "function" || !isConverter(given.prototype)) {
      throw new InputError(
        `Cannot register a converter from ${pair.sourceFormat} to ${pair.targetFormat}: it is not a ` +
          'class with a method "executeConversion". Extend ModelConverter.',
      );
    }
    this.#rows.push({ pair: { ...pair }, converter });
  }

  /**
   * The class that converts `query.modelType` between the two formats.
   *
   * @throws InputError where there is none, naming what there is.
   */
  static getConverter(query: ConverterQuery): ConverterClass {
    checkQuery(query);
    const found = this.#find(query);
    if (found !== null) return found;
    const { sourceFormat, targetFormat, modelType } = query;
    const rows = this.#rows.filter(({ pair }) =>
      pair.sourceFormat === sourceFormat && pair.targetFormat === targetFormat
    );
    if (rows.length === 0) {
      const pairs = this.#rows.map(({ pair }) => `${pair.sourceFormat} to ${pair.targetFormat}`);
      throw new InputError(
        `Cannot convert "${sourceFormat}" to "${targetFormat}": there is no converter for it. ` +
          `There are ${[...new Set(pairs)].join(", ")}, and chains of them.`,
      );
    }
    const types = rows.flatMap(({ converter }) => {
      const { supportedModelTypes } = new converter();
      return supportedModelTypes === "any" ? [] : supportedModelTypes;
    });
    throw new InputError(
      `Cannot convert the model type "${modelType}" from ${sourceFormat} to ${targetFormat}: ` +
        `no converter takes it. The nearest are ${
          nearestNames(modelType ?? "", types).map((name) => `"${name}"`).join(", ")
        }.`,
    );
  }

  /**
   * The fewest converters that lead from one format to the other and give the precision that
   * `options` ask for. A converter that can't write it keeps what its source has, so that a quantizer
   * may stand before it.
   *
   * @throws InputError where no way leads there.
   */
  static findPath(query: ConverterQuery, options: ConverterOptions): ModelConverter[] {
    checkQuery(query);
    const precisions: unknown = Reflect.get(Object(options), "precisions");
    if (!Array.isArray(precisions) || precisions.length === 0) {
      throw new InputError(
        'Cannot find a converter: "precisions" can\'t be used: expected an array of precisions.',
      );
    }
    interface State {
      readonly format: ModelFormat;
      /** Whether the precision is reached. */
      readonly precise: boolean;
      readonly path: readonly ModelConverter[];
    }
    const seen = new Set<string>();
    let states: State[] = [{ format: query.sourceFormat, precise: false, path: [] }];
    while (states.length > 0) {
      const next: State[] = [];
      for (const { format, precise, path } of states) {
        for (const targetFormat of Object.keys(MODEL_FORMATS) as ModelFormat[]) {
          const found = this.#find({ ...query, sourceFormat: format, targetFormat });
          if (found === null) continue;
          const converter = new found();
          const state: State = {
            format: targetFormat,
            precise: precise || converter.writesPrecision(options),
            path: [...path, converter],
          };
          if (state.precise && targetFormat === query.targetFormat) return [...state.path];
          const key = `${state.format} ${state.precise}`;
          if (!seen.has(key)) next.push(state);
          seen.add(key);
        }
      }
      states = next;
    }
    const { sourceFormat, targetFormat } = query;
    throw new InputError(
      `Cannot convert "${sourceFormat}" to "${targetFormat}" at ${
        options.precisions.join(", ")
      }: ` +
        `no converter or chain of converters leads there. From ${sourceFormat} they lead to ${
          this.#reachable(query).join(", ") || "nothing"
        }.`,
    );
  }

  static #find({ sourceFormat, targetFormat, modelType }: ConverterQuery): ConverterClass | null {
    const classes = this.#rows
      .filter(({ pair }) =>
        pair.sourceFormat === sourceFormat && pair.targetFormat === targetFormat
      )
      .map(({ converter }) => converter);
    const types = (converter: ConverterClass) => {
      const { supportedModelTypes } = new converter();
      const given: unknown = supportedModelTypes;
      if (given === "any" || Array.isArray(given)) return supportedModelTypes;
      throw new InputError(
        `Cannot use the converter "${converter.name}" from ${sourceFormat} to ${targetFormat}: its ` +
          '"supportedModelTypes" is neither "any" nor an array of names. Give it one.',
      );
    };
    return classes.find((converter) => {
      const known = types(converter);
      return known !== "any" && modelType !== null && known.includes(modelType);
    }) ?? classes.find((converter) => types(converter) === "any") ?? null;
  }

  static #reachable(query: ConverterQuery): ModelFormat[] {
    const formats = Object.keys(MODEL_FORMATS) as ModelFormat[];
    const reached = new Set([query.sourceFormat]);
    for (const format of reached) {
      for (const targetFormat of formats) {
        if (this.#find({ ...query, sourceFormat: format, targetFormat }) !== null) {
          reached.add(targetFormat);
        }
      }
    }
    return [...reached].filter((format) => format !== query.sourceFormat);
  }
}

/** Throws an `InputError` where a program without types has named anything but two formats. */
function checkPair(pair: FormatPair, act: string): void {
  for (const key of ["sourceFormat", "targetFormat"] as const) {
    const format: unknown = Reflect.get(Object(pair), key);
    if (typeof format === "string" && Object.hasOwn(MODEL_FORMATS, format)) continue;
    const formats = Object.keys(MODEL_FORMATS).map((name) => `"${name}"`).join(", ");
    throw new InputError(`Cannot ${act}: "${key}" can't be used: expected one of ${formats}.`);
  }
}

function checkQuery(query: ConverterQuery): void {
  checkPair(query, "find a converter");
  const modelType: unknown = query.modelType;
  if (modelType === null || typeof modelType === "string") return;
  throw new InputError(
    'Cannot find a converter: "modelType" can\'t be used: expected a string or null.',
  );
}

function isConverter(prototype: unknown): boolean {
  return typeof Reflect.get(Object(prototype), "executeConversion") === "function";
}

/** Registers the decorated {@link ModelConverter} for a pair of formats. */
export function registerConverter(
  pair: FormatPair,
): (converter: ConverterClass, context: ClassDecoratorContext<ConverterClass>) => void {
  return (converter) => ModelConverterRegistry.register(pair, converter);
}
