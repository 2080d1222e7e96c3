/**
 * Runs a lowered program element by element by {@link Evaluation}: what ops mean, without schedule,
 * printer or GPU. Of kernel files only the sort and the scan are run, and no control flow.
 */
import * as host from "../../src/codegen/runtime/host.js";
import { FlatTensor, HostCopy, HostDims, type Program, Tensor } from "../../src/codegen/program.ts";
import { isHostValue } from "../../src/codegen/host_values.ts";
import {
  type Axis,
  axis,
  constant,
  fromAtom,
  type Integer,
  type Source,
} from "../../src/expr/mod.ts";
import type { KernelUse, Part } from "../../src/ops/op.ts";
import { Evaluation } from "./evaluate.ts";

/** A tensor in memory: numbers, row-major; a truth value is 0 or 1. */
export interface Dense {
  readonly dims: readonly number[];
  readonly data: ArrayLike<number>;
}

/** A refusal of the program at run time. */
export class Refusal extends Error {}

/** What the program does not support here. */
export class NotRun extends Error {}

type HostFunction = (
  inputs: readonly (Dense | null)[],
  settings: readonly (number | string | readonly number[])[],
) => Dense[];

/** Runs `program` on its inputs by name; gives its outputs by name. */
export function interpret(
  program: Program,
  inputs: ReadonlyMap<string, Dense>,
  elements: (tensor: Tensor) => ArrayLike<number>,
): Map<string, Dense> {
  return new Interpreter(program, inputs, elements).run();
}

class Interpreter {
  readonly #symbols = new Map<string, number>();
  readonly #known = new Map<Tensor, Dense>();
  readonly #given: ReadonlyMap<string, Dense>;
  readonly #evaluation: Evaluation;

