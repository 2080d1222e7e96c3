/**
 * The scalar operations that values are made of, a row each: how WGSL writes them and what they
 * give, for the constant folder and the JavaScript printer. Float results are rounded to float32 by
 * the caller; integers are JavaScript numbers, exact to 2^53.
 */

/** The types of scalars that shaders compute with. */
export type Scalar = "f32" | "i32" | "u32" | "bool";

/** How WGSL writes an operation. */
type Spelling =
  | { readonly infix: string }
  | { readonly prefix: string }
  /** A built-in function. */
  | { readonly builtin: string }
  /** A function of `kernels/ops/prelude.wgsl`. */
  | { readonly prelude: string };

/** One operation. */
export interface Operation {
  /** What it gives: the type of its first argument, or a fixed one. */
  readonly result: "first" | Scalar;
  /** How WGSL writes it on floats and on integers; null where there is no such form. */
  readonly float: Spelling | null;
  readonly int: Spelling | null;
  /** Its value in JavaScript, as an expression over arguments that are expressions. */
  readonly javascript: (...args: string[]) => string;
  /** What a thread pays for it, where 1 is an addition. */
  readonly cost: number;
}

const infix = (text: string, result: "first" | Scalar = "first"): Operation => ({
  result,
  float: { infix: text },
  int: { infix: text },
  javascript: (a, b) => `(${a} ${text} ${b})`,
  cost: 1,
});

const compare = (text: string, script = text): Operation => ({
  ...infix(text, "bool"),
  javascript: (a, b) => `(${a} ${script} ${b})`,
});

const bits = (text: string): Operation => ({
  ...infix(text),
  float: null,
  javascript: (a, b) => `Number(BigInt(${a}) ${text} BigInt(${b}))`,
});

/** A built-in of WGSL that `Math` has too. */
const math = (builtin: string, script = builtin, cost = 1): Operation => ({
  result: "first",
  float: { builtin },
  int: { builtin },
  javascript: (...args) => `Math.${script}(${args.join(", ")})`,
  cost,
});

/** A function of the prelude, which has a namesake in `runtime/prelude.js`. */
const prelude = (name: string, cost = 8, result: "first" | Scalar = "first"): Operation => ({
  result,
  float: { prelude: name },
  int: null,
  javascript: (...args) => `prelude.${name}(${args.join(", ")})`,
  cost,
});

/** Every operation, by name. */
export const OPERATIONS = {
  add: infix("+"),
  sub: infix("-"),
  mul: infix("*"),
  /** Quotient; that of integers is rounded towards zero. */
  div: { ...infix("/"), javascript: (a, b) => `(${a} / ${b})`, cost: 2 },
  quotient: {
    ...infix("/"),
    float: null,
    javascript: (a, b) => `Math.trunc(${a} / ${b})`,
    cost: 4,
  },
  /** Remainder of integers with the dividend's sign. */
  remainder: { ...infix("%"), float: null, cost: 4 },
  floorMod: {
    result: "first",
    float: { prelude: "floorModF32" },
    int: { prelude: "floorMod" },
    javascript: (a, b) => `prelude.floorMod(${a}, ${b})`,
    cost: 6,
  },
  floorDiv: {
    result: "first",
    float: null,
    int: { prelude: "floorDiv" },
    javascript: (a, b) => `Math.floor(${a} / ${b})`,
    cost: 6,
  },
  fmod: { ...prelude("fmodF32", 6), javascript: (a, b) => `(${a} % ${b})` },
  negate: {
    result: "first",
    float: { prefix: "-" },
    int: { prefix: "-" },
    javascript: (a) => `(-${a})`,
    cost: 1,
  },
  abs: math("abs"),
  sign: math("sign"),
  floor: math("floor"),
  ceil: math("ceil"),
  trunc: math("trunc"),
  /** To the nearest whole number, ties to even. */
  round: { ...math("round"), javascript: (a) => `prelude.roundEven(${a})` },
  sqrt: { ...math("sqrt", "sqrt", 2) },
  exp: { ...prelude("safeExp", 2) },
  log: prelude("safeLog", 3),
  sin: prelude("safeSin"),
  cos: prelude("safeCos"),
  tan: prelude("safeTan"),
  sinh: prelude("safeSinh"),
  cosh: prelude("safeCosh"),
  tanh: prelude("safeTanh", 4),
  asin: prelude("safeAsin"),
  acos: prelude("safeAcos"),
  atan: prelude("safeAtan"),
  asinh: prelude("safeAsinh"),
  acosh: prelude("safeAcosh"),
  atanh: prelude("safeAtanh"),
  erf: prelude("erf"),
  pow: {
    result: "first",
    float: { prelude: "safePow" },
    int: { prelude: "powI32" },
    javascript: (a, b) => `Math.pow(${a}, ${b})`,
    cost: 8,
  },
  /** The smaller; a NaN wins. */
  min: {
    result: "first",
    float: { prelude: "nanMin" },
    int: { builtin: "min" },
    javascript: (a, b) => `Math.min(${a}, ${b})`,
    cost: 2,
  },
  /** The larger; a NaN wins. */
  max: {
    result: "first",
    float: { prelude: "nanMax" },
    int: { builtin: "max" },
    javascript: (a, b) => `Math.max(${a}, ${b})`,
    cost: 2,
  },
  /** The smaller and the larger of numbers that are not NaN. */
  fastMin: math("min"),
  fastMax: math("max"),
  isNan: {
    ...prelude("isNan", 1, "bool"),
    javascript: (a) => `Number.isNaN(${a})`,
  },
  isInf: {
    ...prelude("isInf", 1, "bool"),
    javascript: (a) => `(Math.abs(${a}) === Infinity)`,
  },
  less: compare("<"),
  lessOrEqual: compare("<="),
  greater: compare(">"),
  greaterOrEqual: compare(">="),
  equal: compare("==", "==="),
  notEqual: compare("!=", "!=="),
  /** Both sides are computed: a branch costs more than what it saves. */
  and: compare("&", "&&"),
  or: compare("|", "||"),
  xor: compare("!=", "!=="),
  not: {
    result: "bool",
    float: null,
    int: { prefix: "!" },
    javascript: (a) => `(!${a})`,
    cost: 1,
  },
  bitAnd: bits("&"),
  bitOr: bits("|"),
  bitXor: bits("^"),
  bitNot: {
    result: "first",
    float: null,
    int: { prefix: "~" },
    javascript: (a) => `(~${a})`,
    cost: 1,
  },
  /** Shifts by less than 32 bits; the right shift of i32 keeps the sign. */
  shiftLeft: { ...bits("<<"), javascript: (a, b) => `(${a} * 2 ** ${b})` },
  shiftRight: { ...bits(">>"), javascript: (a, b) => `Math.floor(${a} / 2 ** ${b})` },
  roundF16: prelude("roundF16", 4),
  roundBF16: prelude("roundBF16", 4),
} as const satisfies Record<string, Operation>;

/** Name of an operation. */
export type OperationName = keyof typeof OPERATIONS;

/** The row of `name`, with its optional parts. */
export function operation(name: OperationName): Operation {
  return OPERATIONS[name];
}
