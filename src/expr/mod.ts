/** Index expressions: integers over symbols, and values that are computed from tensors' elements. */
export * from "./integer.ts";
export * from "./bounds.ts";
export * from "./value.ts";
export * from "./operations.ts";
