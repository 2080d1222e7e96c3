/**
 * Shaders of dispatches that are given by expressions, in two schedules. *Map*: a thread computes an
 * element. *Row*: a workgroup of LANES threads computes a row, all reductions of the row first, each
 * once; what normalizations and softmax need.
 */
import {
  asNumber,
  type Axis,
  axis,
  divide,
  divideUp,
  fromAtom,
  type Integer,
  integer,
  modulo,
  multiply,
  rewrite,
  substitute,
  toInteger,
  type Value,
  ZERO,
} from "../expr/mod.ts";
import { census, estimate, estimateCount, reductionsIn } from "./cost.ts";
import { Tensor } from "./program.ts";
import type { ExpressionUnit } from "./units.ts";
import { Declarations, type Parameter, Scope } from "./shader_parts.ts";
import { flatLoad } from "./weight_parts.ts";
import { combine } from "./reductions.ts";
import { Printer } from "./wgsl.ts";

/** Threads of a workgroup that computes an element each. */
const MAP_THREADS = 64;
/** A reduction at least so long is shared by the threads of a workgroup, where rows are few. */
const LONG_REDUCTION = 128;
/** Rows at least so many keep a GPU busy with a thread each. */
const MANY_ROWS = 4096;
/** Threads that share a row at most. */
const MOST_LANES = 64;

/** A shader and what a dispatch of it needs. */
export interface Shader {
  /** The text, without functions of the prelude. */
  readonly text: string;
  /** Functions of the prelude that the text calls. */
  readonly prelude: ReadonlySet<string>;
  /** In order of binding. */
  readonly tensors: readonly Tensor[];
  readonly bindings: string;
  readonly parameters: readonly Parameter[];
  /** Number of workgroups. */
  readonly groups: Integer;
  readonly constants: Readonly<Record<string, number>>;
}

/** The shader's text with its declarations. */
export function finished(
  declarations: Declarations,
  text: string,
  groups: Integer,
  constants: Readonly<Record<string, number>>,
): Shader {
  return {
    text: `${declarations.text()}\n${text}`,
    prelude: declarations.prelude,
    tensors: declarations.tensors,
    bindings: declarations.bindings(),
    parameters: declarations.parameters,
    groups,
    constants,
  };
}

/** `value` with every load by one offset. */
export function flattened(value: Value): Value {
  return rewrite(value, {
    load: (source, indices) => source instanceof Tensor ? flatLoad(source, indices) : null,
  });
}

/** What one position computes. */
interface Iteration {
  readonly axes: readonly Axis[];
  readonly values: readonly Value[];
}

/**
 * Neighbouring axes made one where all that is computed can do with one. `group` tells axes apart
 * that must not be joined.
 */
function joined(iteration: Iteration, group: (entry: Axis) => number): Iteration {
  let { axes, values } = iteration;
  for (let i = axes.length - 2; i >= 0; i--) {
    const [outer, inner] = [axes[i]!, axes[i + 1]!];
    if (group(outer) !== group(inner)) continue;
    const both = axis(`${outer.name}${inner.name}`, multiply(outer.extent, inner.extent));
    const place = new Map([
      [outer, divide(fromAtom(both), inner.extent)],
      [inner, modulo(fromAtom(both), inner.extent)],
    ]);
    const made = values.map((value) => substitute(value, place));
    const dearer = made.some((value, k) => census(value).cost > census(values[k]!).cost);
    if (dearer) continue;
    values = made;
    axes = [...axes.slice(0, i), both, ...axes.slice(i + 2)];
  }
  return { axes, values };
}

/** The axes that reductions outside other reductions depend on. */
function rowAxes(values: readonly Value[]): ReadonlySet<Axis> {
  return new Set(reductionsIn(values, true).flatMap(({ axes }) => axes));
}

/** The shader of `unit`. */
export function expressionShader(unit: ExpressionUnit): Shader {
  // An axis of one position is at 0.
  const single = new Map(
    unit.axes.filter((entry) => asNumber(entry.extent) === 1).map((entry) => [entry, ZERO]),
  );
  const values = [unit.body, unit.skip, unit.offset].map((value) =>
    substitute(flattened(value), single)
  );
  const whole: Iteration = {
    axes: unit.axes.filter((entry) => asNumber(entry.extent) !== 1),
    values,
  };
  if (!values.some((value) => census(value).hasReduce)) {
    return mapShader(unit.tensor, joined(whole, () => 0));
  }
  const rows = rowAxes(values);
  const isRow = (entry: Axis): number => rows.has(entry) ? 1 : 0;
  const count = estimateCount(whole.axes.filter((entry) => rows.has(entry)).map((a) => a.extent));
  const longest = Math.max(
    ...reductionsIn(values).map(({ over }) => estimateCount(over.map((entry) => entry.extent))),
  );
  const shared = longest >= LONG_REDUCTION && count <= MANY_ROWS;
  if (rows.size === whole.axes.length && !shared) {
    return mapShader(
      unit.tensor,
      joined(whole, () => 0),
    );
  }
  return rowShader(unit.tensor, joined(whole, isRow), longest);
}

