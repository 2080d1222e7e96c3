/** What values cost, for the schedule's choices: operations, loads, and how often each is computed. */
import {
  type Axis,
  elementsIn,
  type Integer,
  integersOf,
  operation,
  partsOf,
  type Value,
} from "../expr/mod.ts";
import { FlatTensor, Tensor } from "./program.ts";

/** What an unknown extent is taken to be. */
const GUESSED_EXTENT = 64;

/** About what `value` will be when the model runs. */
export function estimate(value: Integer): number {
  let total = value.constant;
  for (const { coefficient, factors } of value.terms) {
    let product = coefficient;
    for (const factor of factors) {
      switch (factor.kind) {
        case "symbol":
          product *= factor.definition === null ? GUESSED_EXTENT : estimate(factor.definition);
          break;
        case "axis":
          product *= estimate(factor.extent) / 2;
          break;
        case "div":
          product *= Math.max(1, Math.floor(estimate(factor.a) / Math.max(1, estimate(factor.b))));
          break;
        case "mod":
          product *= estimate(factor.b) / 2;
          break;
        case "min":
          product *= Math.min(estimate(factor.a), estimate(factor.b));
          break;
        case "max":
          product *= Math.max(estimate(factor.a), estimate(factor.b));
          break;
        case "element":
          product *= GUESSED_EXTENT;
      }
    }
    total += product;
  }
  return Math.max(total, 1);
}

/** About how many positions `extents` have. */
export function estimateCount(extents: readonly Integer[]): number {
  return extents.reduce((product, extent) => product * estimate(extent), 1);
}

/** What can be said of the values of one kernel. */
export interface Census {
  /** Operations of one evaluation, each shared one counted once; reductions count their body once. */
  readonly cost: number;
  readonly nodes: number;
  readonly hasReduce: boolean;
  readonly sources: ReadonlySet<Tensor>;
}

const CENSUSES = new WeakMap<Value, Census>();

/** The census of one value. */
export function census(value: Value): Census {
  const known = CENSUSES.get(value);
  if (known !== undefined) return known;
  let cost = 0;
  let hasReduce = false;
  const sources = new Set<Tensor>();
  const seen = new Set<number>();
  const visitInteger = (index: Integer): void => {
    if (seen.has(index.id)) return;
    seen.add(index.id);
    for (const { factors } of index.terms) {
      for (const factor of factors) {
        if (factor.kind === "element") visit(factor.value);
        else if ("a" in factor) {
          if (factor.axes.length > 0) cost += 1;
          visitInteger(factor.a);
          visitInteger(factor.b);
        }
      }
    }
  };
  const visit = (node: Value): void => {
    if (seen.has(node.id)) return;
    seen.add(node.id);
    if (node.kind === "operation") cost += operation(node.name).cost;
    else if (node.kind === "call") cost += 4;
    else if (node.kind === "select") cost += 1;
    else if (node.kind === "reduce") hasReduce = true;
    else if (node.kind === "load" && node.source instanceof Tensor) sources.add(node.source);
    else if (node.kind === "load" && node.source instanceof FlatTensor) sources.add(node.source.of);
    for (const part of partsOf(node)) visit(part);
    for (const index of integersOf(node)) visitInteger(index);
    if (node.kind === "reduce") { for (const entry of node.over) visitInteger(entry.extent); }
  };
  visit(value);
  const made = { cost, nodes: seen.size, hasReduce, sources };
  CENSUSES.set(value, made);
  return made;
}

/** A load of a tensor, and the reductions around it. */
export interface Occurrence {
  readonly indices: readonly Integer[];
  readonly around: readonly Axis[];
}

/** Every place where `value` loads `tensor`; a shared node counts once for each reduction around. */
export function occurrences(value: Value, tensor: Tensor): Occurrence[] {
  const found: Occurrence[] = [];
  const visit = (node: Value, around: readonly Axis[], seen: Set<number>): void => {
    if (seen.has(node.id) || !census(node).sources.has(tensor)) return;
    seen.add(node.id);
    if (node.kind === "load" && node.source === tensor) {
      found.push({ indices: node.indices, around });
    }
    for (const index of integersOf(node)) {
      for (const inner of elementsIn(index)) visit(inner, around, seen);
    }
    if (node.kind === "reduce") visit(node.body, [...around, ...node.over], new Set());
    else for (const part of partsOf(node)) visit(part, around, seen);
  };
  visit(value, [], new Set());
  return found;
}

/**
 * The reductions in `values`, each once, those inside others before them; or only those that stand in
 * no other.
 */
export function reductionsIn(values: readonly Value[], outermost = false): Reduce[] {
  const found: Reduce[] = [];
  const seen = new Set<number>();
  const visit = (value: Value): void => {
    if (seen.has(value.id) || !census(value).hasReduce) return;
    seen.add(value.id);
    const isReduce = value.kind === "reduce";
    if (!isReduce || !outermost) { for (const part of partsOf(value)) visit(part); }
    if (isReduce) found.push(value);
  };
  for (const value of values) visit(value);
  return found;
}

type Reduce = Extract<Value, { kind: "reduce" }>;
