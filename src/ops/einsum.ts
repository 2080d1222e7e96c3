/**
 * Einsum (https://onnx.ai/onnx/operators/onnx__Einsum.html). Operands are taken from the left, two at
 * a time, each pair as one product that is summed over the labels that nothing needs any more.
 */
import { asNumber, type Integer, ONE, ZERO } from "../expr/integer.ts";
import { reduce } from "../expr/value.ts";
import { broadcastShape } from "./broadcast.ts";
import { contract, type Position } from "./contraction.ts";
import { type OpCall, type Operand, operand, type OpRecord, wrapped } from "./op.ts";

/** An operand whose dimensions have labels, no two alike. */
interface Labelled {
  readonly labels: readonly string[];
  readonly operand: Operand;
}

/** The labels of the dimensions of `term`, `rank` of them; those of an ellipsis count from the end. */
function labelsOf(call: OpCall, term: string, rank: number): string[] {
  const named = term.replace("...", "").length;
  const covered = rank - named;
  const has = term.includes("...");
  if (covered < 0 || (covered > 0 && !has) || !/^[A-Za-z]*(\.\.\.)?[A-Za-z]*$/.test(term)) {
    call.fail(`"${term}" does not describe a tensor of rank ${rank}`);
  }
  const [before, after] = term.split("...");
  const dots = Array.from({ length: covered }, (_, i) => `.${covered - 1 - i}`);
  return [...before!, ...(has ? dots : []), ...(after ?? "")];
}

/** The labels of the result where the equation doesn't say: the ellipsis', and those that occur once. */
function impliedLabels(inputs: readonly (readonly string[])[]): string[] {
  const all = inputs.flat();
  const dots = [...new Set(all.filter((label) => label.startsWith(".")))];
  dots.sort((a, b) => Number(b.slice(1)) - Number(a.slice(1)));
  const single = all.filter((label) =>
    !label.startsWith(".") && all.indexOf(label) === all.lastIndexOf(label)
  );
  return [...dots, ...single.sort()];
}

/** `x` with one dimension a label: repeated ones become a diagonal. */
function diagonal(labels: readonly string[], x: Operand): Labelled {
  const own = [...new Set(labels)];
  if (own.length === labels.length) return { labels, operand: x };
  const dims = own.map((label) => x.dims[labels.indexOf(label)]!);
  return {
    labels: own,
    operand: operand(
      x.dtype,
      dims,
      (indices) => x.at(labels.map((label) => indices[own.indexOf(label)]!)),
    ),
  };
}

/** The extent of each label. */
class Extents {
  readonly #extents = new Map<string, Integer>();

  constructor(call: OpCall, all: readonly Labelled[]) {
    for (const { labels, operand: x } of all) {
      for (const [i, label] of labels.entries()) {
        const known = this.#extents.get(label);
        const own = x.dims[i]!;
        const extent = known === undefined ? own : broadcastShape(call, [[known], [own]])[0]!;
        this.#extents.set(label, extent);
      }
    }
  }

