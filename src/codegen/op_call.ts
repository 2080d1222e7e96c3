/** A call of an op in a graph that is being lowered: what {@link OpCall} promises its record. */
import type { DType } from "../dtype.ts";
import { InputError } from "../error.ts";
import { attribute, makeTensor, type Node } from "../ir.ts";
import { type Integer, toInteger, type Value } from "../expr/mod.ts";
import { symbol } from "../expr/integer.ts";
import { elementOf, integer } from "../expr/integer.ts";
import { load } from "../expr/value.ts";
import type { KernelUse, OpCall, Operand, Part } from "../ops/op.ts";
import { copiedElements, knownElements } from "./host_values.ts";
import type { Lowering } from "./lower.ts";
import { Names } from "./names.ts";
import { type Choice, HostDims, type HostStep, type Step, Tensor } from "./program.ts";

/** Integers that an op takes by one input at most: index arithmetic grows with the number of axes. */
const MOST_INTEGERS = 64;
/** Axes of a tensor at most. */
export const MOST_AXES = 16;

const TEXT = new TextDecoder();

/** A call of the op of `node` in the block that `lowering` is filling. */
export class NodeCall implements OpCall {
  readonly inputCount: number;
  readonly wanted: readonly boolean[];

  constructor(
    readonly node: Node,
    /** For messages and labels: the op and the node's number. */
    readonly label: string,
    readonly lowering: Lowering,
    readonly inputs: readonly (Tensor | null)[],
    readonly path: string,
    /** The values that the node sees. */
    readonly names: Names,
  ) {
    this.inputCount = inputs.length;
    this.wanted = node.outputs.map((name) => name !== "");
  }

  fail(reason: string, options?: ErrorOptions): never {
    const { node } = this;
    const name = node.name || node.outputs.find((output) => output !== "") || "";
    throw new InputError(
      `Cannot compile ${node.opType} "${name}" of "${this.path}": ${reason}.`,
      options,
    );
  }

  input(i: number): Operand {
    return this.optional(i) ?? this.fail(`input ${i} is missing`);
  }

  optional(i: number): Operand | null {
    return this.inputs[i] ?? null;
  }

