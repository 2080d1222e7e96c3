/**
 * The schedule: which tensors are stored and which are computed where they are read, and so which
 * dispatches there are. It goes through the steps from last to first; when it comes to a tensor, all
 * that reads it stands fixed in {@link Unit}s, and the tensor is either put into them or made one.
 */
import {
  add,
  asAtom,
  asNumber,
  type Axis,
  axis,
  constant,
  divide,
  fromAtom,
  fromInteger,
  fromTerm,
  type Integer,
  load,
  modulo,
  multiply,
  ONE,
  partsOf,
  rewrite,
  type Source,
  substitute,
  symbol,
  type Value,
  ZERO,
} from "../expr/mod.ts";
import { freshId } from "../expr/integer.ts";
import type { Scalar } from "../expr/operations.ts";
import type { KernelUse } from "../ops/op.ts";
import { census, estimateCount, occurrences } from "./cost.ts";
import { familyOf, type Hook as KernelHook } from "./kernels.ts";
import { type Block, type Program, type Step, Tensor } from "./program.ts";

/** Storage bindings of a dispatch at most, the result's included (WebGPU's default limit). */
const MOST_BINDINGS = 8;
/** Nodes of one kernel's values at most. */
const MOST_NODES = 400;
/** Work that may be done again rather than stored: in operations an element. */
const MOST_REPEATED = 24;
/** The extent of an index that nothing is known of. It is never printed. */
const UNBOUNDED = symbol("unbounded");
/** A value so cheap is computed wherever it is read. */
const CHEAP = 4;

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

/** The schedule of a program. */
export function schedule(program: Program): ScheduledBlock {
  const scheduler = new Scheduler();
  scheduler.keep(program.outputs.map((output) => output.tensor));
  const block = scheduler.block(program.block);
  return block;
}

class Scheduler {
  /** Tensors that must be stored whatever reads them. */
  readonly #kept = new Set<Tensor>();
  /** The units that load a tensor now. */
  readonly #readers = new Map<Tensor, Set<Unit>>();
  /** Kernels that write straight into the tensor that an elementwise step made of their result. */
  readonly #moved = new Map<Tensor, KernelUnit>();

  keep(tensors: readonly (Tensor | null)[]): void {
    for (const tensor of tensors) if (tensor !== null) this.#kept.add(tensor);
  }

  /** Schedules a block from its last step to its first. */
  block(block: Block): ScheduledBlock {
    const steps: ScheduledStep[] = [];
    for (const step of [...block.steps].reverse()) {
      const made = this.#step(step, block);
      steps.push(...made);
    }
    steps.reverse();
    return { steps: steps.map((step) => this.#withEpilogue(step)).filter((step) => step !== null) };
  }

  #step(step: Step, block: Block): ScheduledStep[] {
    switch (step.kind) {
      case "compute":
        return this.#compute(step.tensor, block).reverse()
          .map((unit) => ({ kind: "dispatch", unit }));
      case "kernel":
        return this.#kernel(step, block);
      case "host":
        if (!step.outputs.some((tensor) => this.#isRead(tensor) || tensor.dims.length > 0)) {
          return [];
        }
        this.keep(step.inputs);
        return [step];
      case "check":
        return [step];
      case "if": {
        for (const branch of step.branches) this.keep(branch.assign.map(({ from }) => from));
        const branches = step.branches.map((branch) => ({
          ...branch,
          block: this.block(branch.block),
        }));
        return [{ ...step, branches }];
      }
      case "loop": {
        this.keep(step.next.map(({ from }) => from));
        this.keep(step.collected.map(({ from }) => from));
        const block = this.block(step.block);
        this.keep(step.start.map(({ from }) => from));
        return [{ ...step, block }];
      }
    }
  }

  #isRead(tensor: Tensor): boolean {
    return tensor.hostRead || this.#kept.has(tensor) || (this.#readers.get(tensor)?.size ?? 0) > 0;
  }

  /** Notes what `unit` loads. */
  #note(unit: Unit): void {
    for (const body of bodiesOf(unit)) {
      for (const source of census(body).sources) {
        let readers = this.#readers.get(source);
        if (readers === undefined) this.#readers.set(source, readers = new Set());
        readers.add(unit);
      }
    }
  }