  of(labels: readonly string[]): Integer[] {
    return labels.map((label) => this.#extents.get(label)!);
  }

  has(label: string): boolean {
    return this.#extents.has(label);
  }
}

/** The element of `x` where its labels have the positions `places`. */
function elementAt(
  x: Labelled,
  extents: Extents,
  places: ReadonlyMap<string, Integer>,
): ReturnType<Operand["at"]> {
  const whole = extents.of(x.labels);
  return x.operand.at(x.labels.map((label, i) => {
    const own = x.operand.dims[i]!;
    return own === ONE && asNumber(whole[i]!) !== 1 ? ZERO : places.get(label)!;
  }));
}

/** `x` with only the labels `kept`, summed over the others, in that order. */
function summed(x: Labelled, kept: readonly string[], extents: Extents): Labelled {
  const gone = x.labels.filter((label) => !kept.includes(label));
  const { dtype } = x.operand;
  return {
    labels: kept,
    operand: operand(dtype, extents.of(kept), (indices) => {
      const value = reduce("sum", extents.of(gone), (positions) => {
        const places = new Map([
          ...kept.map((label, i) => [label, indices[i]!] as const),
          ...gone.map((label, i) => [label, positions[i]!] as const),
        ]);
        return elementAt(x, extents, places);
      });
      return wrapped(dtype, value);
    }),
  };
}

/** The product of `a` and `b` with only the labels `kept`, in that order. */
function multiplied(
  call: OpCall,
  a: Labelled,
  b: Labelled,
  kept: readonly string[],
  extents: Extents,
): Labelled {
  const alone = (x: Labelled, other: Labelled): Labelled => {
    const useful = x.labels.filter((label) => kept.includes(label) || other.labels.includes(label));
    return useful.length === x.labels.length ? x : summed(x, useful, extents);
  };
  const [left, right] = [alone(a, b), alone(b, a)];
  const inLeft = (label: string): boolean => left.labels.includes(label);
  const inRight = (label: string): boolean => right.labels.includes(label);
  const batch = kept.filter((label) => inLeft(label) && inRight(label));
  const rows = kept.filter((label) => inLeft(label) && !inRight(label));
  const columns = kept.filter((label) => !inLeft(label) && inRight(label));
  const depth = left.labels.filter((label) => inRight(label) && !kept.includes(label));
  const places = (...pairs: readonly (readonly [readonly string[], readonly Integer[]])[]) =>
    new Map(pairs.flatMap(([labels, at]) => labels.map((label, i) => [label, at[i]!] as const)));
  const product = contract(call, {
    dtype: a.operand.dtype,
    dims: extents.of(kept),
    batch: extents.of(batch),
    rows: extents.of(rows),
    columns: extents.of(columns),
    depth: extents.of(depth),
    a: (at, row, k) => elementAt(left, extents, places([batch, at], [rows, row], [depth, k])),
    b: (at, k, column) =>
      elementAt(right, extents, places([batch, at], [depth, k], [columns, column])),
    place: ({ batch: at, row, column }) => {
      const all = places([batch, at], [rows, row], [columns, column]);
      return kept.map((label) => all.get(label)!);
    },
    position: (indices): Position => {
      const all = places([kept, indices]);
      const pick = (labels: readonly string[]): Integer[] => labels.map((label) => all.get(label)!);
      return { batch: pick(batch), row: pick(rows), column: pick(columns) };
    },
  });
  return { labels: kept, operand: product };
}

function einsum(call: OpCall): Operand {
  const equation = call.string("equation", "").replaceAll(/\s/g, "");
  const [left, right] = equation.split("->");
  const terms = left!.split(",");
  if (terms.length !== call.inputCount) {
    call.fail(`its equation has ${terms.length} terms for ${call.inputCount} inputs`);
  }
  const inputs = terms.map((_, i) => call.input(i));
  const described = terms.map((term, i) => labelsOf(call, term, inputs[i]!.dims.length));
  const operands = inputs.map((x, i) => diagonal(described[i]!, x));
  const extents = new Extents(call, operands);
  const dots = Math.max(
    ...described.map((labels) => labels.filter((label) => label.startsWith(".")).length),
  );
  const result = right === undefined
    ? impliedLabels(described)
    : labelsOf(call, right, right.replace("...", "").length + (right.includes("...") ? dots : 0));
  for (const label of result) {
    if (!extents.has(label)) call.fail(`the label "${label}" of its result is in no term`);
  }
  if (new Set(result).size < result.length) call.fail("a label of its result is repeated");
  let [total, ...rest] = operands as [Labelled, ...Labelled[]];
  if (rest.length === 0) return summed(total, result, extents).operand;
  while (rest.length > 0) {
    const [next, ...later] = rest;
    const both = [...new Set([...total.labels, ...next!.labels])];
    const kept = later.length === 0
      ? result
      : both.filter((label) =>
        result.includes(label) || later.some((x) => x.labels.includes(label))
      );
    const product = multiplied(call, total, next!, kept, extents);
    total = later.length === 0 ? product : { labels: kept, operand: call.stored(product.operand) };
    rest = later;
  }
  return total.operand;
}

/** https://onnx.ai/onnx/operators/onnx__Einsum.html */
export const EINSUM_OPS: readonly OpRecord[] = [
  { name: "Einsum", domain: "", since: 28, lower: (call) => [einsum(call)] },
];
