/**
 * A model between lowering and printing: tensors, each given by what one element is, by a kernel
 * file, or by a function of the host, in blocks of steps that If and Loop nest.
 */
import type { DType } from "../dtype.ts";
import type { Node, Tensor as Initializer } from "../ir.ts";
import { type Axis, axis, type Integer, multiply } from "../expr/integer.ts";
import { freshId } from "../expr/interned.ts";
import { load, type Source, type Value } from "../expr/value.ts";
import type { Scalar } from "../expr/operations.ts";
import { asNumber } from "../expr/integer.ts";
import { type KernelUse, type Operand, type Part, scalarOf } from "../ops/op.ts";

/** Where the elements of a tensor come from. */
export type Origin =
  | { readonly kind: "input"; readonly index: number }
  /** A constant of the model, or a part of one, its bytes read as the tensor's dtype. */
  | {
    readonly kind: "weight";
    readonly initializer: Initializer;
    readonly part: WeightPart | null;
  }
  | { readonly kind: "expression"; readonly axes: readonly Axis[]; readonly body: Value }
  | { readonly kind: "parts"; readonly parts: readonly Part[] }
  | { readonly kind: "kernel"; readonly use: KernelUse; readonly hook: string }
  | { readonly kind: "host"; readonly output: number }
  /** Assigned by the branches of an If or the turns of a Loop. */
  | { readonly kind: "variable" };

/** The positions of a constant from `start` up to `end`, excluding it, along one axis. */
export interface WeightPart {
  readonly axis: number;
  readonly start: number;
  readonly end: number;
}

/** A constant that is too large for a binding: its parts lie one after another along an axis. */
export interface Cut {
  readonly axis: number;
  readonly parts: readonly {
    readonly tensor: Tensor;
    readonly start: number;
    readonly end: number;
  }[];
}

/** A tensor of the program. */
export class Tensor implements Operand, Source {
  readonly id: number = freshId();
  readonly type: Scalar;
  /** The elements, where they are known on the host: row-major. */
  elements: readonly Value[] | null = null;
  /** True where the host reads it back. */
  hostRead = false;
  /** True where its op asks that kernel files find it stored: they read each element often. */
  storedForKernels = false;
  /** The parts that it is stored in; null where it is stored whole. */
  cut: Cut | null = null;
  /** The op and the number of the node that it comes from, for labels and errors. */
  label = "";
  /** The block whose steps define it; null for inputs and constants. */
  block: Block | null = null;

  constructor(
    readonly dtype: DType,
    readonly dims: readonly Integer[],
    readonly origin: Origin,
  ) {
    this.type = scalarOf(dtype);
  }

  at(indices: readonly Integer[]): Value {
    if (this.elements !== null) {
      let offset = 0;
      for (const [i, index] of indices.entries()) {
        const [position, extent] = [asNumber(index), asNumber(this.dims[i]!)];
        if (position === null || extent === null) return load(this, indices);
        offset = offset * extent + position;
      }
      const element = this.elements[offset];
      if (element !== undefined) return element;
    }
    return load(this, indices);
  }
}

/** A tensor seen as one row of all its elements. */
export class FlatTensor implements Source {
  readonly id: number = freshId();
  readonly type: Scalar;
  readonly dims: readonly [Integer];
  constructor(readonly of: Tensor) {
    this.type = of.type;
    this.dims = [multiply(...of.dims)];
  }
}

/** The copy of a tensor on the host, flat. */
export class HostCopy implements Source {
  readonly id: number = freshId();
  readonly type: Scalar;
  constructor(readonly of: Tensor, readonly dims: readonly [Integer]) {
    this.type = of.type;
  }
}

/** The extents of an output of a host function. */
export class HostDims implements Source {
  readonly id: number = freshId();
  readonly type = "i32";
  constructor(
    readonly step: HostStep,
    readonly output: number,
    readonly dims: readonly [Integer],
  ) {}
}

/** A number of the host that is too long an expression to be looked into: it is computed once. */
export class HostScalar implements Source {
  readonly id: number = freshId();
  readonly type: Scalar;
  readonly dims: readonly Integer[] = [];
  constructor(readonly value: Value) {
    this.type = value.type;
  }
}

/** A number that branches or turns of a loop assign: an extent, or the number of the turn. */
export class Variable implements Source {
  readonly id: number = freshId();
  readonly type = "i32";
  readonly dims: readonly Integer[] = [];
}

/** A call of a host function. */
export interface HostStep {
  readonly kind: "host";
  readonly name: string;
  readonly inputs: readonly (Tensor | null)[];
  readonly settings: readonly (number | string | readonly number[])[];
  readonly outputs: Tensor[];
  readonly label: string;
}

/** A result of control flow: the tensor, and what of its extents is assigned with it. */
export interface Assigned {
  readonly tensor: Tensor;
  readonly dims: readonly (Variable | null)[];
}

/** What assigns an {@link Assigned}. */
export interface Assignment {
  readonly to: Assigned;
  readonly from: Tensor;
}

/**
 * An If whose branches give other ranks: a program takes one of them to the end, and one that takes
 * the other begins where the condition says so.
 */
export interface Choice {
  readonly node: Node;
  /** Number of the program that takes the second branch; null where there is none. */
  other: number | null;
  /** Why there is none. */
  reason: string | null;
}

/** One step of a block. */
export type Step =
  | { readonly kind: "compute"; readonly tensor: Tensor }
  | {
    readonly kind: "kernel";
    readonly use: KernelUse;
    readonly results: Map<string, Tensor>;
    label: string;
  }
  | HostStep
  | {
    readonly kind: "check";
    readonly condition: Value;
    readonly message: string;
    /** Where another program goes on if it fails; without one the run ends. */
    readonly choice: Choice | null;
  }
  | {
    readonly kind: "if";
    readonly condition: Value;
    readonly branches: readonly { readonly block: Block; readonly assign: readonly Assignment[] }[];
  }
  | {
    readonly kind: "loop";
    /** The op and the number of the node, for errors. */
    readonly label: string;
    /** Number of turns at most; null for no limit. */
    readonly trips: Value | null;
    /** Whether it begins. */
    readonly condition: Value | null;
    readonly turn: Variable;
    readonly block: Block;
    /** Before the first turn. */
    readonly start: readonly Assignment[];
    /** After every turn. */
    readonly next: readonly Assignment[];
    /** Whether it goes on, after a turn. */
    readonly goOn: Value | null;
    /** Tensors of each turn that are stored one after another. */
    readonly collected: readonly {
      readonly from: Tensor;
      readonly to: Tensor;
      /** Turns counted, the first extent of `to`. */
      readonly count: Variable;
      /** Extents of one turn's tensor that are known inside the loop only. */
      readonly dims: readonly (Variable | null)[];
      readonly reverse: boolean;
    }[];
  };

/** Steps in order. */
export interface Block {
  readonly steps: Step[];
  readonly parent: Block | null;
}

/** A whole model. */
export interface Program {
  readonly inputs: readonly {
    readonly name: string;
    readonly dims: readonly (number | string)[];
    readonly tensor: Tensor;
  }[];
  readonly outputs: readonly {
    readonly name: string;
    readonly dims: readonly (number | string | null)[];
    readonly tensor: Tensor;
  }[];
  readonly block: Block;
}

/** The axes over which an expression tensor of these extents is defined. */
export function outputAxes(dims: readonly Integer[]): readonly Axis[] {
  return dims.map((extent, i) => axis(`o${i}`, extent));
}
