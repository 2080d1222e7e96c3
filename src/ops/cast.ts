/** Conversions between element types, by value (Cast, CastLike) and by bits (BitCast). */
import { type DType, dtypeOfOnnx, DTYPES } from "../dtype.ts";
import {
  apply,
  bitcast,
  call as preludeCall,
  constant,
  convert,
  type Value,
} from "../expr/value.ts";
import { asFloat, isFloat } from "./arithmetic.ts";
import { elementwise } from "./broadcast.ts";
import { castTo, type OpCall, type Operand, type OpRecord, scalarOf } from "./op.ts";

/** How floats become numbers of fewer bits. */
export interface Rounding {
  /** What lies outside the type's range becomes its least or greatest number. */
  readonly saturate: boolean;
  /** To float8e8m0, whose numbers are powers of two. */
  readonly mode: "up" | "down" | "nearest";
}

/** What Cast does unless told otherwise. */
export const USUAL_ROUNDING: Rounding = { saturate: true, mode: "up" };

const word = (value: number): Value => constant("u32", value);

/** The name that the prelude's functions for small floats of `dtype` end with. */
function suffixOf(dtype: DType): string {
  if (dtype === "float16") return "F16";
  if (dtype === "bfloat16") return "BF16";
  return dtype[0]!.toUpperCase() + dtype.slice(1);
}

/** The float `x` rounded to the nearest number of the floating-point type `dtype`, ties to even. */
export function rounded(dtype: DType, x: Value, rounding: Rounding): Value {
  switch (dtype) {
    case "float32":
    case "float64":
      return x;
    case "float16":
      return apply("roundF16", x);
    case "bfloat16":
      return apply("roundBF16", x);
    case "float8e8m0":
      return preludeCall(
        "roundFloat8e8m0",
        "f32",
        x,
        constant("bool", rounding.saturate ? 1 : 0),
        word(["nearest", "up", "down"].indexOf(rounding.mode)),
      );
    case "float8e4m3fn":
    case "float8e4m3fnuz":
    case "float8e5m2":
    case "float8e5m2fnuz": {
      const saturate = constant("bool", rounding.saturate ? 1 : 0);
      return preludeCall(`round${suffixOf(dtype)}`, "f32", x, saturate);
    }
    default:
      return preludeCall(`round${suffixOf(dtype)}`, "f32", x);
  }
}

/** True where `to` holds every number of `from`, both floating-point types. */
function holds(to: DType, from: DType): boolean {
  if (to === from || to === "float32" || to === "float64") return true;
  const bits = DTYPES[from].bits;
  return (to === "float16" || to === "bfloat16") && bits <= 8 && from !== "float8e8m0";
}

/** `value`, an element of `from`, as an element of `to`. */
function castElement(
  from: DType,
  to: DType,
  value: Value,
  rounding: Rounding = USUAL_ROUNDING,
): Value {
  if (from === to) return value;
  if (isFloat(to)) {
    return isFloat(from) && holds(to, from) ? value : rounded(to, asFloat(value), rounding);
  }
  return castTo(to, value);
}

/** The dtype that the attribute `name` names; refused where it has no numbers. */
export function dtypeAttribute(call: OpCall, name: string): DType {
  const number = call.int(name, 0);
  const dtype = dtypeOfOnnx(number);
  if (dtype === undefined) call.fail(`"${name}" is ${number}, which is no element type`);
  return numeric(call, dtype);
}

function numeric(call: OpCall, dtype: DType): DType {
  const { kind } = DTYPES[dtype];
  if (kind === "string" || kind === "complex") {
    call.fail(`elements of type ${dtype} aren't computed with`);
  }
  return dtype;
}

/** The rounding that the attributes of `call` ask for. */
function roundingOf(call: OpCall): Rounding {
  const mode = call.string("round_mode", "up");
  if (mode !== "up" && mode !== "down" && mode !== "nearest") {
    call.fail(`round_mode "${mode}" is not known`);
  }
  return { saturate: call.int("saturate", 1) !== 0, mode };
}

function cast(call: OpCall, to: DType): Operand {
  const x = call.input(0);
  if (x.dtype === to) return x;
  const rounding = roundingOf(call);
  return elementwise(call, to, [x], (value) => castElement(x.dtype, to, value, rounding));
}

/** The bits of an element of `dtype`, as a word. */
function codeOf(dtype: DType, value: Value): Value {
  const { kind, bits } = DTYPES[dtype];
  if (kind === "bool") return convert("u32", value);
  if (kind === "float") {
    if (bits === 32) return bitcast("u32", value);
    const extra = dtype.startsWith("float8e4") || dtype.startsWith("float8e5")
      ? [constant("bool", 1)]
      : dtype === "float8e8m0"
      ? [constant("bool", 1), word(0)]
      : [];
    return preludeCall(`encode${suffixOf(dtype)}`, "u32", value, ...extra);
  }
  const code = bitcast("u32", value);
  return bits < 32 ? apply("bitAnd", code, word(2 ** bits - 1)) : code;
}

/** The element of `dtype` that has the bits `code`. */
function elementOfCode(dtype: DType, code: Value): Value {
  const { kind, bits } = DTYPES[dtype];
  if (kind === "bool") return apply("notEqual", code, word(0));
  if (kind === "float") {
    return bits === 32
      ? bitcast("f32", code)
      : preludeCall(`decode${suffixOf(dtype)}`, "f32", code);
  }
  return castTo(dtype, bitcast(scalarOf(dtype), code));
}

function reinterpreted(call: OpCall): Operand {
  const x = call.input(0);
  const to = dtypeAttribute(call, "to");
  const [bits, wanted] = [DTYPES[x.dtype].bits, DTYPES[to].bits];
  if (x.dtype === to) return x;
  if (bits !== wanted) {
    call.fail(`elements of ${bits} bits can't be read as ${to}, which has ${wanted}`);
  }
  if (bits === 64) {
    call.fail(`the bits of ${x.dtype} are not kept: GPUs compute in 32`);
  }
  return elementwise(call, to, [x], (value) => elementOfCode(to, codeOf(x.dtype, value)));
}

/** https://onnx.ai/onnx/operators/ */
export const CAST_OPS: readonly OpRecord[] = [
  {
    name: "Cast",
    domain: "",
    since: 28,
    lower: (call) => [cast(call, dtypeAttribute(call, "to"))],
  },
  {
    name: "CastLike",
    domain: "",
    since: 25,
    lower: (call) => [cast(call, call.input(1).dtype)],
  },
  { name: "BitCast", domain: "", since: 26, lower: (call) => [reinterpreted(call)] },
];
