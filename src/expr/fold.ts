/**
 * The folder of constants: what an operation gives when all its arguments are numbers, by the same
 * row that the JavaScript printer uses.
 */
import * as prelude from "../codegen/runtime/prelude.js";
import { operation, type OperationName, OPERATIONS, type Scalar } from "./operations.ts";
import { foldWith } from "./node.ts";

type Evaluator = (prelude: unknown, a?: number, b?: number) => number | boolean;

const EVALUATORS = new Map<OperationName, Evaluator>();

function evaluator(name: OperationName): Evaluator {
  let made = EVALUATORS.get(name);
  if (made === undefined) {
    made = new Function(
      "prelude",
      "a",
      "b",
      `return ${operation(name).javascript("a", "b")};`,
    ) as Evaluator;
    EVALUATORS.set(name, made);
  }
  return made;
}

/** Bit operations and shifts leave whole numbers whole; anything else that isn't is left alone. */
function fold(name: OperationName, type: Scalar, args: readonly number[]): number | null {
  const bitwise = OPERATIONS[name].float === null;
  if (bitwise && !args.every(Number.isSafeInteger)) return null;
  if ((name === "quotient" || name === "remainder") && args[1] === 0) return null;
  const value = Number(evaluator(name)(prelude, ...args));
  if (type !== "f32" && !Number.isSafeInteger(value)) return null;
  return value;
}

/** Makes constructors fold constants. */
export function startFolding(): void {
  foldWith(fold);
}
