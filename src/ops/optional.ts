/**
 * OptionalHasElement and OptionalGetElement of what is no optional: a tensor has an element, itself
 * (https://onnx.ai/onnx/operators/onnx__OptionalHasElement.html). An input left out has none.
 */
import { constant } from "../expr/value.ts";
import { operand, type OpRecord } from "./op.ts";

/** https://onnx.ai/onnx/operators/onnx__OptionalGetElement.html */
export const OPTIONAL_OPS: readonly OpRecord[] = [
  { name: "OptionalGetElement", domain: "", since: 18, lower: (call) => [call.input(0)] },
  {
    name: "OptionalHasElement",
    domain: "",
    since: 18,
    lower: (call) => {
      const has = call.optional(0) === null ? 0 : 1;
      return [operand("bool", [], () => constant("bool", has))];
    },
  },
];
