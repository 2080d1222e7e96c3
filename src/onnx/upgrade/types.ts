/**
 * Element types and ranks of values, as far as they follow from a graph's declarations and its
 * nodes. The upgrade uses them to give a new constant the type of the tensor it meets and to leave
 * out run-time shape arithmetic where the rank is known. What does not follow is null.
 */
import { type DType, dtypeOfOnnx } from "../../dtype.ts";
import {
  attribute,
  type Graph,
  intAttribute,
  intsAttribute,
  type Node,
  type Tensor,
} from "../../ir.ts";

/** What is known of a value. */
export interface ValueType {
  readonly dtype: DType | null;
  readonly rank: number | null;
  /** Elements of a list (rank 1): the rank that a Reshape by it gives. */
  readonly length?: number | null;
}

const UNKNOWN: ValueType = { dtype: null, rank: null, length: null };

/** The values that are visible at one place of a graph: its own and those of the graphs around it. */
export class Scope {
  readonly #types = new Map<string, ValueType>();
  readonly #constants = new Map<string, Tensor>();
  readonly #outer: Scope | null;

  constructor(outer: Scope | null) {
    this.#outer = outer;
  }

  /** Takes in what `graph` declares. An initializer that is an input may be replaced: no constant. */
  declare(graph: Graph): void {
    const declared = [...graph.valueInfo, ...graph.outputs, ...graph.inputs];
    for (const { name, dtype, shape } of declared) {
      const [length = null] = shape?.length === 1 ? shape : [];
      const known = typeof length === "number" ? length : null;
      if (name !== "") this.set(name, { dtype, rank: shape?.length ?? null, length: known });
    }
    const inputs = new Set(graph.inputs.map((input) => input.name));
    for (const tensor of graph.initializers) {
      this.set(tensor.name, typeOf(tensor));
      if (!inputs.has(tensor.name)) this.#constants.set(tensor.name, tensor);
    }
    for (const { values, dims } of graph.sparseInitializers) {
      this.set(values.name, { dtype: values.dtype, rank: dims.length });
    }
  }

  /** What is known of the value `name`. */
  get(name: string): ValueType {
    return this.#types.get(name) ?? this.#outer?.get(name) ?? UNKNOWN;
  }

