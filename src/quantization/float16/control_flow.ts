/** What the bodies of If, Loop and Scan share with their node: types, as slots of the node. */
import { intAttribute } from "../../ir.ts";
import {
  FLOATS,
  lookUp,
  make,
  type NodeVariable,
  NONE,
  type Operation,
  read,
} from "./typed_graph.ts";

/**
 * Adds to `operation` the slots at which its bodies take and give values. If: an output and the
 * branches' outputs share a variable. Loop and Scan: an input, the body's input, and, where it is
 * carried over, the body's output and the node's output share one. Bodies of other operators keep
 * the types at their borders.
 */
export function connectBodies(operation: Operation): void {
  const { node, bodies, slots } = operation;
  const inputVariable = (index: number) => slots.find((slot) => slot.input === index)?.variable;
  const outputVariable = (index: number) => {
    const name = node.outputs[index];
    if (name === undefined || name === "") return undefined;
    return slots.find((slot) =>
      slot.role === "make" && slot.value.name === name && slot.value.scope === operation.scope
    )?.variable;
  };
  const unbound = (): NodeVariable => ({
    dtype: null,
    container: false,
    fixed: false,
    floats: FLOATS,
    slots: [],
  });
  const standard = node.domain === "" ? node.opType : "";

  for (const body of bodies) {
    const { inputs, outputs } = body.graph;
    const shift = standard === "Loop" ? 1 : 0;
    const first = standard === "Scan" && scanHasLengths(operation) ? 1 : 0;
    const others = standard === "Loop"
      ? 2
      : standard === "Scan"
      ? Math.max(0, intAttribute(node, "num_scan_inputs", 0))
      : inputs.length;
    const carried = Math.max(0, inputs.length - others);

    // A carried value is one variable: the node's input gives way to the node's output.
    const carriedVariables = Array.from({ length: carried }, (_, k) => {
      const argument = inputVariable(standard === "Loop" ? k + 2 : k + first);
      const result = outputVariable(k);
      return argument !== undefined && result !== undefined
        ? merge(operation, argument, result)
        : argument ?? result ?? unbound();
    });

    inputs.forEach((info, index) => {
      const value = body.values.get(info.name);
      if (value === undefined || value.tensor !== null) return;
      let variable: NodeVariable | undefined;
      if (standard === "Loop") {
        variable = index < 2 ? undefined : carriedVariables[index - 2];
      } else if (standard === "Scan") {
        variable = index < carried ? carriedVariables[index] : inputVariable(index + first);
      }
      variable ??= { ...unbound(), fixed: true, floats: NONE, dtype: value.dtype };
      slots.push(make(value, operation, variable, () => {}));
    });

    outputs.forEach((info, index) => {
      const value = lookUp(body, info.name);
      if (value === null) return;
      let variable: NodeVariable | undefined;
      if (standard === "If") variable = outputVariable(index) ?? unbound();
      else if (standard === "Loop" && index >= 1) {
        variable = carriedVariables[index - shift] ?? outputVariable(index - shift) ?? unbound();
      } else if (standard === "Scan") {
        variable = carriedVariables[index] ?? outputVariable(index) ?? unbound();
      }
      variable ??= { ...unbound(), fixed: true, floats: NONE, dtype: info.dtype };
      slots.push(
        read(value, operation, variable, -1, (name) => {
          info.name = name;
        }),
      );
    });
  }
}

/** Scan had an optional first input, the lengths of the sequences, only in its first version. */
function scanHasLengths({ node, bodies }: Operation): boolean {
  return node.inputs.length === (bodies[0]?.graph.inputs.length ?? 0) + 1;
}

/** Makes the slots of `other` slots of `variable`. */
function merge(operation: Operation, variable: NodeVariable, other: NodeVariable): NodeVariable {
  if (variable === other) return variable;
  for (const slot of other.slots) {
    variable.slots.push(slot);
    slot.variable = variable;
  }
  other.slots.length = 0;
  variable.dtype ??= other.dtype;
  operation.variables.delete(other);
  return variable;
}
