/**
 * Division of dispatches that read a weight which is stored in parts: where a position of the result
 * reads one part alone, a dispatch for each part computes the positions that do, with the shader of
 * a weight that is whole. What still reads more than a dispatch may bind is divided by what it reads.
 */
import {
  add,
  apply,
  type Axis,
  axis,
  constant,
  fromAtom,
  fromInteger,
  type Integer,
  integer,
  rewrite,
  type Source,
  symbol,
  toInteger,
  type Value,
} from "../expr/mod.ts";
import { InputError } from "../error.ts";
import { census, occurrences } from "./cost.ts";
import { familyOf } from "./kernel_families.ts";
import { type Cut, Tensor } from "./program.ts";
import {
  bodiesOf,
  type ExpressionUnit,
  type KernelUnit,
  resultsOf,
  type ScheduledBlock,
  type ScheduledStep,
  type Unit,
} from "./units.ts";
import { flatLoad } from "./weight_parts.ts";

/** `block` with its dispatches divided, `most` bindings each. `path` is the model, for errors. */
export function divided(block: ScheduledBlock, most: number, path: string): ScheduledBlock {
  const inner = (nested: ScheduledBlock): ScheduledBlock => divided(nested, most, path);
  return {
    steps: block.steps.flatMap((step): ScheduledStep[] => {
      switch (step.kind) {
        case "dispatch":
          return unitsOf(step.unit, most, path).map((unit) => ({ kind: "dispatch", unit }));
        case "if":
          return [{
            ...step,
            branches: step.branches.map((branch) => ({ ...branch, block: inner(branch.block) })),
          }];
        case "loop":
          return [{ ...step, block: inner(step.block) }];
        default:
          return [step];
      }
    }),
  };
}

function unitsOf(unit: Unit, most: number, path: string): Unit[] {
  const cuts = cutSources(unit);
  if (cuts.length === 0) return [unit];
  const units = unit.kind === "expression" ? alongAxes(unit, cuts) : alongSizes(unit, cuts);
  return units.flatMap((made) => {
    if (bindings(made) <= most) return [made];
    const parts = made.kind === "expression" ? byPart(made, most) : null;
    if (parts !== null) return parts;
    const [weight] = cutSources(made);
    const name = weight?.origin.kind === "weight" ? weight.origin.initializer.name : "";
    throw new InputError(
      `Cannot compile ${unit.label} of "${path}": it sums over the weight "${name}", which is ` +
        `stored in ${weight?.cut?.parts.length} parts, and binds ${bindings(made)} buffers where ` +
        `a device may have no more than ${most}. Quantize the weight to fewer bits.`,
    );
  });
}

/** The weights that `unit` reads and that are stored in parts. */
function cutSources(unit: Unit): Tensor[] {
  const found = new Set<Tensor>();
  for (const body of bodiesOf(unit)) {
    for (const source of census(body).sources) if (source.cut !== null) found.add(source);
  }
  return [...found];
}

/** Tensors that a dispatch of `unit` binds. */
function bindings(unit: Unit): number {
  const held = new Set<Tensor>(resultsOf(unit));
  for (const body of bodiesOf(unit)) {
    const parts = rewrite(body, {
      load: (source, indices) => source instanceof Tensor ? flatLoad(source, indices) : null,
    });
    for (const source of census(parts).sources) held.add(source);
  }
  return held.size;
}

/** Where to divide `entry`, if at all: every load of these weights has it as its index. */
function boundsAlong(
  entry: Axis,
  bodies: readonly Value[],
  cuts: readonly Tensor[],
): readonly number[] {
  const bounds = new Set<number>();
  for (const tensor of cuts) {
    const { axis: along, parts } = tensor.cut as Cut;
    const found = bodies.flatMap((body) => occurrences(body, tensor));
    if (tensor.dims[along] !== entry.extent) continue;
    if (!found.every(({ indices }) => indices[along] === fromAtom(entry))) continue;
    for (const { start, end } of parts) bounds.add(start).add(end);
  }
  return [...bounds].sort((a, b) => a - b);
}

/** A run of positions along an axis, in which each weight has one part. */
interface Piece {
  /** The axis of the piece. */
  readonly own: Axis;
  /** Puts the piece's axis and parts in the place of the whole ones. */
  readonly placed: (value: Value) => Value;
}