  constructor(
    readonly program: Program,
    inputs: ReadonlyMap<string, Dense>,
    readonly weights: (tensor: Tensor) => ArrayLike<number>,
  ) {
    this.#given = inputs;
    this.#evaluation = new Evaluation({
      symbol: (name) => {
        const value = this.#symbols.get(name);
        if (value === undefined) throw new Error(`symbol ${name} is not bound`);
        return value;
      },
      load: (source, indices) => this.#load(source, indices),
    });
  }

  run(): Map<string, Dense> {
    for (const { name, dims, tensor } of this.program.inputs) {
      const value = this.#given.get(name);
      if (value === undefined) throw new NotRun(`input ${name} is not given`);
      for (const [i, dim] of dims.entries()) {
        if (typeof dim === "string") this.#symbols.set(dim, value.dims[i]!);
      }
      this.#known.set(tensor, value);
    }
    for (const step of this.program.block.steps) {
      if (step.kind === "check") {
        if (!isHostValue(step.condition)) throw new Error("a check is no host value");
        if (this.#evaluation.value(step.condition) === 0) throw new Refusal(step.message);
      } else if (step.kind === "host") {
        const call = (host as unknown as Record<string, HostFunction>)[step.name]!;
        const results = call(
          step.inputs.map((tensor) => tensor && this.#tensor(tensor)),
          step.settings,
        );
        step.outputs.forEach((tensor, i) => this.#known.set(tensor, results[i]!));
      } else if (step.kind !== "compute" && step.kind !== "kernel") {
        throw new NotRun(`a step of ${step.kind}`);
      }
    }
    return new Map(
      this.program.outputs.map(({ name, tensor }) => [name, this.#tensor(tensor)]),
    );
  }

  #dims(tensor: Tensor | Source): number[] {
    return tensor.dims.map((extent: Integer) => this.#evaluation.integer(extent));
  }

  #load(source: Source, indices: readonly number[]): number {
    if (source instanceof HostCopy || source instanceof FlatTensor) {
      return this.#tensor(source.of).data[indices[0]!]!;
    }
    if (source instanceof HostDims) {
      return this.#tensor(source.step.outputs[source.output]!).dims[indices[0]!]!;
    }
    if (!(source instanceof Tensor)) throw new NotRun("a variable");
    const { dims, data } = this.#tensor(source);
    return data[indices.reduce((flat, index, i) => flat * dims[i]! + index, 0)]!;
  }

  #tensor(tensor: Tensor): Dense {
    let known = this.#known.get(tensor);
    if (known === undefined) this.#known.set(tensor, known = this.#computed(tensor));
    return known;
  }

  #computed(tensor: Tensor): Dense {
    const dims = this.#dims(tensor);
    const { origin } = tensor;
    if (origin.kind === "weight") return { dims, data: this.weights(tensor) };
    const count = dims.reduce((a, b) => a * b, 1);
    if (tensor.elements !== null && count === tensor.elements.length) {
      return { dims, data: tensor.elements.map((element) => this.#evaluation.value(element)) };
    }
    const data = new Float64Array(count);
    if (origin.kind === "expression") {
      const { axes, body } = origin;
      for (const [flat, positions] of positionsOf(dims)) {
        const places = new Map<Axis, number>(axes.map((axis, i) => [axis, positions[i]!]));
        data[flat] = this.#evaluation.at(places).value(body);
      }
      return { dims, data };
    }
    if (origin.kind === "kernel" && origin.use.core === "sort") {
      this.#sort(origin.use, dims, data);
      return { dims, data };
    }
    if (origin.kind === "kernel" && origin.use.core === "scan") {
      this.#scan(origin.use, tensor, dims, data);
      return { dims, data };
    }
    if (origin.kind !== "parts") throw new NotRun(`a tensor of ${origin.kind}`);
    data.fill(NaN);
    for (const part of origin.parts) this.#store(part, dims, data);
    return { dims, data };
  }

  /** What the kernel files of the family "sort" do. */
  #sort(use: KernelUse, dims: readonly number[], data: Float64Array): void {
    const [rows, length, kept] = ["rows", "length", "kept"].map((name) => use.sizes[name]!);
    const [row, i, rank] = [axis("row", rows!), axis("i", length!), axis("rank", kept!)];
    const key = use.loads["key"]!([fromAtom(row), fromAtom(i)]);
    const place = use.stores["store"]!.place([fromAtom(row), fromAtom(rank)]);
    for (let r = 0; r < this.#evaluation.integer(rows!); r++) {
      const keys = Float64Array.from(
        { length: this.#evaluation.integer(length!) },
        (_, k) => this.#evaluation.at(new Map([[row, r], [i, k]])).value(key),
      );
      const order = Array.from(keys.keys()).sort((a, b) => keys[a]! - keys[b]! || a - b);
      for (let k = 0; k < this.#evaluation.integer(kept!); k++) {
        const here = this.#evaluation.at(new Map([[row, r], [rank, k]]));
        const indices = place.map((index) => here.integer(index));
        data[indices.reduce((flat, index, d) => flat * dims[d]! + index, 0)] = order[k]!;
      }
    }
  }

  /** What the kernel files of the family "scan" do. */
  #scan(use: KernelUse, { type }: Tensor, dims: readonly number[], data: Float64Array): void {
    const [rows, length] = [use.sizes["rows"]!, use.sizes["length"]!];
    const [row, i] = [axis("row", rows), axis("i", length)];
    const x = use.loads["x"]!([fromAtom(row), fromAtom(i)]);
    const place = use.stores["store"]!.place([fromAtom(row), fromAtom(i)]);
    const { combined, neutral } = use.functions!;
    const [isExclusive, isReverse] = ["EXCLUSIVE", "REVERSE"].map((name) => use.constants![name]);
    const count = this.#evaluation.integer(length);
    for (let r = 0; r < this.#evaluation.integer(rows); r++) {
      let sum = this.#evaluation.value(neutral!([]));
      for (let k = 0; k < count; k++) {
        const here = this.#evaluation.at(
          new Map([[row, r], [i, isReverse === 1 ? count - 1 - k : k]]),
        );
        const both = [sum, here.value(x)].map((value) => constant(type, value));
        const next = this.#evaluation.value(combined!(both));
        const indices = place.map((index) => here.integer(index));
        data[indices.reduce((flat, index, d) => flat * dims[d]! + index, 0)] = isExclusive === 1
          ? sum
          : next;
        sum = next;
      }
    }
  }

  #store(part: Part, dims: readonly number[], data: Float64Array): void {
    const axes = part.extents.map((extent, i) => axis(`q${i}`, extent));
    const positions = axes.map(fromAtom);
    const [place, value] = [part.place(positions), part.value(positions)];
    const skip = part.skip?.(positions);
    for (const [, at] of positionsOf(part.extents.map((e) => this.#evaluation.integer(e)))) {
      const here = this.#evaluation.at(new Map(axes.map((entry, i) => [entry, at[i]!])));
      if (skip !== undefined && here.value(skip) !== 0) continue;
      const indices = place.map((index) => here.integer(index));
      if (indices.some((index, i) => index < 0 || index >= dims[i]!)) {
        throw new RangeError(`[${indices}] is outside [${dims}]`);
      }
      data[indices.reduce((flat, index, i) => flat * dims[i]! + index, 0)] = here.value(value);
    }
  }
}

function* positionsOf(dims: readonly number[]): Generator<[number, number[]]> {
  const count = dims.reduce((a, b) => a * b, 1);
  const positions = dims.map(() => 0);
  for (let flat = 0; flat < count; flat++) {
    yield [flat, positions];
    for (let i = dims.length - 1; i >= 0; i--) {
      positions[i]!++;
      if (positions[i]! < dims[i]!) break;
      positions[i] = 0;
    }
  }
}
