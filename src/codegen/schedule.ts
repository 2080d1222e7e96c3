/**
 * The schedule: which tensors are stored and which are computed where they are read, and so which
 * dispatches there are. It goes through the steps from last to first; when it comes to a tensor, all
 * that reads it stands fixed in {@link Unit}s, and the tensor is either put into them or made one.
 */
import {
  type Axis,
  axis,
  constant,
  fromAtom,
  fromInteger,
  load,
  multiply,
  ONE,
  rewrite,
  substitute,
  symbol,
  ZERO,
} from "../expr/mod.ts";
import { census } from "./cost.ts";
import { divided } from "./division.ts";
import { familyOf } from "./kernel_families.ts";
import type { Hook as KernelHook } from "./kernel_family.ts";
import type { Block, Program, Step, Tensor } from "./program.ts";
import {
  bodiesOf,
  type ExpressionUnit,
  flatOffset,
  type KernelUnit,
  resultsOf,
  type ScheduledBlock,
  type ScheduledStep,
  slotsOf,
  StoredValue,
  type Unit,
} from "./units.ts";
import { bindingCount } from "./weight_parts.ts";
import {
  inline,
  isOfKernel,
  isOfWeights,
  isView,
  reads,
  repeated,
  sharesRows,
  solved,
} from "./placement.ts";

/** Storage bindings of a dispatch at most, the result's included (WebGPU's default limit). */
const MOST_BINDINGS = 8;

/** Nodes of one kernel's values at most. */
const MOST_NODES = 400;

/** Work that may be done again rather than stored: in operations an element. */
const MOST_REPEATED = 24;

/** The extent of an index that nothing is known of. It is never printed. */
const UNBOUNDED = symbol("unbounded");

/** Elementwise steps that are followed back to a kernel file's result at most. */
const MOST_EPILOGUE_STEPS = 6;

/** A value so cheap is computed wherever it is read. */
const CHEAP = 4;

/** The schedule of a program of the model `path`. */
export function schedule(program: Program, path: string): ScheduledBlock {
  const scheduler = new Scheduler();
  scheduler.keep(program.outputs.map((output) => output.tensor));
  return divided(scheduler.block(program.block), MOST_BINDINGS, path);
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
    const isReadOften = readers.length > 1 || readers.some((unit) => reads(unit, tensor) > 1);
    if (isReadOften && this.#endsKernel(tensor, block)) return false;
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

  /**
   * True where `tensor`, stored, would be the epilogue of a kernel file whose result nothing else
   * reads: one of the two has to be stored.
   */
  #endsKernel(tensor: Tensor, block: Block, depth = MOST_EPILOGUE_STEPS): boolean {
    if (tensor.origin.kind !== "expression" || depth === 0) return false;
    const { cost, hasReduce, sources } = census(tensor.origin.body);
    if (hasReduce || (cost === 0 && depth === MOST_EPILOGUE_STEPS)) return false;
    const count = multiply(ONE, ...tensor.dims);
    return [...sources].some((source) => {
      if (source.block !== block || this.#isRead(source)) return false;
      if (multiply(ONE, ...source.dims) !== count) return false;
      const { origin } = source;
      if (origin.kind === "kernel") return Object.keys(origin.use.stores).length === 1;
      return this.#endsKernel(source, block, depth - 1);
    });
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
    if (bindingCount(held) > MOST_BINDINGS || size > MOST_NODES) return false;
    const hooks = unit.kind === "kernel"
      ? unit.loads.filter((hook) => census(hook.body).sources.has(tensor))
      : [];
    const inHook = hooks.length > 0;
    // Weights of a product are taken apart as they are read; those of a convolution, which are read
    // for each of many positions, only where that is one step.
    const isConstant = hooks.every(({ name }) => name === "b")
      ? isOfWeights(tensor)
      : !hasReduce && [...sources].every((source) => source.origin.kind === "weight");
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
        const type = family.stores.find((entry) => entry.name === hook)!.type ?? "f32";
        const given = new StoredValue(type === "Element" ? tensor.type : type, "value");
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
    if (bindingCount(held) > MOST_BINDINGS) return;
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
