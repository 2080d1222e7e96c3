/** Values: their nodes and constructors, reductions, and the replacement of what they hold. */
export * from "./node.ts";
export * from "./substitute.ts";
export { extentOf } from "./bounds.ts";
