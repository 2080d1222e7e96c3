/** The variables of a program's tensors: what holds each one, and which are needed after a step. */
import type { Tensor as Initializer } from "../ir.ts";
import type { EmittedWeight } from "./emitted.ts";
import type { Program, Tensor } from "./program.ts";
import type { ScriptScope } from "./script.ts";
import type { ScheduledBlock, ScheduledStep } from "./units.ts";
import { lastUses } from "./uses.ts";

/** The tensors of programs that share their weights, while one after the other is written. */
export class TensorVariables {
  /** Weights by their numbers, in order of use. */
  readonly weights: EmittedWeight[] = [];
  readonly #weightNumbers = new Map<Initializer, Map<number, number>>();
  #last: ReadonlyMap<Tensor, number> = new Map();
  #number: ReadonlyMap<ScheduledStep, number> = new Map();
  #now = 0;
  /** Activations that the program has named, with their scopes' nesting. */
  #named: { tensor: Tensor; name: string }[] = [];
  /** Arrays of tensors that loops collect, now open. */
  #collections: string[] = [];

  /** Begins a program. */
  begin(program: Program, block: ScheduledBlock): void {
    ({ last: this.#last, number: this.#number } = lastUses(program, block));
    this.#named = [];
  }

  /** What is written next belongs to `step`. */
  at(step: ScheduledStep): void {
    this.#now = this.#number.get(step)!;
  }

  /** Opens arrays that a loop collects tensors in: what they hold stays alive. */
  open(collections: readonly string[]): void {
    this.#collections.push(...collections);
  }

  /** Closes arrays that were opened. */
  close(collections: readonly string[]): void {
    this.#collections = this.#collections.filter((name) => !collections.includes(name));
  }

  /** The variable that holds `tensor`. */
  of(tensor: Tensor, scope: ScriptScope): string {
    const { origin } = tensor;
    if (origin.kind === "input") return `m.input(${origin.index})`;
    if (origin.kind === "weight") {
      const { initializer, part } = origin;
      let parts = this.#weightNumbers.get(initializer);
      if (parts === undefined) this.#weightNumbers.set(initializer, parts = new Map());
      const start = part?.start ?? 0;
      let at = parts.get(start);
      if (at === undefined) {
        at = this.weights.push({ initializer, part }) - 1;
        parts.set(start, at);
      }
      return `m.weight(${at})`;
    }
    const name = scope.find(tensor.id);
    if (name === undefined) throw new Error(`${tensor.label} is read before it is computed`);
    return name;
  }

  /** Names an activation in `scope`. */
  name(tensor: Tensor, scope: ScriptScope): string {
    const name = `v${tensor.id}`;
    scope.name(tensor.id, name);
    this.#named.push({ tensor, name });
    return name;
  }

  /** The activations that are needed after this step, as an array in JavaScript. */
  live(scope: ScriptScope): string {
    const names = this.#named.filter(({ tensor, name }) =>
      scope.find(tensor.id) === name && (this.#last.get(tensor) ?? -1) >= this.#now
    ).map(({ name }) => name);
    return `[${[...names, ...this.#collections.map((name) => `...${name}`)].join(", ")}]`;
  }
}