  /** The tensor that the value `name` always is, or null. */
  constant(name: string): Tensor | null {
    if (this.#types.has(name)) return this.#constants.get(name) ?? null;
    return this.#outer?.constant(name) ?? null;
  }

  /** Records that `name` is the constant `tensor`. */
  setConstant(name: string, tensor: Tensor): void {
    this.set(name, typeOf(tensor));
    this.#constants.set(name, tensor);
  }

  /** Records what is known of `name`. What was declared or recorded before stays. */
  set(name: string, type: ValueType): void {
    const before = this.#types.get(name) ?? UNKNOWN;
    this.#types.set(name, {
      dtype: before.dtype ?? type.dtype,
      rank: before.rank ?? type.rank,
      length: before.length ?? type.length ?? null,
    });
  }

  /** Records the outputs of `node`, as its operator computed them before the upgrade. */
  infer(node: Node): void {
    if (node.domain !== "") return;
    const value = attribute(node, "value");
    if (node.opType === "Constant" && value?.type === "tensor" && node.outputs[0] !== undefined) {
      this.setConstant(node.outputs[0], value.value);
      return;
    }
    const rank = this.#rank(node);
    node.outputs.forEach((name, index) => {
      if (name === "") return;
      this.set(name, {
        dtype: this.#dtype(node, index),
        rank: rankFollows(node, index) ? rank : null,
        length: index === 0 ? this.#length(node) : null,
      });
    });
  }

  #input(node: Node, index: number): ValueType {
    const name = node.inputs[index];
    return name === undefined || name === "" ? UNKNOWN : this.get(name);
  }

  #dtype(node: Node, output: number): DType | null {
    const fixed = FIXED[node.opType];
    if (fixed !== undefined) return fixed;
    if (output === 1 && SECOND_IS_INT64.has(node.opType)) return "int64";
    const from = TYPED_BY_INPUT[node.opType];
    if (from !== undefined) return this.#input(node, from).dtype;
    const named = TYPED_BY_ATTRIBUTE[node.opType];
    if (named !== undefined) {
      const number = intAttribute(node, named.attribute, 0);
      if (number !== 0) return dtypeOfOnnx(number) ?? null;
      if (attribute(node, named.attribute)?.type === "carried") return null;
      return named.otherwise === "input" ? this.#input(node, 0).dtype : named.otherwise;
    }
    switch (node.opType) {
      case "If":
        return subgraphType(node, "then_branch", output);
      case "Loop":
        return subgraphType(node, "body", output + 1);
      case "Scan":
        return subgraphType(node, "body", output);
      case "DequantizeLinear":
        return dtypeOfOnnx(intAttribute(node, "output_dtype", 0)) ?? this.#input(node, 1).dtype;
      case "QuantizeLinear":
        return dtypeOfOnnx(intAttribute(node, "output_dtype", 0)) ??
          (node.inputs[2] ? this.#input(node, 2).dtype : "uint8");
      case "DynamicQuantizeLinear":
        return output === 1 ? "float32" : "uint8";
      case "ConstantOfShape": {
        const value = attribute(node, "value");
        if (value === undefined) return "float32";
        return value.type === "tensor" ? value.value.dtype : null;
      }
      case "Constant":
        return constantType(node);
      case "Dropout":
        return output === 0 ? this.#input(node, 0).dtype : null;
    }
    return UNTYPED.has(node.opType) ? null : this.#input(node, 0).dtype;
  }

  #rank(node: Node): number | null {
    const { opType } = node;
    const rank = (index: number): number | null => this.#input(node, index).rank;
    if (SAME_RANK.has(opType)) return rank(0);
    if (BROADCAST.has(opType)) return highest(node.inputs.map((_, index) => rank(index)));
    switch (opType) {
      case "MatMul":
      case "MatMulInteger":
        return (rank(0) ?? 0) >= 2 && (rank(1) ?? 0) >= 2 ? highest([rank(0), rank(1)]) : null;
      case "Gemm":
      case "Flatten":
      case "NonZero":
        return 2;
      case "Shape":
        return 1;
      case "Size":
        return 0;
      case "Gather": {
        const [data, indices] = [rank(0), rank(1)];
        return data === null || indices === null ? null : data + indices - 1;
      }
      case "Transpose":
        return intsAttribute(node, "perm")?.length ?? rank(0);
      case "Reshape":
        return this.#input(node, 1).length ?? null;
      case "Unsqueeze":
      case "Squeeze": {
        const axes = intsAttribute(node, "axes")?.length ?? this.#input(node, 1).length ?? null;
        const data = rank(0);
        if (data === null || axes === null) return null;
        return opType === "Squeeze" ? data - axes : data + axes;
      }
      case "LSTM":
      case "GRU":
      case "RNN":
        return 4;
    }
    if (opType.startsWith("Reduce") || opType === "ArgMax" || opType === "ArgMin") {
      return intAttribute(node, "keepdims", 1) === 1 ? rank(0) : null;
    }
    return null;
  }

  /** Number of elements of the list that `node` computes. */
  #length(node: Node): number | null {
    const length = (index: number): number | null => this.#input(node, index).length ?? null;
    switch (node.opType) {
      case "Shape":
        return attribute(node, "start") ?? attribute(node, "end")
          ? null
          : this.#input(node, 0).rank;
      case "Cast":
      case "Identity":
        return length(0);
      case "Unsqueeze":
        return this.#input(node, 0).rank === 0 ? 1 : null;
      case "Concat":
        return node.inputs.reduce<number | null>((sum, _, index) => {
          const part = length(index);
          return sum === null || part === null ? null : sum + part;
        }, 0);
      case "Slice": {
        const whole = length(0);
        const [starts, ends] = [intsAttribute(node, "starts"), intsAttribute(node, "ends")];
        if (whole === null || starts?.length !== 1 || ends?.length !== 1) return null;
        const at = (bound: number): number =>
          Math.min(whole, Math.max(0, bound < 0 ? bound + whole : bound));
        return Math.max(0, at(ends[0]!) - at(starts[0]!));
      }
    }
    return null;
  }
}

function typeOf({ dtype, dims }: Tensor): ValueType {
  return { dtype, rank: dims.length, length: dims.length === 1 ? dims[0]! : null };
}

/** True where the rank that is known for a node's first output also holds for output `index`. */
function rankFollows(node: Node, index: number): boolean {
  if (index === 0) return true;
  return SECOND_HAS_FIRST_RANK.has(node.opType);
}

