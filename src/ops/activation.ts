/**
 * Activations: functions of one element, with parameters that are attributes or small inputs. Those
 * of com.microsoft are described in
 * https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
 */
import { divide } from "../expr/bounds.ts";
import { add, integer, ZERO } from "../expr/integer.ts";
import { apply, constant, extentOf, select, type Value } from "../expr/value.ts";
import {
  asFloat,
  clamp,
  float,
  gelu,
  geluByTanh,
  minus,
  over,
  plus,
  sigmoid,
  softplus,
  times,
} from "./arithmetic.ts";
import { broadcastIndices, elementwise } from "./broadcast.ts";
import { castTo, type OpCall, operand, type OpRecord } from "./op.ts";
import { floatUnary, unary } from "./unary.ts";

const MICROSOFT = "com.microsoft";

const isNegative = (x: Value): Value => apply("less", x, constant(x.type, 0));

/** alpha * (e^x - 1). */
const exponential = (alpha: number, x: Value): Value =>
  times(float(alpha), minus(apply("exp", x), float(1)));

function elu(x: Value, call: OpCall): Value {
  return select(isNegative(x), exponential(call.float("alpha", 1), x), x);
}

function celu(x: Value, call: OpCall): Value {
  const alpha = call.float("alpha", 1);
  return select(isNegative(x), exponential(alpha, over(x, float(alpha))), x);
}

function selu(x: Value, call: OpCall): Value {
  const alpha = call.float("alpha", 1.67326319217681884765625);
  const gamma = call.float("gamma", 1.05070102214813232421875);
  return times(float(gamma), select(isNegative(x), exponential(alpha, x), x));
}

/** `x`, where negative times `alpha`. */
export function leakyRelu(x: Value, alpha: number): Value {
  return select(isNegative(x), times(float(alpha), x), x);
}

/** max(0, min(1, alpha * x + beta)). */
export function hardSigmoid(x: Value, alpha: number, beta: number): Value {
  return clamp(plus(times(float(alpha), x), float(beta)), float(0), float(1));
}

function thresholdedRelu(x: Value, call: OpCall): Value {
  const alpha = float(call.float("alpha", 1));
  return select(apply("greater", x, alpha), x, float(0));
}

/** Shrinks towards zero by `bias` what is farther from it than `lambd`. */
function shrink(x: Value, call: OpCall): Value {
  const lambda = call.float("lambd", 0.5);
  const bias = float(call.float("bias", 0));
  return select(
    apply("less", x, float(-lambda)),
    plus(x, bias),
    select(apply("greater", x, float(lambda)), minus(x, bias), float(0)),
  );
}

/** The slope, broadcast to x alone, may be an integer where x is. */
const PRELU: OpRecord = {
  name: "PRelu",
  domain: "",
  since: 16,
  lower: (call) => {
    const [x, slope] = [call.input(0), call.input(1)];
    return [
      elementwise(
        call,
        x.dtype,
        [x, slope],
        (value, factor) =>
          value.type === "u32" ? value : select(isNegative(value), times(factor, value), value),
      ),
    ];
  },
};

/** Limits are scalars, either of which may be missing. Where they cross, the greatest wins. */
const CLIP: OpRecord = {
  name: "Clip",
  domain: "",
  since: 13,
  lower: (call) => {
    const x = call.input(0);
    const limits = [call.optional(1), call.optional(2)].map((limit) =>
      limit?.at(limit.dims.map(() => ZERO)) ?? null
    );
    return [
      elementwise(call, x.dtype, [x], (value) => {
        const [least, greatest] = limits;
        const raised = least === null || least === undefined ? value : apply("max", value, least);
        return greatest === null || greatest === undefined
          ? raised
          : apply("min", raised, greatest);
      }),
    ];
  },
};

const SHRINK: OpRecord = {
  name: "Shrink",
  domain: "",
  since: 9,
  lower: (call) => {
    const x = call.input(0);
    return [
      elementwise(call, x.dtype, [x], (value) => castTo(x.dtype, shrink(asFloat(value), call))),
    ];
  },
};

const GELU: OpRecord = floatUnary("Gelu", 20, (x, call) => {
  const approximate = call.string("approximate", "none");
  if (approximate === "tanh") return geluByTanh(x);
  if (approximate !== "none") call.fail(`approximate "${approximate}" is not known`);
  return gelu(x);
});

