/**
 * Changes of what an operator computes by default, of its name, or of the types it takes: the node
 * becomes one or several that compute what it did.
 */
import { type DType, DTYPES } from "../../dtype.ts";
import { int, makeNode, type Node } from "../../ir.ts";
import { onnxNumber, type Rewriter, setInput, stringAttribute, takeAttribute } from "./rewriter.ts";

/** Lowest opset version whose `Reshape` can give a dimension of 0 as it stands. */
const ALLOW_ZERO_SINCE = 14;

/**
 * Softmax, LogSoftmax and Hardmax at 13. Before, the input was coerced to two dimensions at `axis`
 * (default 1) and every row of that was normalized; since, one axis is. Where `axis` is the last
 * both are the same; else Flatten and Reshape do the coercion at run time. (At 13 alone, whose
 * Reshape can't end in an extent of 0, an empty tensor that ends so fails.)
 */
export function softmaxAxis(node: Node, rewriter: Rewriter): Node[] {
  const axis = takeAttribute(node, "axis") ?? int("axis", 1);
  const [data = ""] = node.inputs;
  const [output = ""] = node.outputs;
  const rank = rewriter.rankOf(data);
  if (axis.value.type === "int") {
    const at = Number(axis.value.value);
    if (at === -1 || at + 1 === rank) {
      node.attributes.push(int("axis", -1));
      return [node];
    }
  }
  const shape = rewriter.fresh(`${output}_shape`);
  const rows = rewriter.fresh(`${output}_rows`);
  const normalized = rewriter.fresh(`${output}_normalized`);
  node.inputs = [rows];
  node.outputs = [normalized];
  node.attributes.push(int("axis", -1));
  return [
    makeNode("Shape", "", [data], [shape]),
    makeNode("Flatten", "", [data], [rows], [axis]),
    node,
    makeNode(
      "Reshape",
      "",
      [normalized, shape],
      [output],
      rewriter.target >= ALLOW_ZERO_SINCE ? [int("allowzero", 1)] : [],
    ),
  ];
}

/**
 * BatchNormalization at 9: `spatial` 0, statistics for every element of a sample, is gone. It is
 * the same as flattening a sample into channels without extent.
 */
export function batchNormalizationSpatial(node: Node, rewriter: Rewriter): Node[] {
  const spatial = rewriter.plainInt(node, "spatial", 1);
  takeAttribute(node, "spatial");
  if (spatial !== 0) return [node];
  const extra = node.outputs.slice(1).find((output) => rewriter.isRead(output));
  if (extra !== undefined) {
    throw rewriter.error(
      node,
      `its output "${extra}" holds training statistics of every element, which later versions do ` +
        `not have. Export the model for inference`,
    );
  }
  const [data = "", ...statistics] = node.inputs;
  const [output = ""] = node.outputs;
  const shape = rewriter.fresh(`${output}_shape`);
  const rows = rewriter.fresh(`${output}_rows`);
  const normalized = rewriter.fresh(`${output}_normalized`);
  const list = rewriter.int64s("list", [-1]);
  const before = statistics.map((name) => {
    const flat = rewriter.fresh(`${name}_flat`);
    return makeNode("Reshape", "", [name, list], [flat]);
  });
  node.inputs = [rows, ...before.map((reshape) => reshape.outputs[0]!)];
  node.outputs = [normalized];
  return [
    ...before,
    makeNode("Shape", "", [data], [shape]),
    makeNode("Flatten", "", [data], [rows], [int("axis", 1)]),
    node,
    makeNode("Reshape", "", [normalized, shape], [output]),
  ];
}

/**
 * BatchNormalization at 14: training is an attribute instead of the presence of outputs, and the
 * two outputs for a gradient are gone.
 */
export function batchNormalizationTraining(node: Node, rewriter: Rewriter): Node[] {
  const saved = node.outputs.slice(3).find((output) => rewriter.isRead(output));
  if (saved !== undefined) {
    throw rewriter.error(
      node,
      `its output "${saved}" (statistics saved for a gradient) does not exist from opset 14 on. ` +
        `Export the model for inference`,
    );
  }
  if (node.outputs.slice(1).every((output) => output === "")) {
    node.outputs.length = 1;
    return [node];
  }
  node.outputs.length = Math.min(node.outputs.length, 3);
  node.attributes.push(int("training_mode", 1));
  return [node];
}