/** The statement that stores `value`. */
function storing(
  declarations: Declarations,
  printer: Printer,
  tensor: Tensor,
  values: readonly Value[],
  scope: Scope,
): void {
  const [body, skip, offset] = values as [Value, Value, Value];
  const name = declarations.tensor(tensor);
  const store = (inner: Scope): void => {
    const made = printer.value(body, inner);
    const at = printer.offset(toInteger(offset), inner);
    const word = body.type === "bool" ? `select(0u, 1u, ${made})` : made;
    inner.lines.push(`${name}[${at}] = ${word};`);
  };
  if (skip.kind === "constant") {
    if (skip.value === 0) store(scope);
    return;
  }
  const test = printer.value(skip, scope);
  const inner = new Scope(scope, "branch", new Set());
  store(inner);
  scope.lines.push(`if (!${test}) {\n${inner.text("  ")}\n}`);
}

/** Statements that give each axis its position, from the number `index` of the position. */
function positions(
  declarations: Declarations,
  printer: Printer,
  axes: readonly Axis[],
  index: string,
  scope: Scope,
): void {
  if (axes.length === 0) return;
  let rest = index;
  for (const entry of [...axes].reverse()) {
    if (entry === axes[0]) {
      scope.names.set(entry.id, rest);
      return;
    }
    const extent = declarations.extent(entry.extent);
    const [name, next] = [printer.name("at"), printer.name("at")];
    scope.lines.push(
      `let ${next} = ${rest} / ${extent};`,
      `let ${name} = ${rest} - ${next} * ${extent};`,
    );
    scope.names.set(entry.id, name);
    rest = next;
  }
}

function mapShader(tensor: Tensor, { axes, values }: Iteration): Shader {
  const declarations = new Declarations();
  const printer = new Printer(declarations, values);
  const scope = new Scope(null, "function", new Set());
  const count = multiply(...axes.map((entry) => entry.extent));
  const total = declarations.extent(count);
  positions(declarations, printer, axes, "i", scope);
  storing(declarations, printer, tensor, values, scope);
  const text = `@compute @workgroup_size(${MAP_THREADS})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = i32((group.x + group.y * groups.x) * ${MAP_THREADS}u + thread);
  if (i >= ${total}) { return; }
${scope.text("  ")}
}
`;
  return finished(declarations, text, divideUp(count, integer(MAP_THREADS)), {});
}

function rowShader(
  tensor: Tensor,
  { axes, values }: Iteration,
  longest: number,
): Shader {
  const rows = rowAxes(values);
  const inner = axes.filter((entry) => !rows.has(entry));
  const outer = axes.filter((entry) => rows.has(entry));
  const declarations = new Declarations();
  const printer = new Printer(declarations, values);
  const scope = new Scope(null, "function", new Set());
  positions(declarations, printer, outer, "row", scope);
  const shared = new Set<string>();
  for (const value of reductionsIn(values)) {
    if (!value.axes.every((entry) => rows.has(entry))) continue;
    const name = collective(printer, value, scope, shared);
    scope.names.set(value.id, name);
  }
  if (inner.length === 0) {
    const one = new Scope(scope, "branch", new Set());
    storing(declarations, printer, tensor, values, one);
    scope.lines.push(`if (lane == 0) {\n${one.text("  ")}\n}`);
  } else {
    const loop = new Scope(scope, "loop", new Set(inner));
    const count = multiply(...inner.map((entry) => entry.extent));
    const total = declarations.extent(count);
    positions(declarations, printer, inner, "j", loop);
    storing(declarations, printer, tensor, values, loop);
    scope.lines.push(
      `for (var j = lane; j < ${total}; j += i32(LANES)) {\n${loop.text("  ")}\n}`,
    );
  }
  const count = multiply(...outer.map((entry) => entry.extent));
  const lanes = Math.min(
    MOST_LANES,
    2 ** Math.floor(Math.log2(Math.max(
      longest,
      estimate(multiply(...inner.map((entry) => entry.extent))),
      1,
    ))),
  );
  const text = `override LANES: u32 = 1u;
${[...shared].map((type) => `var<workgroup> shared_${type}: array<${type}, LANES>;`).join("\n")}
@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = i32(group.x + group.y * groups.x);
  let lane = i32(thread);
  if (row >= ${declarations.extent(count)}) { return; }
${scope.text("  ")}
}
`;
  return finished(declarations, text, count, { LANES: lanes });
}

/** A reduction by all threads of the workgroup: each takes every LANES-th element of the last axis. */
function collective(
  printer: Printer,
  value: Extract<Value, { kind: "reduce" }>,
  scope: Scope,
  shared: Set<string>,
): string {
  if (value.reduction.startsWith("arg")) return printer.reduction(value, scope);
  const type = value.body.type === "bool" ? "u32" : value.body.type;
  shared.add(type);
  const name = printer.reductionOver(value, scope, "lane", "i32(LANES)");
  const step = combine(
    printer.declarations,
    value.reduction,
    type,
    `shared_${type}[thread]`,
    `shared_${type}[thread + step]`,
  );
  scope.lines.push(
    `if (LANES > 1u) {
  shared_${type}[thread] = ${name};
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    if (thread < step) { ${step}; }
    workgroupBarrier();
  }
  ${name} = shared_${type}[0];
  workgroupBarrier();
}`,
  );
  return name;
}
