/**
 * What the text of a shader is put together from: its declarations (bindings, parameters, functions
 * of the prelude), scopes that statements are filled into, and literals.
 */
import {
  asNumber,
  type Axis,
  type Integer,
  integer,
  type Scalar,
  type Value,
} from "../expr/mod.ts";
import { type DType, DTYPES } from "../dtype.ts";
import type { Tensor } from "./program.ts";
import { packedDtype } from "./storage.ts";

/** Parameters of a shader at most: what one 256-byte slot holds. */
const MOST_PARAMETERS = 60;
/** Of those, numbers of the model at most. */
const MOST_NUMBERS = 30;
/** Digits from which on a number is taken for a trained one, which few other shaders share. */
const TRAINED_DIGITS = 6;

/** What the program hands a shader as a parameter. */
export type Parameter =
  | { readonly kind: "integer"; readonly integer: Integer }
  | { readonly kind: "value"; readonly value: Value };

/** Declarations of one shader: bindings, parameters and functions of the prelude. */
export class Declarations {
  readonly tensors: Tensor[];
  readonly parameters: Parameter[];
  readonly prelude = new Set<string>();
  /** The tensors that this part of the shader names. */
  readonly used = new Set<Tensor>();
  readonly #names: Map<string, string>;

  /** The tensors bound as arrays of vectors of 4, wherever the shader reads them. */
  readonly vectors: ReadonlySet<Tensor>;

  constructor(whole: Declarations | null = null, vectors: ReadonlySet<Tensor> = new Set()) {
    this.vectors = vectors;
    this.tensors = whole === null ? [] : whole.tensors;
    this.parameters = whole === null ? [] : whole.parameters;
    this.#names = whole === null ? new Map() : whole.#names;
  }

  /** A part of a shader: its tensors and parameters are the whole's, what it uses is its own. */
  part(): Declarations {
    return new Declarations(this, this.vectors);
  }

  /** The variable that holds `tensor`. */
  tensor(tensor: Tensor): string {
    this.used.add(tensor);
    let at = this.tensors.indexOf(tensor);
    if (at < 0) at = this.tensors.push(tensor) - 1;
    return `t${at}`;
  }

  /** An extent or a stride: a parameter, so that kernels of other shapes have the same text. */
  extent(value: Integer): string {
    const number = asNumber(value);
    if (number === 1 || number === 0) return String(number);
    if (number !== null && this.parameters.length >= MOST_PARAMETERS) return String(number);
    return this.#parameter(`i${value.id}`, { kind: "integer", integer: value });
  }

  /** What the host knows, as a parameter of its type. */
  value(value: Value): string {
    const name = this.#parameter(`v${value.id}`, { kind: "value", value });
    switch (value.type) {
      case "f32":
        return `bitcast<f32>(${name})`;
      case "u32":
        return `bitcast<u32>(${name})`;
      case "bool":
        return `(${name} != 0)`;
      case "i32":
        return name;
    }
  }

  /** A trained number, as a parameter, so that kernels with others have the same text. */
  number(value: number): string | null {
    if (this.parameters.length >= MOST_NUMBERS) return null;
    const bits = new Int32Array(Float32Array.of(value).buffer)[0]!;
    return `bitcast<f32>(${
      this.#parameter(`f${bits}`, { kind: "integer", integer: integer(bits) })
    })`;
  }