/** The pieces of `entry` between `bounds`. */
function piecesOf(entry: Axis, bounds: readonly number[], cuts: readonly Tensor[]): Piece[] {
  return bounds.slice(1).map((end, i) => {
    const start = bounds[i]!;
    const own = axis(entry.name, integer(end - start));
    // A symbol is printed as a parameter: all pieces have one text.
    const first = symbol("start", { definition: integer(start), positive: false });
    const axes = new Map([[entry, add(fromAtom(own), first)]]);
    const load = (source: Source, indices: readonly Integer[]): Value | null => {
      const tensor = cuts.find((known) => known === source);
      const cut = tensor?.cut ?? null;
      if (cut === null || indices[cut.axis] !== axes.get(entry)) return null;
      const part = cut.parts.find((known) => known.start <= start && end <= known.end);
      if (part === undefined) return null;
      const index = add(fromAtom(own), integer(start - part.start));
      return part.tensor.at(indices.with(cut.axis, index));
    };
    return { own, placed: (value) => rewrite(value, { axes, load }) };
  });
}

/** `unit` for each piece of the first of its axes that some weights are cut along. */
function alongAxes(unit: ExpressionUnit, cuts: readonly Tensor[]): ExpressionUnit[] {
  const bodies = bodiesOf(unit);
  for (const entry of unit.axes) {
    const bounds = boundsAlong(entry, bodies, cuts);
    if (bounds.length === 0) continue;
    return piecesOf(entry, bounds, cuts).map(({ own, placed }) => ({
      ...unit,
      axes: unit.axes.map((other) => other === entry ? own : other),
      body: placed(unit.body),
      skip: placed(unit.skip),
      offset: placed(unit.offset),
    }));
  }
  return [unit];
}

/** Sizes of a matrix product that may be divided: each position of them is a result of its own. */
const RESULT_SIZES: readonly string[] = ["columns", "rows", "batches"];

/** The same for a kernel's sizes. */
function alongSizes(unit: KernelUnit, cuts: readonly Tensor[]): KernelUnit[] {
  const { use } = unit;
  if (use.core !== "matmul") return [unit];
  const { extents } = familyOf(use.core);
  const hooks = [...unit.loads, ...unit.stores];
  for (const size of RESULT_SIZES) {
    const axes = hooks.flatMap((hook) => hook.axes.filter(({ name }) => extents[name] === size));
    const [entry] = axes;
    if (entry === undefined || axes.some((other) => other !== entry)) continue;
    const bounds = boundsAlong(entry, hooks.map(({ body }) => body), cuts);
    if (bounds.length === 0) continue;
    return piecesOf(entry, bounds, cuts).map(({ own, placed }) => {
      const moved = (axes: readonly Axis[]): Axis[] =>
        axes.map((other) => other === entry ? own : other);
      return {
        ...unit,
        use: { ...use, sizes: { ...use.sizes, [size]: own.extent } },
        loads: unit.loads.map((hook) => ({
          ...hook,
          axes: moved(hook.axes),
          body: placed(hook.body),
        })),
        stores: unit.stores.map((store) => ({
          ...store,
          axes: moved(store.axes),
          place: store.place.map((index) => toInteger(placed(fromInteger(index)))),
          body: placed(store.body),
        })),
      };
    });
  }
  return [unit];
}

/**
 * `unit` for as many parts of its largest weight at a time as it may bind, each storing the elements
 * that those parts give; null where an element may need more of them.
 */
function byPart(unit: ExpressionUnit, most: number): ExpressionUnit[] | null {
  const tensor = cutSources(unit).reduce((a, b) =>
    b.cut!.parts.length > a.cut!.parts.length ? b : a
  );
  const { axis: along, parts } = tensor.cut as Cut;
  const found = bodiesOf(unit).flatMap((body) => occurrences(body, tensor));
  const index = found[0]?.indices[along];
  const isSame = found.every(({ indices, around }) =>
    around.length === 0 && indices[along] === index
  );
  const room = most - bindings(unit) + parts.length;
  if (index === undefined || !isSame || room < 1) return null;
  const groups = Array.from(
    { length: Math.ceil(parts.length / room) },
    (_, i) => parts.slice(i * room, (i + 1) * room),
  );
  const position = fromInteger(index);
  return groups.map((group, i) => {
    const some = new Tensor(tensor.dtype, tensor.dims, tensor.origin);
    some.cut = { axis: along, parts: group };
    const only = (value: Value): Value =>
      rewrite(value, {
        load: (source, indices) => source === tensor ? some.at(indices) : null,
      });
    const before = apply("less", position, constant("i32", group[0]!.start));
    const after = apply("greaterOrEqual", position, constant("i32", group.at(-1)!.end));
    // What is out of range either way is stored by the first or the last.
    const others = i === 0 ? after : i === groups.length - 1 ? before : apply("or", before, after);
    return {
      ...unit,
      body: only(unit.body),
      skip: apply("or", unit.skip, others),
      offset: only(unit.offset),
    };
  });
}