  #tensorAt(i: number): Tensor {
    return this.inputs[i] ?? this.fail(`input ${i} is missing`);
  }

  elements(i: number): readonly Value[] {
    const tensor = this.#tensorAt(i);
    return knownElements(tensor) ?? copiedElements(tensor) ??
      this.fail(`the number of elements of input ${i} is not known before the model runs`);
  }

  integers(i: number): readonly Integer[] {
    const elements = this.elements(i);
    if (elements.length > MOST_INTEGERS) {
      this.fail(`input ${i} has ${elements.length} elements, more than any tensor has axes`);
    }
    return elements.map(toInteger);
  }

  constants(i: number): readonly number[] | null {
    const elements = this.inputs[i]?.elements;
    if (!elements) return null;
    const numbers: number[] = [];
    for (const element of elements) {
      if (element.kind !== "constant") return null;
      numbers.push(element.value);
    }
    return numbers;
  }

  uniform(i: number): number | null {
    for (let origin = this.inputs[i]?.origin; origin?.kind === "expression";) {
      const { body } = origin;
      if (body.kind === "constant") return body.value;
      if (body.kind !== "load" || !(body.source instanceof Tensor)) return null;
      origin = body.source.origin;
    }
    return null;
  }

  has(name: string): boolean {
    return attribute(this.node, name) !== undefined;
  }

  int(name: string, fallback: number): number {
    const value = attribute(this.node, name);
    return value?.type === "int" ? Number(value.value) : fallback;
  }

  float(name: string, fallback: number): number {
    const value = attribute(this.node, name);
    return value?.type === "float" ? value.value : fallback;
  }

  string(name: string, fallback: string): string {
    const value = attribute(this.node, name);
    return value?.type === "string" ? TEXT.decode(value.value) : fallback;
  }

  ints(name: string): readonly number[] | null {
    const value = attribute(this.node, name);
    return value?.type === "ints" ? value.value.map(Number) : null;
  }

  floats(name: string): readonly number[] | null {
    const value = attribute(this.node, name);
    return value?.type === "floats" ? value.value : null;
  }

  strings(name: string): readonly string[] | null {
    const value = attribute(this.node, name);
    return value?.type === "strings" ? value.value.map((text) => TEXT.decode(text)) : null;
  }

  tensor(name: string): Operand | null {
    const value = attribute(this.node, name);
    return value?.type === "tensor" ? this.lowering.constant(value.value) : null;
  }

  view(i: number, dtype: DType, dims: readonly number[]): Operand | null {
    const origin = this.inputs[i]?.origin;
    if (origin?.kind !== "weight") return null;
    return this.lowering.view(origin.initializer, dtype, dims);
  }

  table(dtype: "int32" | "float32", values: readonly number[]): Operand {
    const elements = dtype === "int32" ? Int32Array.from(values) : Float32Array.from(values);
    const bytes = new Uint8Array(elements.buffer);
    const data = { kind: "memory", bytes } as const;
    return this.lowering.constant(makeTensor("", dtype, [values.length], data));
  }

  stored(operand: Operand): Operand {
    const tensor = this.lowering.materialize(operand, this.label);
    tensor.storedForKernels = true;
    return tensor;
  }

  kernel<K extends string>(
    use: KernelUse & { readonly stores: Readonly<Record<K, unknown>> },
  ): Record<K, Operand> {
    const results = new Map<string, Tensor>();
    for (const [hook, store] of Object.entries(use.stores)) {
      results.set(
        hook,
        this.lowering.define(
          new Tensor(store.dtype, store.dims, { kind: "kernel", use, hook }),
          this.label,
        ),
      );
    }
    this.lowering.push({ kind: "kernel", use, results, label: this.label });
    return Object.fromEntries(results) as Record<K, Tensor>;
  }

  parts(dtype: DType, dims: readonly Integer[], parts: readonly Part[]): Operand {
    const tensor = this.lowering.define(
      new Tensor(dtype, dims, { kind: "parts", parts }),
      this.label,
    );
    this.lowering.push({ kind: "compute", tensor });
    return tensor;
  }

  host(
    name: string,
    inputs: readonly (Operand | null)[],
    settings: readonly (number | string | readonly number[])[],
    outputs: readonly { readonly dtype: DType; readonly rank: number }[],
  ): Operand[] {
    const step: HostStep = {
      kind: "host",
      name,
      inputs: inputs.map((input) =>
        input && this.lowering.activation(
          this.lowering.materialize(input, this.label),
          this.label,
        )
      ),
      settings,
      outputs: [],
      label: this.label,
    };
    for (const tensor of step.inputs) if (tensor !== null) tensor.hostRead = true;
    for (const [output, { dtype, rank }] of outputs.entries()) {
      const source = new HostDims(step, output, [integer(rank)]);
      const dims = Array.from(
        { length: rank },
        (_, k) => symbol("n", { definition: elementOf(load(source, [integer(k)])) }),
      );
      step.outputs.push(
        this.lowering.define(new Tensor(dtype, dims, { kind: "host", output }), this.label),
      );
    }
    this.lowering.push(step);
    return step.outputs;
  }

  graph(name: string, inputs: readonly Operand[]): readonly Operand[] | null {
    const value = attribute(this.node, name);
    if (value?.type !== "graph") return null;
    const graph = value.value;
    if (graph.inputs.length !== inputs.length) {
      this.fail(`its graph "${name}" takes ${graph.inputs.length} inputs, not ${inputs.length}`);
    }
    const inner = new Names(this.names);
    for (const [i, info] of graph.inputs.entries()) {
      inner.set(info.name, this.lowering.materialize(inputs[i]!, this.label));
    }
    this.lowering.graph(graph, inner);
    return graph.outputs.map((output) =>
      inner.get(output.name) ??
        this.fail(`its graph's output "${output.name}" is made by no node`)
    );
  }

  check(condition: Value, message: string, choice?: Choice): void {
    if (condition.kind === "constant") {
      if (condition.value === 0) this.fail(message);
      return;
    }
    const step: Step = {
      kind: "check",
      condition,
      message: `${this.label}: ${message}`,
      choice: choice ?? null,
    };
    this.lowering.push(step);
  }

  declaredRank(i: number): number | null {
    return this.lowering.declaredRank(this.node.outputs[i] ?? "");
  }
}
