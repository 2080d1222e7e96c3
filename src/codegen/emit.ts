/**
 * The emitter: a scheduled program as the tables and the generator function of a module
 * (`module.ts`).
 */
import { asAtom, asNumber, type Integer, multiply, type Value } from "../expr/mod.ts";
import type { Emitted, EmittedDispatch, ScheduledProgram } from "./emitted.ts";
import { encodeJson } from "./encode.ts";
import { hostCopy } from "./host_values.ts";
import { kernelShaders } from "./kernel_shader.ts";
import { PipelineTables } from "./pipeline_tables.ts";
import type { Assignment, HostCopy, HostDims, HostStep, Program, Tensor } from "./program.ts";
import {
  type KernelUnit,
  resultsOf,
  type ScheduledBlock,
  type ScheduledStep,
  type Unit,
} from "./units.ts";
import { ScriptPrinter, ScriptScope } from "./script.ts";
import { expressionShader } from "./shaders.ts";
import { storageOf } from "./storage.ts";
import { TensorVariables } from "./tensor_variables.ts";
import { BUFFER_BYTES } from "./weights_file.ts";
import type { Parameter } from "./shader_parts.ts";

/** Turns of a loop at most: a count may be anything. */
const MOST_TURNS = 2 ** 22;
const TOO_MANY = `it goes on for more than ${MOST_TURNS} turns`;

/** Emits `programs`, of which the first is where a run begins. */
export function emit(programs: readonly ScheduledProgram[]): Emitted {
  return new Emitter().run(programs);
}

class Emitter {
  readonly #pipelines = new PipelineTables();
  readonly #prelude = new Set<string>();
  readonly #host = new Set<string>();
  readonly #hostInputs = new Set<number>();
  readonly #hostNodes: string[] = [];
  readonly #dispatches: EmittedDispatch[] = [];
  readonly #printer: ScriptPrinter;
  readonly #variables = new TensorVariables();
  #fresh = 0;
  /** What the statements that are being written are of, as JavaScript. */
  #label = '""';

