/**
 * Types of outputs that do not follow from those of inputs: attributes such as Cast's `to` and the
 * tensors of Constant nodes; and operators that wrap, unwrap or imitate their input.
 */
import { type DType, dtypeOfOnnx } from "../../dtype.ts";
import { attribute, intAttribute, makeTensor, type Node, type Tensor } from "../../ir.ts";

/** Operators whose output has the element type of their first input, though in other wrapping. */
const SAME_ELEMENTS: ReadonlySet<string> = new Set([
  "ConcatFromSequence",
  "Optional",
  "OptionalGetElement",
  "SequenceAt",
  "SequenceConstruct",
  "SplitToSequence",
]);

/** Attributes that name an output's type, and ONNX's number of the type where they are absent. */
const TYPE_ATTRIBUTES: Readonly<Record<string, { name: string; absent: number | "input" }>> = {
  Bernoulli: { name: "dtype", absent: "input" },
  BitCast: { name: "to", absent: 1 },
  BlackmanWindow: { name: "output_datatype", absent: 1 },
  Cast: { name: "to", absent: 1 },
  EyeLike: { name: "dtype", absent: "input" },
  HammingWindow: { name: "output_datatype", absent: 1 },
  HannWindow: { name: "output_datatype", absent: 1 },
  LayerNormalization: { name: "stash_type", absent: 1 },
  MelWeightMatrix: { name: "output_datatype", absent: 1 },
  Multinomial: { name: "dtype", absent: 6 },
  RandomNormal: { name: "dtype", absent: 1 },
  RandomNormalLike: { name: "dtype", absent: "input" },
  RandomUniform: { name: "dtype", absent: 1 },
  RandomUniformLike: { name: "dtype", absent: "input" },
  SequenceEmpty: { name: "dtype", absent: 1 },
};

/** The attribute that sets the type of the output of `node`; null where none does. */
export function typeAttribute(node: Node): string | null {
  if (node.domain !== "") return null;
  if (node.opType === "DequantizeLinear") return "output_dtype";
  return Object.hasOwn(TYPE_ATTRIBUTES, node.opType) ? TYPE_ATTRIBUTES[node.opType]!.name : null;
}

/** The type that the attributes of `node` give its outputs; null where none does. */
export function typeByAttribute(node: Node): DType | null {
  if (node.domain !== "") return null;
  if (node.opType === "ConstantOfShape") {
    const value = attribute(node, "value");
    return value?.type === "tensor" ? value.value.dtype : "float32";
  }
  if (node.opType === "Constant") return constantType(node);
  const name = typeAttribute(node);
  if (name === null) return null;
  const number = intAttribute(node, name, 0);
  if (number !== 0) return dtypeOfOnnx(number) ?? null;
  const absent = TYPE_ATTRIBUTES[node.opType]?.absent ?? "input";
  return absent === "input" ? null : dtypeOfOnnx(absent) ?? null;
}

/** The input whose element type the outputs of `node` have unless it is stated; null for none. */
export function imitatedInput(node: Node): number | null {
  if (node.domain !== "") return null;
  if (node.opType === "DequantizeLinear") return 1;
  const attributeOf = typeAttribute(node);
  const imitates = SAME_ELEMENTS.has(node.opType) ||
    (attributeOf !== null && TYPE_ATTRIBUTES[node.opType]?.absent === "input");
  return imitates ? 0 : null;
}

/** The tensor of a Constant node, where it holds one or floating-point numbers. */
export function constantTensor(node: Node, name: string): Tensor | null {
  for (const { name: key, value } of node.attributes) {
    if (key === "value" && value.type === "tensor") return value.value;
    const numbers = key === "value_float" && value.type === "float"
      ? { dims: [], values: [value.value] }
      : key === "value_floats" && value.type === "floats"
      ? { dims: [value.value.length], values: value.value }
      : null;
    if (numbers !== null) {
      const bytes = new Uint8Array(new Float32Array(numbers.values).buffer);
      return makeTensor(name, "float32", numbers.dims, { kind: "memory", bytes });
    }
  }
  return null;
}

/** The element type of a Constant node. */
function constantType(node: Node): DType | null {
  for (const { name, value } of node.attributes) {
    switch (name) {
      case "value":
        return value.type === "tensor" ? value.value.dtype : null;
      case "sparse_value":
        return value.type === "sparse_tensor" ? value.value.values.dtype : null;
      case "value_float":
      case "value_floats":
        return "float32";
      case "value_int":
      case "value_ints":
        return "int64";
      case "value_string":
      case "value_strings":
        return "string";
    }
  }
  return null;
}
