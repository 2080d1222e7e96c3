/**
 * What element types an operator takes and gives at an opset version: the generated table of
 * `schemas.ts`, read.
 */
import { type DType, dtypeOfOnnx } from "../../dtype.ts";
import { SCHEMAS } from "./schemas.ts";

/** What a formal parameter may be. */
export type FormalType =
  /** Whatever the type variable with this letter is bound to. */
  | { readonly kind: "variable"; readonly letter: string }
  /** A tensor with a fixed element type. */
  | { readonly kind: "tensor"; readonly dtype: DType }
  /** Not a tensor: a sequence with that element type, or a map or an optional (null). */
  | { readonly kind: "container"; readonly dtype: DType | null };

/** A formal parameter. */
export interface Formal {
  readonly type: FormalType;
  /** `same`: takes all arguments from here on, of one type; `mixed`: of any types. */
  readonly variadic: "no" | "same" | "mixed";
}

/** A type variable: what it may be bound to. */
export interface TypeVariable {
  readonly floats: ReadonlySet<DType>;
  /** Whether it may be bound to sequences, optionals or maps. */
  readonly containers: boolean;
}

/** One version of an operator. */
export interface Schema {
  readonly since: number;
  readonly inputs: readonly Formal[];
  readonly outputs: readonly Formal[];
  readonly variables: ReadonlyMap<string, TypeVariable>;
}

const FLOATS: Readonly<Record<string, DType>> = {
  h: "float16",
  b: "bfloat16",
  f: "float32",
  d: "float64",
};

const read = new Map<string, readonly Schema[]>();

/** The schema of an operator in force at `opset` of its domain; null where none is known. */
export function schemaOf(domain: string, opType: string, opset: number): Schema | null {
  const key = domain === "" ? opType : `${domain}:${opType}`;
  if (!Object.hasOwn(SCHEMAS, key)) return null;
  let versions = read.get(key);
  if (versions === undefined) {
    versions = SCHEMAS[key]!.split(";").map(parseVersion);
    read.set(key, versions);
  }
  return versions.findLast((version) => version.since <= opset) ?? null;
}

/** The formal parameter that the argument at `index` belongs to; undefined for one too many. */
export function formalAt(formals: readonly Formal[], index: number): Formal | undefined {
  const last = formals.at(-1);
  return formals[index] ?? (last !== undefined && last.variadic !== "no" ? last : undefined);
}

function parseVersion(text: string): Schema {
  const [since, rest] = split(text, ":");
  const [formals, variables] = split(rest, "|");
  const [inputs, outputs] = split(formals, ">");
  return {
    since: Number(since),
    inputs: parseFormals(inputs),
    outputs: parseFormals(outputs),
    variables: new Map(
      variables === "" ? [] : variables.split(",").map((entry) => {
        const [letter, mask] = split(entry, "=");
        const floats = [...mask].flatMap((one) => FLOATS[one] ?? []);
        return [letter, { floats: new Set(floats), containers: mask.endsWith("s") }];
      }),
    ),
  };
}

function parseFormals(text: string): Formal[] {
  if (text === "") return [];
  return text.split(",").map((entry) => {
    const variadic = entry.endsWith("*") ? "same" : entry.endsWith("%") ? "mixed" : "no";
    return { type: parseType(variadic === "no" ? entry : entry.slice(0, -1)), variadic };
  });
}

function parseType(text: string): FormalType {
  if (text === "x") return { kind: "container", dtype: null };
  if (text.startsWith("s")) {
    return { kind: "container", dtype: dtypeOfOnnx(Number(text.slice(1))) ?? null };
  }
  const dtype = dtypeOfOnnx(Number(text));
  return dtype === undefined ? { kind: "variable", letter: text } : { kind: "tensor", dtype };
}

function split(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return [text.slice(0, at), text.slice(at + 1)];
}
