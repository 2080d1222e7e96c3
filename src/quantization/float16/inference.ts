/** Type inference: the variables of nodes and the values at their slots bind each other. */
import { imitatedInput } from "./output_types.ts";
import { allOperations, type Operation, type Scope } from "./typed_graph.ts";

/** Binds variables and values to each other until nothing changes. */
export function infer(scope: Scope): void {
  for (let changed = true; changed;) {
    changed = false;
    for (const operation of allOperations(scope)) changed = inferAt(operation) || changed;
  }
}

/** Binds the variables and values of one operation to each other; whether anything changed. */
export function inferAt(operation: Operation): boolean {
  let changed = false;
  for (const variable of operation.variables) {
    for (const { value } of variable.slots) {
      if (variable.dtype === null && value.dtype !== null) {
        variable.dtype = value.dtype;
        changed = true;
      }
      if (value.container && !variable.container && !variable.fixed) {
        variable.container = true;
        changed = true;
      }
    }
    for (const { value, role } of variable.slots) {
      if (value.dtype === null && variable.dtype !== null) {
        value.dtype = variable.dtype;
        changed = true;
      }
      if (role === "make" && variable.container && !value.container) {
        value.container = true;
        changed = true;
      }
    }
  }
  return sameElements(operation) || changed;
}

/** Rules that cross variables: wrapped elements, and types that default to the first input's. */
function sameElements(operation: Operation): boolean {
  const { node, slots } = operation;
  const imitated = imitatedInput(node);
  if (imitated === null) return false;
  const source = slots.find((slot) => slot.input === imitated)?.value.dtype ?? null;
  if (source === null) return false;
  let changed = false;
  for (const { role, variable, value } of slots) {
    if (role === "make" && variable.dtype === null && value.dtype === null) {
      variable.dtype = source;
      changed = true;
    }
  }
  return changed;
}
