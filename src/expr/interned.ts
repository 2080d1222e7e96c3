/**
 * Tables of nodes that exist once each. What modules made when they were loaded stays; what a
 * compilation made is dropped by {@link startAnew} before the next, so that memory is that of one and
 * numbers, which order what is printed, don't depend on what was compiled before.
 */

const TABLES: { reset(): void }[] = [];
let nextId = 1;
let firstId: number | null = null;

/** A number that no other node has. */
export function freshId(): number {
  return nextId++;
}

/** Nodes by what tells them apart. */
export class InternTable<T, K extends string | number = string> {
  #nodes = new Map<K, T>();
  #loaded: ReadonlyMap<K, T> | null = null;

  constructor() {
    TABLES.push(this);
  }

  get(key: K): T | undefined {
    return this.#nodes.get(key);
  }

  set(key: K, node: T): void {
    this.#nodes.set(key, node);
  }

  /** Goes back to what there was at the first call. */
  reset(): void {
    this.#loaded ??= new Map(this.#nodes);
    this.#nodes = new Map(this.#loaded);
  }
}

/**
 * Drops every node that was made since the first call. What was made by then may be compared with
 * what is made later; no other node may be kept.
 */
export function startAnew(): void {
  firstId ??= nextId;
  nextId = firstId;
  for (const table of TABLES) table.reset();
}