  #parameter(key: string, parameter: Parameter): string {
    let name = this.#names.get(key);
    if (name === undefined) {
      name = `p.p${this.parameters.push(parameter) - 1}`;
      this.#names.set(key, name);
    }
    return name;
  }

  /** Calls the prelude's function `name`. */
  call(name: string, ...args: string[]): string {
    this.prelude.add(name);
    return `${name}(${args.join(", ")})`;
  }

  /** A letter a binding, as {@link PipelineTable} has them, for a shader that binds `used`. */
  bindings(used: ReadonlySet<Tensor> = new Set(this.tensors)): string {
    return this.tensors.map((tensor) => !used.has(tensor) ? "." : isWeight(tensor) ? "w" : "a")
      .join("");
  }

  /** The text of the declarations, for a shader that binds `used`. */
  text(used: ReadonlySet<Tensor> = new Set(this.tensors)): string {
    const lines: string[] = [];
    if (this.parameters.length > 0) {
      const fields = this.parameters.map((_, i) => `p${i}: i32`);
      lines.push(`struct Parameters { ${fields.join(", ")} }`);
      lines.push("@group(0) @binding(0) var<uniform> p: Parameters;");
    }
    for (const [i, tensor] of this.tensors.entries()) {
      if (!used.has(tensor)) continue;
      const space = isWeight(tensor) ? "read" : "read_write";
      const word = wordOf(tensor);
      const type = this.vectors.has(tensor) ? `vec4<${word}>` : word;
      lines.push(`@group(0) @binding(${i + 1}) var<storage, ${space}> t${i}: array<${type}>;`);
    }
    return lines.join("\n");
  }
}

/** True for what is read from the weights file, packed. */
function isWeight(tensor: Tensor): boolean {
  return tensor.origin.kind === "weight";
}

/** The type of the words that a tensor lies in. */
function wordOf(tensor: Tensor): string {
  if (tensor.type === "bool") return "u32";
  if (!isWeight(tensor)) return tensor.type;
  return DTYPES[packedDtype(tensor.dtype)].bits === 32 ? tensor.type : "u32";
}

/** True for what lies in words of several codes. */
export function isPacked(tensor: Tensor): boolean {
  return isWeight(tensor) && DTYPES[packedDtype(tensor.dtype)].bits < 32;
}

/** Statements that are filled from the outside in. */
export class Scope {
  readonly lines: string[] = [];
  readonly names = new Map<number, string>();
  constructor(
    readonly parent: Scope | null,
    /** A branch is left to no outer scope; a loop is, by what doesn't depend on its axes. */
    readonly kind: "function" | "loop" | "branch",
    readonly axes: ReadonlySet<Axis>,
  ) {}

  find(id: number): string | undefined {
    return this.names.get(id) ?? this.parent?.find(id);
  }

  /** The lines, indented. */
  text(indent: string): string {
    return this.lines.map((line) => line.replace(/^(?=.)/gm, indent)).join("\n");
  }
}

/** The prelude's function that gives the float that a code stands for in `dtype`. */
export function smallFloatName(dtype: DType): string {
  if (dtype === "float16") return "decodeF16";
  return dtype === "bfloat16" ? "decodeBF16" : `decodeF${dtype.slice(1)}`;
}

/** A number of WGSL. Infinity and NaN have no literal. */
export function literal(type: Scalar, value: number, declarations: Declarations): string {
  switch (type) {
    case "bool":
      return value !== 0 ? "true" : "false";
    case "u32":
      return `${Math.min(Math.max(value, 0), 2 ** 32 - 1)}u`;
    case "i32":
      if (value <= -(2 ** 31)) return "(-2147483647 - 1)";
      return String(Math.min(value, 2 ** 31 - 1));
    case "f32": {
      if (Number.isFinite(value)) {
        if (Object.is(value, -0)) return "-0.0f";
        const text = shortest(value);
        if (text.replace(/e.*|[-.]/g, "").replace(/^0+/, "").length >= TRAINED_DIGITS) {
          const given = declarations.number(value);
          if (given !== null) return given;
        }
        return /[.e]/.test(text) ? `${text}f` : `${text}.0f`;
      }
      const bits = Number.isNaN(value) ? "0x7fc00000u" : value > 0 ? "0x7f800000u" : "0xff800000u";
      declarations.prelude.add("zero");
      return `bitcast<f32>(${bits} + zero())`;
    }
  }
}

/** The largest float32: Chromium takes no literal past it, even one that would round to it. */
const LARGEST = (2 - 2 ** -23) * 2 ** 127;

/** The fewest digits that are read as the same float32. */
function shortest(value: number): string {
  const single = Math.fround(value);
  for (let digits = 1; digits <= 9; digits++) {
    const rounded = Number(single.toPrecision(digits));
    if (Math.fround(rounded) === single && Math.abs(rounded) <= LARGEST) return String(rounded);
  }
  return String(value);
}
