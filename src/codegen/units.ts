/**
 * Units: the dispatches that a schedule is made of, and the values that each computes.
 */
import {
  add,
  type Axis,
  type Integer,
  multiply,
  ONE,
  type Source,
  type Value,
  ZERO,
} from "../expr/mod.ts";
import { freshId } from "../expr/interned.ts";
import type { Scalar } from "../expr/operations.ts";
import type { KernelUse } from "../ops/op.ts";
import type { Block, Step, Tensor } from "./program.ts";

/** A value that a function of a kernel's header is given as an argument. */
export class StoredValue implements Source {
  readonly id: number = freshId();
  readonly dims: readonly Integer[] = [];
  constructor(readonly type: Scalar, readonly name: string) {}
}

/** A function that a kernel file calls. */
export interface Hook {
  readonly name: string;
  readonly axes: readonly Axis[];
  body: Value;
}

/** A dispatch that stores elements of one tensor, each computed by itself or with its row. */
export interface ExpressionUnit {
  readonly kind: "expression";
  readonly label: string;
  readonly block: Block;
  readonly tensor: Tensor;
  readonly axes: readonly Axis[];
  /** Where an element lies, counted from the tensor's first. */
  offset: Value;
  body: Value;
  /** Where it holds, nothing is stored. */
  skip: Value;
}

/** A dispatch of a kernel file. */
export interface KernelUnit {
  readonly kind: "kernel";
  readonly label: string;
  readonly block: Block;
  readonly use: KernelUse;
  readonly loads: Hook[];
  readonly stores: {
    readonly hook: string;
    readonly axes: readonly Axis[];
    readonly given: StoredValue;
    place: readonly Integer[];
    tensor: Tensor;
    body: Value;
  }[];
}

/** A dispatch. */
export type Unit = ExpressionUnit | KernelUnit;

/** A scheduled block: dispatches in place of the steps that compute. */
export interface ScheduledBlock {
  readonly steps: ScheduledStep[];
}

/** A step after scheduling. */
export type ScheduledStep =
  | { readonly kind: "dispatch"; readonly unit: Unit }
  | Exclude<Step, { kind: "compute" | "kernel" | "if" | "loop" }>
  | (Omit<Extract<Step, { kind: "if" }>, "branches"> & {
    readonly branches: readonly {
      readonly block: ScheduledBlock;
      readonly assign: Extract<Step, { kind: "if" }>["branches"][number]["assign"];
    }[];
  })
  | (Omit<Extract<Step, { kind: "loop" }>, "block"> & { readonly block: ScheduledBlock });

/** The values of a unit. */
export function bodiesOf(unit: Unit): Value[] {
  return slotsOf(unit).map(([body]) => body);
}

/** The tensors that a unit stores. */
export function resultsOf(unit: Unit): Tensor[] {
  return unit.kind === "expression" ? [unit.tensor] : unit.stores.map((store) => store.tensor);
}

/** The values of a unit, and what sets each. */
export function slotsOf(unit: Unit): [Value, (value: Value) => void][] {
  if (unit.kind === "expression") {
    return [
      [unit.body, (value) => unit.body = value],
      [unit.skip, (value) => unit.skip = value],
      [unit.offset, (value) => unit.offset = value],
    ];
  }
  return [
    ...unit.loads.map((hook): [Value, (value: Value) => void] => [
      hook.body,
      (value) => hook.body = value,
    ]),
    ...unit.stores.map((store): [Value, (value: Value) => void] => [
      store.body,
      (value) => store.body = value,
    ]),
  ];
}

/** Where the element at `indices` lies in a row-major tensor of `dims`. */
export function flatOffset(dims: readonly Integer[], indices: readonly Integer[]): Integer {
  let stride: Integer = ONE;
  let offset: Integer = ZERO;
  for (let i = dims.length - 1; i >= 0; i--) {
    offset = add(offset, multiply(indices[i]!, stride));
    stride = multiply(stride, dims[i]!);
  }
  return offset;
}
