/**
 * BatchNormalization after a convolution of constant weights: a factor and a summand per channel,
 * which go into the weights and the bias. https://onnx.ai/onnx/operators/onnx__BatchNormalization.html
 */
import {
  elementCount,
  floatAttribute,
  intAttribute,
  makeNode,
  makeTensor,
  type Node,
  type Tensor,
} from "../ir.ts";
import { tensorBytes } from "../onnx/tensor.ts";
import type { ModelView, Patch, Rule } from "./rule.ts";

/** Bytes of weights that are rewritten in memory at most, in a whole model. */
const MOST_FOLDED_BYTES = 2 ** 26;

/** The elements of a float32 constant. */
async function floatsOf(tensor: Tensor): Promise<Float32Array> {
  return new Float32Array((await tensorBytes(tensor)).slice().buffer);
}

/** A float32 constant of `values`. */
function floats(name: string, dims: readonly number[], values: Float32Array): Tensor {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return makeTensor(name, "float32", dims, { kind: "memory", bytes });
}

/** The named inputs as float32 constants; null where one is missing or no such constant. */
function constants(view: ModelView, names: readonly (string | undefined)[]): Tensor[] | null {
  const found = names.map((name) => view.constant(name));
  const isFloat = (tensor: Tensor | null): tensor is Tensor => tensor?.dtype === "float32";
  return found.every(isFloat) ? found : null;
}

async function fold(
  view: ModelView,
  node: Node,
  convolution: Node,
  weight: Tensor,
  bias: Tensor | null,
  statistics: readonly Tensor[],
): Promise<Patch | null> {
  const isTransposed = convolution.opType === "ConvTranspose";
  const channels = weight.dims[isTransposed ? 1 : 0]!;
  const vectors = [...statistics, ...(bias === null ? [] : [bias])];
  if (vectors.some(({ dims }) => elementCount(dims) !== channels)) return null;
  const [scale, offset, mean, variance] = await Promise.all(statistics.map(floatsOf));
  const epsilon = floatAttribute(node, "epsilon", 1e-5);
  const factors = Array.from(
    { length: channels },
    (_, i) => scale![i]! / Math.sqrt(variance![i]! + epsilon),
  );
  const values = await floatsOf(weight);
  const each = elementCount(weight.dims.slice(isTransposed ? 2 : 1));
  for (let i = 0; i < values.length; i++) {
    values[i] = values[i]! * factors[Math.floor(i / each) % channels]!;
  }
  const before = bias === null ? null : await floatsOf(bias);
  const summands = Float32Array.from(
    factors,
    (factor, i) => ((before?.[i] ?? 0) - mean![i]!) * factor + offset![i]!,
  );
  view.foldedBytes += values.byteLength;
  const made = floats(view.fresh(weight.name), weight.dims, values);
  const summand = floats(view.fresh(`${weight.name}/bias`), [channels], summands);
  const [input] = convolution.inputs;
  const folded = {
    ...makeNode(
      convolution.opType,
      "",
      [input!, made.name, summand.name],
      [node.outputs[0]!],
      convolution.attributes,
      convolution.name,
    ),
  };
  return { nodes: [folded], initializers: [made, summand] };
}

/** The convolution computes both; it must be read by nothing else. */
export const batchNormalizations: Rule = {
  name: "convolution with batch normalization",
  rewrite(view, node) {
    if (node.opType !== "BatchNormalization" || node.domain !== "") return null;
    if (intAttribute(node, "training_mode", 0) !== 0) return null;
    const convolution = view.maker(node.inputs[0]);
    if (convolution === null || convolution.domain !== "") return null;
    const { opType, inputs } = convolution;
    if (opType !== "Conv" && opType !== "ConvTranspose") return null;
    if (opType === "ConvTranspose" && intAttribute(convolution, "group", 1) !== 1) return null;
    if (view.reads(node.inputs[0]) !== 1) return null;
    const statistics = constants(view, node.inputs.slice(1, 5));
    const [weight] = constants(view, [inputs[1]]) ?? [];
    const bias = (inputs[2] ?? "") === "" ? null : constants(view, [inputs[2]])?.[0];
    if (statistics?.length !== 4 || weight === undefined || bias === undefined) return null;
    if (weight.dims.length < 3) return null;
    if (view.foldedBytes + 4 * elementCount(weight.dims) > MOST_FOLDED_BYTES) return null;
    return fold(view, node, convolution, weight, bias, statistics);
  },
};