/**
 * GroupNormalization at 21: scale and bias have an element a channel instead of one a group, and
 * the statistics are computed in float32 unless `stash_type` says otherwise; they had been computed
 * in the type of the input.
 */
export function groupNormalizationChannels(node: Node, rewriter: Rewriter): Node[] {
  const [data = "", scale = "", bias = ""] = node.inputs;
  const [output = ""] = node.outputs;
  const named = (part: string): string => rewriter.fresh(`${output}_${part}`);
  const channels = named("channels");
  const groups = named("groups");
  const repeat = named("repeat");
  const spread = named("spread");
  const nodes = [
    makeNode("Shape", "", [data], [channels], [int("start", 1), int("end", 2)]),
    makeNode("Shape", "", [scale], [groups]),
    makeNode("Div", "", [channels, groups], [repeat]),
    makeNode("Concat", "", [groups, repeat], [spread], [int("axis", 0)]),
  ];
  const column = rewriter.int64s("column", [-1, 1]);
  const list = rewriter.int64s("list", [-1]);
  [scale, bias].forEach((name, index) => {
    const [grouped, expanded, perChannel] = [
      named("grouped"),
      named("expanded"),
      named("per_channel"),
    ];
    nodes.push(
      makeNode("Reshape", "", [name, column], [grouped]),
      makeNode("Expand", "", [grouped, spread], [expanded]),
      makeNode("Reshape", "", [expanded, list], [perChannel]),
    );
    node.inputs[index + 1] = perChannel;
  });
  const dtype = rewriter.dtypeOf(data);
  if (dtype !== null && dtype !== "float32") {
    node.attributes.push(int("stash_type", onnxNumber(dtype)));
  }
  return [...nodes, node];
}

/** Dropout at 10: the mask had the type of the data and is now boolean. */
export function dropoutMask(node: Node, rewriter: Rewriter): Node[] {
  const mask = node.outputs[1];
  if (!rewriter.isRead(mask)) {
    node.outputs.length = Math.min(node.outputs.length, 1);
    return [node];
  }
  const boolean = rewriter.fresh(`${mask}_boolean`);
  node.outputs[1] = boolean;
  return [node, rewriter.castNode(node, boolean, mask!, node.inputs[0] ?? "")];
}

/** GridSample at 20: the modes lost the "bi" of two dimensions. */
export function gridSampleMode(node: Node, rewriter: Rewriter): Node[] {
  const mode = rewriter.plainText(node, "mode");
  if (mode === null) return [node];
  takeAttribute(node, "mode");
  const renamed: Readonly<Record<string, string>> = { bilinear: "linear", bicubic: "cubic" };
  node.attributes.push(stringAttribute("mode", renamed[mode] ?? mode));
  return [node];
}

/** RoiAlign at 16: the half-pixel shift, which had not been made, is the default. */
export function roiAlignCoordinates(node: Node): Node[] {
  node.attributes.push(stringAttribute("coordinate_transformation_mode", "output_half_pixel"));
  return [node];
}

/** Scatter at 11: the same under the name ScatterElements. */
export function scatterElements(node: Node): Node[] {
  node.opType = "ScatterElements";
  return [node];
}

/** QuantizeLinear at 19: the scale has the type of the data, so int32 data is cast to float32. */
export function quantizeLinearInteger(node: Node, rewriter: Rewriter): Node[] {
  const [data = ""] = node.inputs;
  if (rewriter.dtypeOf(data) !== "int32") return [node];
  const float = rewriter.fresh(`${data}_float32`);
  setInput(node, 0, float);
  return [makeNode("Cast", "", [data], [float], [int("to", onnxNumber("float32"))]), node];
}

/**
 * Erf at 13, ReduceLogSum and ReduceLogSumExp at 28: no integers any more. Integers are computed in
 * float64 and truncated back.
 */
export function integersThroughFloat64(node: Node, rewriter: Rewriter): Node[] {
  const [data = ""] = node.inputs;
  const [output = ""] = node.outputs;
  const dtype: DType | null = rewriter.dtypeOf(data);
  if (dtype === null || !["int", "uint"].includes(DTYPES[dtype].kind)) return [node];
  const float = rewriter.fresh(`${data}_float64`);
  const result = rewriter.fresh(`${output}_float64`);
  node.inputs[0] = float;
  node.outputs = [result];
  return [
    makeNode("Cast", "", [data], [float], [int("to", onnxNumber("float64"))]),
    node,
    makeNode("Cast", "", [result], [output], [int("to", onnxNumber(dtype))]),
  ];
}