/** x * sigmoid(alpha * x). */
function swish(x: Value, alpha: number): Value {
  return times(x, sigmoid(times(float(alpha), x)));
}

/** The second input times {@link swish} of the first. */
const SWIGLU: OpRecord = {
  name: "SwiGLU",
  domain: "",
  since: 28,
  lower: (call) => {
    const [gate, linear] = [call.input(0), call.input(1)];
    const alpha = call.float("alpha", 1);
    return [elementwise(call, gate.dtype, [gate, linear], (a, b) => times(swish(a, alpha), b))];
  },
};

/**
 * com.microsoft's: gate * sigmoid(alpha * gate) * (up + beta), where a positive limit holds the gate
 * below it and the other half on both sides. One input may hold both halves along its last dimension.
 */
const CLAMPED_SWIGLU: OpRecord = {
  name: "SwiGLU",
  domain: MICROSOFT,
  since: 1,
  lower: (call) => {
    const [gate, up] = [call.input(0), call.optional(1)];
    const [alpha, beta] = [call.float("activation_alpha", 1), call.float("activation_beta", 0)];
    const limit = call.float("limit", 0);
    if (call.int("round_activation", 0) !== 0) call.fail("a rounded activation isn't compiled");
    const width = up === null ? extentOf(divide(gate.dims.at(-1)!, integer(2))) : gate.dims.at(-1)!;
    const compute = (a: Value, b: Value): Value => {
      const first = limit > 0 ? apply("min", a, float(limit)) : a;
      const second = limit > 0 ? clamp(b, float(-limit), float(limit)) : b;
      return times(swish(first, alpha), beta === 0 ? second : plus(second, float(beta)));
    };
    return [
      operand(gate.dtype, [...gate.dims.slice(0, -1), width], (indices) => {
        const other = up === null
          ? gate.at([...indices.slice(0, -1), add(indices.at(-1)!, width)])
          : up.at(indices);
        return compute(gate.at(indices), other);
      }),
    ];
  },
};

/** An activation of the sum of an input and an optional bias along its last dimension. */
function biased(name: string, activation: (x: Value) => Value): OpRecord {
  return {
    name,
    domain: MICROSOFT,
    since: 1,
    lower: (call) => {
      const x = call.input(0);
      const bias = call.optional(1);
      return [
        operand(x.dtype, x.dims, (indices) => {
          const value = x.at(indices);
          if (bias === null) return activation(value);
          return activation(
            plus(value, bias.at(broadcastIndices(bias.dims, x.dims, indices))),
          );
        }),
      ];
    },
  };
}

/** https://onnx.ai/onnx/operators/ */
export const ACTIVATION_OPS: readonly OpRecord[] = [
  unary("Relu", 14, (x) => x.type === "u32" ? x : apply("max", x, constant(x.type, 0))),
  floatUnary("LeakyRelu", 16, (x, call) => leakyRelu(x, call.float("alpha", 0.01))),
  PRELU,
  floatUnary("Elu", 22, elu),
  floatUnary("Celu", 28, celu),
  floatUnary("Selu", 22, selu),
  floatUnary("ThresholdedRelu", 22, thresholdedRelu),
  CLIP,
  SHRINK,
  floatUnary(
    "HardSigmoid",
    22,
    (x, call) => hardSigmoid(x, call.float("alpha", 0.2), call.float("beta", 0.5)),
  ),
  floatUnary("HardSwish", 22, (x) => times(x, hardSigmoid(x, 1 / 6, 0.5))),
  floatUnary("Softplus", 22, softplus),
  floatUnary("Softsign", 22, (x) => over(x, plus(float(1), apply("abs", x)))),
  floatUnary("Mish", 22, (x) => times(x, apply("tanh", softplus(x)))),
  floatUnary(
    "Swish",
    24,
    (x, call) => swish(x, call.float("alpha", 1)),
  ),
  SWIGLU,
  CLAMPED_SWIGLU,
  GELU,
  floatUnary("Gelu", 1, gelu, MICROSOFT),
  biased("BiasGelu", gelu),
  biased("FastGelu", geluByTanh),
  floatUnary(
    "QuickGelu",
    1,
    (x, call) => swish(x, call.float("alpha", 1.702)),
    MICROSOFT,
  ),
];
