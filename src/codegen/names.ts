/** The names of values while a model is lowered. */
import type { Tensor } from "./program.ts";

/** Names of values in a graph, and those of the graphs around it. */
export class Names {
  readonly #own = new Map<string, Tensor>();
  constructor(readonly outer: Names | null) {}

  get(name: string): Tensor | undefined {
    return this.#own.get(name) ?? this.outer?.get(name);
  }

  set(name: string, tensor: Tensor): void {
    if (name !== "") this.#own.set(name, tensor);
  }
}
