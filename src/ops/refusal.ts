/** Refusals of what an op of ONNX Runtime has that isn't compiled, so that none of it is passed over. */
import type { AttributeValue } from "../ir.ts";
import type { OpCall } from "./op.ts";

/** An attribute that asks for nothing. */
function isOff(value: AttributeValue): boolean {
  switch (value.type) {
    case "int":
      return value.value === 0n;
    case "float":
      return value.value === 0;
    case "string":
      return ["", "NONE"].includes(new TextDecoder().decode(value.value));
    default:
      return false;
  }
}

/**
 * Refuses attributes but `attributes` and inputs from `inputs` on: later versions of ONNX Runtime add
 * some to an op that keeps its version, and none may be passed over.
 */
export function refuseOthers(call: OpCall, attributes: readonly string[], inputs: number): void {
  for (const { name, value } of call.node.attributes) {
    if (!attributes.includes(name) && !isOff(value)) {
      call.fail(`its attribute "${name}" isn't compiled`);
    }
  }
  for (let i = inputs; i < call.inputCount; i++) {
    if (call.optional(i) !== null) call.fail(`its input ${i} isn't compiled`);
  }
}