function highest(ranks: readonly (number | null)[]): number | null {
  let most = 0;
  for (const rank of ranks) {
    if (rank === null) return null;
    most = Math.max(most, rank);
  }
  return most;
}

function subgraphType(node: Node, name: string, output: number): DType | null {
  const value = attribute(node, name);
  return value?.type === "graph" ? value.value.outputs[output]?.dtype ?? null : null;
}

function constantType(node: Node): DType | null {
  for (const { name, value } of node.attributes) {
    if (value.type === "sparse_tensor") return value.value.values.dtype;
    if (name === "value_float" || name === "value_floats") return "float32";
    if (name === "value_int" || name === "value_ints") return "int64";
    if (name === "value_string" || name === "value_strings") return "string";
  }
  return null;
}

const names = (list: string): Set<string> => new Set(list.split(" "));

/** Operators whose every output has one type. */
const FIXED: Readonly<Record<string, DType>> = {
  Shape: "int64",
  Size: "int64",
  ArgMax: "int64",
  ArgMin: "int64",
  NonZero: "int64",
  NonMaxSuppression: "int64",
  SequenceLength: "int64",
  ConvInteger: "int32",
  MatMulInteger: "int32",
  ImageDecoder: "uint8",
  TfIdfVectorizer: "float32",
  And: "bool",
  Or: "bool",
  Xor: "bool",
  Not: "bool",
  Equal: "bool",
  Less: "bool",
  LessOrEqual: "bool",
  Greater: "bool",
  GreaterOrEqual: "bool",
  IsInf: "bool",
  IsNaN: "bool",
  OptionalHasElement: "bool",
  RegexFullMatch: "bool",
};

/** Operators whose outputs have the type of an input other than the first. */
const TYPED_BY_INPUT: Readonly<Record<string, number>> = {
  CastLike: 1,
  Where: 1,
  OneHot: 2,
  QLinearConv: 7,
  QLinearMatMul: 7,
};

/** Operators with an attribute for the type, and what holds without it. */
const TYPED_BY_ATTRIBUTE: Readonly<
  Record<string, { attribute: string; otherwise: DType | "input" | null }>
> = {
  Cast: { attribute: "to", otherwise: null },
  BitCast: { attribute: "to", otherwise: null },
  EyeLike: { attribute: "dtype", otherwise: "input" },
  Bernoulli: { attribute: "dtype", otherwise: "input" },
  RandomNormalLike: { attribute: "dtype", otherwise: "input" },
  RandomUniformLike: { attribute: "dtype", otherwise: "input" },
  RandomNormal: { attribute: "dtype", otherwise: "float32" },
  RandomUniform: { attribute: "dtype", otherwise: "float32" },
  Multinomial: { attribute: "dtype", otherwise: "int32" },
  HannWindow: { attribute: "output_datatype", otherwise: "float32" },
  HammingWindow: { attribute: "output_datatype", otherwise: "float32" },
  BlackmanWindow: { attribute: "output_datatype", otherwise: "float32" },
  MelWeightMatrix: { attribute: "output_datatype", otherwise: "float32" },
};

const SECOND_IS_INT64 = names("MaxPool TopK Unique StringSplit");

const SECOND_HAS_FIRST_RANK = names("MaxPool TopK Dropout Split");

/** Operators whose results have no element type that could be followed here. */
const UNTYPED = names(
  "ConcatFromSequence Optional OptionalGetElement SequenceAt SequenceConstruct SequenceEmpty " +
    "SequenceErase SequenceInsert SequenceMap SplitToSequence",
);

/** Operators whose outputs have the rank of the first input. */
const SAME_RANK = names(
  "Abs Acos Acosh Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift Cast CastLike Ceil " +
    "Celu Clip Concat Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Dropout Elu " +
    "Erf Exp Floor Gelu GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization HardSigmoid " +
    "HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu " +
    "Log LogSoftmax LpNormalization LpPool MaxPool MeanVarianceNormalization Mish Neg Not PRelu Pad " +
    "QLinearConv QuantizeLinear Reciprocal Relu Resize ReverseSequence Round ScatterElements " +
    "ScatterND Selu Shrink Sigmoid Sign Sin Sinh Slice Softmax Softplus Softsign SpaceToDepth Split " +
    "Sqrt Tan Tanh ThresholdedRelu Tile TopK Trilu Upsample",
);

const BROADCAST = names(
  "Add And BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max " +
    "Mean Min Mod Mul Or Pow Sub Sum Where Xor",
);