  constructor() {
    this.#printer = new ScriptPrinter({
      copy: (copy, scope) => this.#copy(copy, scope),
      hostDims: (dims, scope) => this.#hostDims(dims, scope),
      label: () => this.#label,
      usePrelude: (name) => this.#prelude.add(name),
    });
  }

  run(programs: readonly ScheduledProgram[]): Emitted {
    const texts = programs.map((entry, i) =>
      `function* ${programName(i)}(m) {\n${this.#program(entry)}\n}\n`
    );
    return {
      pipelines: this.#pipelines.pipelines,
      kernels: this.#pipelines.kernels,
      weights: this.#variables.weights,
      program: texts.join(""),
      preludeFunctions: this.#prelude,
      hostFunctions: this.#host,
      hostInputs: this.#hostInputs,
      hostNodes: this.#hostNodes,
      dispatches: this.#dispatches,
    };
  }

  /** The statements of a program. */
  #program({ program, block }: ScheduledProgram): string {
    this.#variables.begin(program, block);
    const scope = new ScriptScope(null);
    this.#inputs(program, scope);
    this.#block(block, scope);
    for (const [i, { tensor }] of program.outputs.entries()) {
      const dims = tensor.dims.map((extent) => this.#printer.integer(extent, scope));
      const name = this.#variables.of(tensor, scope);
      scope.lines.push(`m.output(${i}, ${name}, [${dims.join(", ")}]);`);
    }
    return scope.text();
  }

  /** Names the symbols that are dimensions of inputs. */
  #inputs(program: Program, scope: ScriptScope): void {
    for (const [i, { tensor }] of program.inputs.entries()) {
      for (const [k, extent] of tensor.dims.entries()) {
        const atom = asAtom(extent);
        if (atom?.kind !== "symbol" || scope.find(atom.id) !== undefined) continue;
        const name = `n${atom.id}`;
        scope.lines.push(`const ${name} = m.dims(${i})[${k}];`);
        scope.name(atom.id, name);
      }
    }
  }

  #block(block: ScheduledBlock, scope: ScriptScope): void {
    for (const step of block.steps) {
      this.#variables.at(step);
      this.#label = JSON.stringify(labelOf(step));
      this.#step(step, scope);
    }
  }

  #step(step: ScheduledStep, scope: ScriptScope): void {
    switch (step.kind) {
      case "dispatch":
        return this.#dispatch(step.unit, scope);
      case "host":
        return this.#hostStep(step, scope);
      case "check": {
        const text = this.#printer.value(step.condition, scope);
        const { other = null, reason = null } = step.choice ?? {};
        const message = reason === null ? step.message : `${step.message} (${reason})`;
        const end = other === null
          ? `m.fail(${encodeJson(message)});`
          : `{ m.restart(); return yield* ${programName(other)}(m); }`;
        scope.lines.push(`if (!${text}) ${end}`);
        return;
      }
      case "if":
        return this.#if(step, scope);
      case "loop":
        return this.#loop(step, scope);
    }
  }

  /** A new tensor: four bytes an element, and what it is of where it may be too large. */
  #made(tensor: Tensor, scope: ScriptScope): string {
    const count = multiply(...tensor.dims);
    const number = asNumber(count);
    if (number !== null && 4 * number <= BUFFER_BYTES) return `m.tensor(${4 * number})`;
    return `m.tensor(4 * ${this.#printer.integer(count, scope)}, ${this.#label})`;
  }

  #dispatch(unit: Unit, scope: ScriptScope): void {
    for (const tensor of resultsOf(unit)) {
      if (scope.find(tensor.id) !== undefined) continue;
      const made = this.#made(tensor, scope);
      scope.lines.push(`const ${this.#variables.name(tensor, scope)} = ${made};`);
    }
    if (unit.kind === "kernel") return this.#kernel(unit, scope);
    const shader = expressionShader(unit);
    const pipeline = this.#pipelines.pipeline(unit.label, shader, shader.parameters.length);
    this.#dispatches.push({ label: unit.label, pipeline });
    const groups = this.#printer.integer(shader.groups, scope);
    scope.lines.push(`m.dispatch(${pipeline}, ${this.#bound(shader, scope)}, ${groups});`);
  }

  /** A dispatch that can be computed in several ways. */
  #kernel(unit: KernelUnit, scope: ScriptScope): void {
    const { label } = unit;
    const shaders = kernelShaders(unit);
    const kernel = this.#pipelines.kernel(label, shaders);
    this.#dispatches.push({ label, kernel });
    scope.lines.push(`m.kernel(${kernel}, ${this.#bound(shaders, scope)});`);
  }

  /** The tensors and the parameters of a dispatch. */
  #bound(
    shader: { readonly tensors: readonly Tensor[]; readonly parameters: readonly Parameter[] },
    scope: ScriptScope,
  ): string {
    const tensors = shader.tensors.map((tensor) => this.#variables.of(tensor, scope));
    const parameters = shader.parameters.map((parameter) => this.#parameter(parameter, scope));
    return `[${tensors.join(", ")}], [${parameters.join(", ")}]`;
  }

  /** A parameter as the i32 with its bits. */
  #parameter(parameter: Parameter, scope: ScriptScope): string {
    if (parameter.kind === "integer") return this.#printer.integer(parameter.integer, scope);
    const text = this.#printer.number(parameter.value, scope);
    if (parameter.value.type === "u32") return `(${text} | 0)`;
    if (parameter.value.type !== "f32") return text;
    this.#prelude.add("bitsOfF32");
    return `(bitsOfF32(${text}) | 0)`;
  }

  /** The host's copy of a tensor: an input's values, or a sync point. */
  #copy(copy: HostCopy, scope: ScriptScope): string {
    const known = scope.find(copy.id);
    if (known !== undefined) return known;
    const name = `h${copy.id}`;
    const { origin } = copy.of;
    if (origin.kind === "input") {
      this.#hostInputs.add(origin.index);
      scope.lines.push(`const ${name} = m.host(${origin.index});`);
    } else {
      const tensor = this.#variables.of(copy.of, scope);
      const count = this.#printer.integer(copy.dims[0], scope);
      scope.lines.push(
        `const [${name}] = yield { read: [{ tensor: ${tensor}, ` +
          `storage: "${storageOf(copy.of.dtype)}", count: ${count} }], live: ${
            this.#variables.live(scope)
          } };`,
      );
    }
    scope.name(copy.id, name);
    return name;
  }

  #hostDims(dims: HostDims, scope: ScriptScope): string {
    const name = scope.find(hostStepId(dims.step));
    if (name === undefined) throw new Error("a host function's result is read before it ran");
    return `${name}[${dims.output}].dims`;
  }

  #hostStep(step: HostStep, scope: ScriptScope): void {
    this.#host.add(step.name);
    this.#hostNodes.push(step.label);
    const inputs = step.inputs.map((tensor) => {
      if (tensor === null) return "null";
      const dims = tensor.dims.map((extent) => this.#printer.integer(extent, scope));
      const data = this.#hostData(tensor, scope);
      return `{ dims: [${dims.join(", ")}], data: ${data} }`;
    });
    const name = `r${this.#fresh++}`;
    scope.lines.push(
      `const ${name} = ${step.name}([${inputs.join(", ")}], ${JSON.stringify(step.settings)});`,
    );
    scope.name(hostStepId(step), name);
    for (const [i, tensor] of step.outputs.entries()) {
      scope.lines.push(
        `const ${this.#variables.name(tensor, scope)} = m.upload(${name}[${i}].data, ` +
          `"${storageOf(tensor.dtype)}");`,
      );
    }
  }

  /** The elements of a host function's input. */
  #hostData(tensor: Tensor, scope: ScriptScope): string {
    if (tensor.elements !== null) {
      const elements = tensor.elements.map((element) => this.#printer.number(element, scope));
      return `[${elements.join(", ")}]`;
    }
    return this.#copy(hostCopy(tensor), scope);
  }

  #if(step: Extract<ScheduledStep, { kind: "if" }>, scope: ScriptScope): void {
    const condition = this.#printer.value(step.condition, scope);
    const [first] = step.branches;
    for (const { to } of first!.assign) this.#declare(to, scope);
    const texts = step.branches.map((branch) => {
      const inner = new ScriptScope(scope);
      this.#block(branch.block, inner);
      this.#assign(branch.assign, inner);
      return inner.text();
    });
    scope.lines.push(`if (${condition}) {\n${texts[0]}\n} else {\n${texts[1]}\n}`);
  }

  /** Declares what control flow assigns. */
  #declare({ tensor, dims }: Assignment["to"], scope: ScriptScope): void {
    const names = [this.#variables.name(tensor, scope)];
    for (const variable of dims) {
      if (variable === null) continue;
      const name = `d${variable.id}`;
      scope.name(variable.id, name);
      names.push(name);
    }
    scope.lines.push(`let ${names.join(", ")};`);
  }

  /** Assigns everything at once: what is assigned may be what was read. */
  #assign(assignments: readonly Assignment[], scope: ScriptScope): void {
    const targets: string[] = [];
    const sources: string[] = [];
    for (const { to, from } of assignments) {
      targets.push(scope.find(to.tensor.id)!);
      sources.push(this.#variables.of(from, scope));
      for (const [k, variable] of to.dims.entries()) {
        if (variable === null) continue;
        targets.push(scope.find(variable.id)!);
        sources.push(this.#printer.integer(from.dims[k]!, scope));
      }
    }
    if (targets.length === 0) return;
    scope.lines.push(`[${targets.join(", ")}] = [${sources.join(", ")}];`);
  }

  #loop(step: Extract<ScheduledStep, { kind: "loop" }>, scope: ScriptScope): void {
    const text = (value: Value | null, fallback: string): string =>
      value === null ? fallback : this.#printer.value(value, scope);
    const trips = text(step.trips, "Infinity");
    const condition = text(step.condition, "true");
    for (const { to } of step.start) this.#declare(to, scope);
    this.#assign(step.start, scope);
    const turn = `i${this.#fresh++}`;
    const goOn = `g${this.#fresh++}`;
    const lists = step.collected.map(() => `c${this.#fresh++}`);
    for (const list of lists) scope.lines.push(`const ${list} = [];`);
    for (const variable of step.collected.flatMap(({ dims }) => dims)) {
      if (variable === null) continue;
      scope.lines.push(`let d${variable.id} = 0;`);
      scope.name(variable.id, `d${variable.id}`);
    }
    scope.lines.push(`let ${goOn} = ${condition};`);
    const inner = new ScriptScope(scope);
    inner.name(step.turn.id, turn);
    this.#variables.open(lists);
    this.#block(step.block, inner);
    this.#variables.at(step);
    if (step.goOn !== null) {
      inner.lines.push(`${goOn} = ${this.#printer.value(step.goOn, inner)};`);
    }
    for (const [i, { from, dims, reverse }] of step.collected.entries()) {
      inner.lines.push(
        `${lists[i]}.${reverse ? "unshift" : "push"}(${this.#variables.of(from, inner)});`,
      );
      for (const [k, variable] of dims.entries()) {
        if (variable === null) continue;
        inner.lines.push(`d${variable.id} = ${this.#printer.integer(from.dims[k]!, inner)};`);
      }
    }
    const sizes = step.collected.map(({ to }) => multiply(...to.dims.slice(1)));
    this.#assign(step.next, inner);
    this.#variables.close(lists);
    scope.lines.push(
      `for (let ${turn} = 0; ${turn} < ${trips} && ${goOn}; ${turn}++) {`,
      `  if (${turn} === ${MOST_TURNS}) m.fail(${JSON.stringify(`${step.label}: ${TOO_MANY}`)});`,
      `${inner.text()}\n}`,
    );
    for (const [i, { to, count }] of step.collected.entries()) {
      const counted = `${lists[i]}.length`;
      const counter = `d${count.id}`;
      scope.lines.push(`const ${counter} = ${counted};`);
      scope.name(count.id, counter);
      this.#stack(lists[i]!, to, sizes[i]!, scope);
    }
  }

  /** Copies the tensors of a list one after another into `to`. */
  #stack(list: string, to: Tensor, size: Integer, scope: ScriptScope): void {
    const pipeline = this.#pipelines.copying();
    const each = this.#printer.integer(size, scope);
    const made = this.#made(to, scope);
    const name = this.#variables.name(to, scope);
    scope.lines.push(
      `const ${name} = ${made};`,
      `for (let i = 0; i < ${list}.length; i++) {\n` +
        `  m.dispatch(${pipeline}, [${list}[i], ${name}], [${each}, i * ${each}], ` +
        `Math.ceil(${each} / 64));\n}`,
    );
  }
}

function labelOf(step: ScheduledStep): string {
  if (step.kind === "dispatch") return step.unit.label;
  return "label" in step ? step.label : "If";
}

function programName(index: number): string {
  return index === 0 ? "program" : `program${index}`;
}

const STEP_IDS = new WeakMap<HostStep, number>();
let nextStep = -1;

/** A number for the results of `step`, apart from those of nodes. */
function hostStepId(step: HostStep): number {
  let id = STEP_IDS.get(step);
  if (id === undefined) STEP_IDS.set(step, id = nextStep--);
  return id;
}
