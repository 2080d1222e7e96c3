/** The activation that onnxruntime's fused ops name in an attribute. */
import { apply, constant, select, type Value } from "../expr/value.ts";
import { clamp, float, plus, sigmoid, times } from "./arithmetic.ts";
import type { OpCall } from "./op.ts";

/** The parameters of FusedConv's `activation_params`, or FusedGemm's `activation_alpha` and so on. */
function parameter(call: OpCall, i: number, fallback: number): number {
  const name = ["activation_alpha", "activation_beta", "activation_gamma"][i]!;
  return call.floats("activation_params")?.[i] ?? call.float(name, fallback);
}

/** What the attribute `activation` of `call` names; nothing where it is missing. */
export function activationByName(call: OpCall): (value: Value) => Value {
  const name = call.string("activation", "");
  const zero = constant("f32", 0);
  switch (name) {
    case "":
      return (value) => value;
    case "Relu":
      return (value) => apply("max", value, zero);
    case "Tanh":
      return (value) => apply("tanh", value);
    case "Sigmoid":
      return sigmoid;
    case "LeakyRelu": {
      const alpha = float(parameter(call, 0, 0.01));
      return (value) => select(apply("less", value, zero), times(alpha, value), value);
    }
    case "Clip": {
      const [least, greatest] = [parameter(call, 0, -3.4e38), parameter(call, 1, 3.4e38)];
      return (value) => clamp(value, float(least), float(greatest));
    }
    case "HardSigmoid": {
      const [alpha, beta] = [parameter(call, 0, 0.2), parameter(call, 1, 0.5)];
      return (value) => clamp(plus(times(float(alpha), value), float(beta)), zero, float(1));
    }
    default:
      return call.fail(`the activation "${name}" is not known`);
  }
}
