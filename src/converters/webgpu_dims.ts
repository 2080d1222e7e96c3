/**
 * Symbolic dimensions of a model's inputs by name: those that a conversion fixes, and those that it
 * bounds. A dimension without a name is called by its input and its axis, "x.0", as everywhere in a
 * module.
 */
import { InputError, nearestNames } from "../error.ts";
import { allGraphs, type Dim, type Model, type ValueInfo } from "../ir.ts";

/** Extents by the name of a dimension. */
export type DimExtents = Readonly<Record<string, number>>;

/** The names of the symbolic dimensions of what a run takes, each once. */
function symbolsOf(model: Model): string[] {
  const { inputs, initializers } = model.graph;
  const constants = new Set(initializers.map(({ name }) => name));
  const names = inputs.filter(({ name }) => !constants.has(name)).flatMap(({ name, shape }) =>
    (shape ?? []).flatMap((dim, axis) => typeof dim === "number" ? [] : [dim ?? `${name}.${axis}`])
  );
  return [...new Set(names)];
}

/**
 * Fixes the dimensions `fixed` of `model`, wherever they stand.
 *
 * @throws InputError where one of `fixed` or of `bounded` is no dimension of an input, or is both.
 */
export function fixDims(model: Model, fixed: DimExtents, bounded: DimExtents): void {
  const symbols = symbolsOf(model);
  for (const [option, extents] of [["--dim", fixed], ["--max-dim", bounded]] as const) {
    for (const name of Object.keys(extents)) {
      if (symbols.includes(name)) continue;
      const known = nearestNames(name, symbols, 8).map((symbol) => `"${symbol}"`).join(", ");
      throw new InputError(
        `Cannot take ${option} "${name}": no input of "${model.path}" has such a dimension. ` +
          (known === "" ? "All of its dimensions are fixed; leave it out." : `There are ${known}.`),
      );
    }
  }
  const both = Object.keys(fixed).find((name) => Object.hasOwn(bounded, name));
  if (both !== undefined) {
    throw new InputError(
      `Cannot take --max-dim "${both}": --dim fixes this dimension already. Give one of them.`,
    );
  }
  if (Object.keys(fixed).length === 0) return;
  const extentOf = (symbol: string, dim: Dim): Dim =>
    Object.hasOwn(fixed, symbol) ? fixed[symbol]! : dim;
  const fix = (info: ValueInfo, isInput: boolean): void => {
    if (info.shape === null) return;
    info.shape = info.shape.map((dim, axis) => {
      if (typeof dim === "string") return extentOf(dim, dim);
      return dim === null && isInput ? extentOf(`${info.name}.${axis}`, dim) : dim;
    });
    info.wire = null;
  };
  for (const info of model.graph.inputs) fix(info, true);
  for (const graph of allGraphs(model.graph)) {
    if (graph !== model.graph) { for (const info of graph.inputs) fix(info, false); }
    for (const info of [...graph.outputs, ...graph.valueInfo]) fix(info, false);
  }
}