  #compute(tensor: Tensor, block: Block): Unit[] {
    if (!this.#isRead(tensor)) return [];
    if (tensor.origin.kind === "parts") {
      const units = tensor.origin.parts.map((part): ExpressionUnit => {
        const axes = part.extents.map((extent, i) => axis(`o${i}`, extent));
        const position = axes.map(fromAtom);
        return {
          kind: "expression",
          label: tensor.label,
          block,
          tensor,
          axes,
          offset: fromInteger(flatOffset(tensor.dims, part.place(position))),
          body: part.value(position),
          skip: part.skip?.(position) ?? constant("bool", 0),
        };
      });
      for (const unit of units) this.#note(unit);
      return units;
    }
    if (tensor.origin.kind !== "expression") throw new Error("a computed tensor has no expression");
    if (this.#inlined(tensor, block)) return [];
    const { axes, body } = tensor.origin;
    const unit: ExpressionUnit = {
      kind: "expression",
      label: tensor.label,
      block,
      tensor,
      axes,
      offset: fromInteger(flatOffset(tensor.dims, axes.map(fromAtom))),
      body,
      skip: constant("bool", 0),
    };
    this.#note(unit);
    return [unit];
  }

  /** Puts `tensor` into all that read it, where that pays; true where it is gone then. */
  #inlined(tensor: Tensor, block: Block): boolean {
    if (tensor.hostRead || this.#kept.has(tensor)) return false;
    const readers = [...this.#readers.get(tensor) ?? []];
    if (!readers.every((unit) => this.#fits(tensor, block, unit, readers.length))) return false;
    for (const unit of readers) {
      for (const [body, replace] of slotsOf(unit)) {
        if (census(body).sources.has(tensor)) replace(inline(body, tensor));
      }
      this.#note(unit);
    }
    this.#readers.delete(tensor);
    return true;
  }

  #fits(tensor: Tensor, block: Block, unit: Unit, readers: number): boolean {
    if (tensor.origin.kind !== "expression") return false;
    const { cost, hasReduce, sources, nodes } = census(tensor.origin.body);
    const held = new Set<Tensor>();
    let size = nodes;
    for (const body of bodiesOf(unit)) {
      const own = census(body);
      size += own.nodes;
      for (const source of own.sources) held.add(source);
    }
    held.delete(tensor);
    for (const source of sources) held.add(source);
    for (const result of resultsOf(unit)) held.add(result);
    if (held.size > MOST_BINDINGS || size > MOST_NODES) return false;
    const isConstant = !hasReduce &&
      [...sources].every((source) => source.origin.kind === "weight");
    const inHook = unit.kind === "kernel" &&
      unit.loads.some((hook) => census(hook.body).sources.has(tensor));
    if (inHook && tensor.storedForKernels) return false;
    // What a kernel file gave is rearranged where that stores it, rather than at every load.
    if (!hasReduce && inHook) {
      return isConstant || cost === 0 || (isView(tensor) && !isOfKernel(tensor));
    }
    if (!hasReduce && (cost <= CHEAP)) return true;
    if (readers > 1 || unit.block !== block || inHook) return false;
    if (hasReduce) return unit.kind === "expression" && sharesRows(unit, tensor);
    return repeated(unit, tensor) * cost <= MOST_REPEATED;
  }

  #kernel(step: Extract<Step, { kind: "kernel" }>, block: Block): ScheduledStep[] {
    const results = [...step.results];
    if (!results.some(([, tensor]) => this.#isRead(tensor))) return [];
    const family = familyOf(step.use.core);
    const axesOf = (hooks: readonly KernelHook[], name: string): Axis[] => {
      const hook = hooks.find((entry) => entry.name === name);
      if (hook === undefined) throw new Error(`${family.name} has no hook "${name}"`);
      return hook.indices.map((index) =>
        axis(index, step.use.sizes[family.extents[index]!] ?? UNBOUNDED)
      );
    };
    const unit: KernelUnit = {
      kind: "kernel",
      label: step.label,
      block,
      use: step.use,
      loads: Object.entries(step.use.loads).map(([name, body]) => {
        const axes = axesOf(family.loads, name);
        return { name, axes, body: body(axes.map(fromAtom)) };
      }),
      stores: results.map(([hook, tensor]) => {
        const axes = axesOf(family.stores, hook);
        const type = family.stores.find((entry) => entry.name === hook)!.type;
        const given = new StoredValue(type === "i32" || type === "u32" ? type : "f32", "value");
        return {
          hook,
          axes,
          given,
          place: step.use.stores[hook]!.place(axes.map(fromAtom)),
          tensor,
          body: load(given, []),
        };
      }),
    };
    const [store] = unit.stores;
    if (unit.stores.length === 1) this.#fuseEpilogue(unit, store!);
    this.#note(unit);
    return this.#moved.has(store!.tensor) ? [] : [{ kind: "dispatch", unit }];
  }

  /** Lets `unit` store what an elementwise step makes of its result. */
  #fuseEpilogue(unit: KernelUnit, store: KernelUnit["stores"][number]): void {
    const { tensor } = store;
    if (tensor.hostRead || this.#kept.has(tensor)) return;
    const [reader, more] = this.#readers.get(tensor) ?? [];
    if (reader?.kind !== "expression" || more !== undefined || reader.block !== unit.block) return;
    const { hasReduce, sources } = census(reader.body);
    const isWhole = reader.tensor.origin.kind === "expression" && !this.#moved.has(reader.tensor);
    if (hasReduce || !isWhole) return;
    const at = solved(reader, tensor, store.place);
    if (at === null) return;
    const held = new Set<Tensor>([...sources, reader.tensor]);
    for (const hook of unit.loads) for (const source of census(hook.body).sources) held.add(source);
    held.delete(tensor);
    if (held.size > MOST_BINDINGS) return;
    const body = rewrite(substitute(reader.body, at), {
      load: (source) => source === tensor ? load(store.given, []) : null,
    });
    store.body = body;
    store.tensor = reader.tensor;
    store.place = reader.axes.map((entry) => at.get(entry) ?? ZERO);
    for (const readers of this.#readers.values()) readers.delete(reader);
    this.#moved.set(reader.tensor, unit);
  }

  /** A step that a kernel took over becomes that kernel. */
  #withEpilogue(step: ScheduledStep): ScheduledStep | null {
    if (step.kind !== "dispatch" || step.unit.kind !== "expression") return step;
    const kernel = this.#moved.get(step.unit.tensor);
    return kernel === undefined ? step : { kind: "dispatch", unit: kernel };
  }
}

/** True where `tensor` only rearranges another. */
function isView(tensor: Tensor): boolean {
  return tensor.origin.kind === "expression" && tensor.origin.body.kind === "load";
}

/** True where `tensor` is the result of a kernel file, perhaps rearranged. */
function isOfKernel(tensor: Tensor): boolean {
  if (tensor.origin.kind === "kernel") return true;
  if (tensor.origin.kind !== "expression" || tensor.origin.body.kind !== "load") return false;
  const { source } = tensor.origin.body;
  return source instanceof Tensor && isOfKernel(source);
}

/**
 * Where `reader` computes from the element of `tensor` at `place`: its axes in terms of those of
 * `place`, where it reads every element once, each index a mixed-radix number of its own axes (the
 * same place, a transposition, a split into heads). Else null.
 */
function solved(
  reader: ExpressionUnit,
  tensor: Tensor,
  place: readonly Integer[],
): Map<Axis, Integer> | null {
  const found = occurrences(reader.body, tensor);
  const [first] = found;
  if (first === undefined) return null;
  if (!found.every(({ indices }) => indices.every((index, i) => index === first.indices[i]))) {
    return null;
  }
  const at = new Map<Axis, Integer>();
  const parts = new Map<Axis, { div?: number; mod?: number; by: Integer }>();
  for (const [i, index] of first.indices.entries()) {
    if (index.constant !== 0) return null;
    const atom = asAtom(index);
    if (atom?.kind === "div" || atom?.kind === "mod") {
      const own = asAtom(atom.a);
      if (own?.kind !== "axis" || !reader.axes.includes(own)) return null;
      const known = parts.get(own);
      if (known !== undefined && (known.by !== atom.b || known[atom.kind] !== undefined)) {
        return null;
      }
      parts.set(own, { ...known, by: atom.b, [atom.kind]: i });
      continue;
    }
    const strides = new Map<Integer, Axis>();
    for (const { coefficient, factors } of index.terms) {
      const [own, more] = factors.filter((factor) => factor.kind === "axis");
      if (own?.kind !== "axis" || more !== undefined || !reader.axes.includes(own)) return null;
      const rest = factors.filter((factor) => factor !== own);
      strides.set(fromTerm({ coefficient, factors: rest }), own);
    }
    let stride: Integer = ONE;
    for (let left = strides.size; left > 0; left--) {
      const own = strides.get(stride);
      if (own === undefined || at.has(own)) return null;
      const quotient = divide(place[i]!, stride);
      at.set(own, left === 1 ? quotient : modulo(quotient, own.extent));
      stride = multiply(stride, own.extent);
    }
    if (stride !== tensor.dims[i]) return null;
  }
  for (const [own, { div, mod, by }] of parts) {
    if (div === undefined || mod === undefined || at.has(own) || tensor.dims[mod] !== by) {
      return null;
    }
    if (multiply(tensor.dims[div]!, by) !== own.extent) return null;
    at.set(own, add(multiply(place[div]!, by), place[mod]!));
  }
  const all = reader.axes.every((entry) => at.has(entry) || asNumber(entry.extent) === 1);
  return all ? at : null;
}

/** The values of a unit. */
export function bodiesOf(unit: Unit): Value[] {
  return slotsOf(unit).map(([body]) => body);
}

/** The tensors that a unit stores. */
export function resultsOf(unit: Unit): Tensor[] {
  return unit.kind === "expression" ? [unit.tensor] : unit.stores.map((store) => store.tensor);
}

/** The values of a unit, and what sets each. */
function slotsOf(unit: Unit): [Value, (value: Value) => void][] {
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

/** `body` with `tensor` computed where it was loaded. */
function inline(body: Value, tensor: Tensor): Value {
  if (tensor.origin.kind !== "expression") throw new Error("only expressions can be inlined");
  const { axes, body: made } = tensor.origin;
  return rewrite(body, {
    load: (source, indices) =>
      source === tensor
        ? substitute(made, new Map(axes.map((entry, i) => [entry, indices[i]!])))
        : null,
  });
}

/**
 * True where `unit` reads `tensor`, which is reduced, at one element a row: at some of its own axes,
 * the same ones as its other reductions, so that each element is computed once.
 */
function sharesRows(unit: ExpressionUnit, tensor: Tensor): boolean {
  const found = occurrences(unit.body, tensor);
  const [first] = found;
  if (first === undefined) return false;
  const same = found.every(({ indices }) =>
    indices.every((index, i) => index === first.indices[i])
  );
  if (!same) return false;
  const rows = new Set<Axis>();
  for (const [i, index] of first.indices.entries()) {
    if (index.terms.length === 0) continue;
    const atom = asAtom(index);
    if (atom?.kind !== "axis" || !unit.axes.includes(atom) || rows.has(atom)) return false;
    if (atom.extent !== tensor.dims[i]) return false;
    rows.add(atom);
  }
  return reductionRows(unit.body).every((axes) =>
    axes.length === rows.size && axes.every((entry) => rows.has(entry))
  );
}

/** The axes that each reduction in `body` depends on. */
export function reductionRows(body: Value): (readonly Axis[])[] {
  const found: (readonly Axis[])[] = [];
  const seen = new Set<number>();
  const visit = (value: Value): void => {
    if (seen.has(value.id) || !census(value).hasReduce) return;
    seen.add(value.id);
    if (value.kind === "reduce") found.push(value.axes);
    else for (const part of partsOf(value)) visit(part);
  };
  visit(body);
  return found;
}

/** How much oftener than once an element of `tensor` would be computed inside `unit`. */
function repeated(unit: Unit, tensor: Tensor): number {
  const count = estimateCount(tensor.dims);
  let total = 0;
  for (const body of bodiesOf(unit)) {
    for (const { around } of occurrences(body, tensor)) {
      const own = unit.kind === "expression" ? unit.axes : unit.stores[0]!.axes;
      total += estimateCount([...own, ...around].map((entry) => entry.extent)) / count;
    }
  }
  return Math.max(0, total - 1);
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
