/**
 * The upgrade table: one row for every change of an operator of ONNX's default domain between
 * opset {@link LOWEST_OPSET} and {@link HIGHEST_OPSET}. A row says how a node of the version before
 * becomes one of version `since`, or in words why it already is. Sources: the operators' change log
 * (https://github.com/onnx/onnx/blob/main/docs/Changelog.md) and `onnx.defs` 1.23.2.
 */
import type { Node } from "../../ir.ts";
import {
  axesInput,
  clipInputs,
  dftInput,
  dropoutInput,
  padInputs,
  sliceInputs,
  splitCount,
  splitInput,
  topKInput,
  upsampleInput,
} from "./inputs.ts";
import { batchNormalizationTest, broadcastAxis, slopeAxis, withoutAttributes } from "./opset7.ts";
import { resizeAttributes, resizeOmissions, upsampleScales, upsampleToResize } from "./resize.ts";
import type { Rewriter } from "./rewriter.ts";
import { scanBatch } from "./scan.ts";
import {
  batchNormalizationSpatial,
  batchNormalizationTraining,
  dropoutMask,
  gridSampleMode,
  groupNormalizationChannels,
  integersThroughFloat64,
  quantizeLinearInteger,
  roiAlignCoordinates,
  scatterElements,
  softmaxAxis,
} from "./semantics.ts";

/**
 * Rewrites a node. The result stands in its place, in topological order, and is of the row's
 * version or of the later one it names.
 */
export type Change = (
  node: Node,
  rewriter: Rewriter,
) => Node[] | { nodes: Node[]; version: number };

/** One change of an operator. */
export interface Row {
  readonly op: string;
  /** First opset version with the change. */
  readonly since: number;
  /** How a node is rewritten, or the reason why it stays as it is. */
  readonly change: Change | string;
}

/** Oldest opset version that a model may have. */
export const LOWEST_OPSET = 6;

/** The ops of opset {@link LOWEST_OPSET} that have been the same since opset 1. */
export const SINCE_FIRST: ReadonlySet<string> = new Set(
  [
    "And ArgMax ArgMin AveragePool Constant Conv ConvTranspose DepthToSpace Equal Flatten Gather",
    "GlobalAveragePool GlobalMaxPool Greater Hardmax Identity If LRN LSTM Less LogSoftmax Loop",
    "LpNormalization MatMul MaxPool MaxRoiPool Not Or Pow RNN RandomNormal RandomNormalLike",
    "RandomUniform RandomUniformLike ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax",
    "ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Shape Size Slice Softmax Softplus",
    "Softsign SpaceToDepth Squeeze TopK Transpose Unsqueeze Upsample Xor",
  ].join(" ").split(" "),
);

/** Newest opset version that a model can be raised to. */
export const HIGHEST_OPSET = 28;

const rows = (since: number, ops: string, change: Change | string): Row[] =>
  ops.split(" ").map((op) => ({ op, since, change }));

const TYPES = "it takes more element types";
const NEGATIVE = "an axis may be negative, which had been undefined";
const WORDS = "its description is more precise; runtimes compute the same";
const OFF = "its new attributes default to what it did";

/** Every change, by version. */
export const ROWS: readonly Row[] = [
  ...rows(7, "Add And Div Equal Greater Less Mul Or Pow Sub Xor", broadcastAxis),
  ...rows(7, "PRelu", slopeAxis),
  ...rows(7, "AveragePool", OFF),
  ...rows(7, "BatchNormalization", batchNormalizationTest),
  ...rows(7, "Dropout", withoutAttributes("is_test")),
  ...rows(7, "GRU LSTM RNN", withoutAttributes("output_sequence")),
  ...rows(7, "Gemm", withoutAttributes("broadcast")),
  ...rows(7, "Upsample", upsampleScales),

  ...rows(8, "Max Mean Min Sum", "its inputs may broadcast"),
  ...rows(8, "MaxPool", "it has a second, optional output"),

  ...rows(9, "BatchNormalization", batchNormalizationSpatial),
  ...rows(9, "Cast Constant Flatten Gemm Greater Less MatMul PRelu", TYPES),
  ...rows(9, "Scan", scanBatch),
  ...rows(9, "Upsample", upsampleInput),

  ...rows(10, "AveragePool MaxPool", OFF),
  ...rows(10, "Dropout", dropoutMask),
  ...rows(10, "Slice", sliceInputs),
  ...rows(10, "TopK", topKInput),
  ...rows(10, "Upsample", upsampleToResize),

  ...rows(11, "ArgMax ArgMin Compress Concat Flatten Gather Hardmax LogSoftmax", NEGATIVE),
  ...rows(11, "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean", NEGATIVE),
  ...rows(11, "ReduceMin ReduceProd ReduceSum ReduceSumSquare Scan Slice Softmax", NEGATIVE),
  ...rows(11, "Split Squeeze Unsqueeze", NEGATIVE),
  ...rows(11, "AveragePool Conv LpPool MaxPool MaxUnpool NonMaxSuppression", WORDS),
  ...rows(11, "Clip", clipInputs),
  ...rows(11, "Constant", "its value may be sparse"),
  ...rows(
    11,
    "ConvTranspose",
    "the formula for SAME_UPPER was corrected to what its attribute said and runtimes compute",
  ),
  ...rows(11, "DepthToSpace TopK", OFF),
  ...rows(11, "Equal", TYPES),
  ...rows(11, "Gemm", "its last input is optional"),
  ...rows(11, "If", "its branches may differ in shape"),
  ...rows(11, "Loop", "its condition is optional"),
  ...rows(
    11,
    "OneHot",
    "indices, which had to be non-negative, may be negative; runtimes count from the end always",
  ),
  ...rows(11, "Pad", padInputs),
  ...rows(11, "Resize", resizeAttributes),
  ...rows(11, "Scatter", scatterElements),

  ...rows(12, "ArgMax ArgMin GatherND", OFF),
  ...rows(12, "Clip Max MaxPool Min Pow ReduceMax ReduceMin", TYPES),
  ...rows(12, "Constant", "its value may be a number, a string or a list"),
  ...rows(12, "Dropout", dropoutInput),

  ...rows(13, "Abs Add ArgMax ArgMin Cast Ceil Clip Concat Constant DepthToSpace Div", TYPES),
  ...rows(13, "Dropout Equal Exp Expand Flatten Floor Gather GatherElements GatherND", TYPES),
  ...rows(13, "Gemm Greater Identity If IsNaN LRN Less Log Loop MatMul Max Mean", TYPES),
  ...rows(13, "MeanVarianceNormalization Min Mod Mul Neg NonZero Pad Pow Reciprocal", TYPES),
  ...rows(13, "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean", TYPES),
  ...rows(13, "ReduceMin ReduceProd ReduceSumSquare Relu Reshape ScatterElements", TYPES),
  ...rows(13, "ScatterND Shape Sigmoid Sign Size Slice SoftmaxCrossEntropyLoss", TYPES),
  ...rows(13, "SpaceToDepth Sqrt Sub Sum Tanh Tile Transpose", TYPES),
  ...rows(13, "DequantizeLinear QuantizeLinear", "a scale may belong to an axis"),
  ...rows(13, "Erf", integersThroughFloat64),
  ...rows(13, "Hardmax LogSoftmax Softmax", softmaxAxis),
  ...rows(13, "NegativeLogLikelihoodLoss", WORDS),
  ...rows(13, "ReduceSum Squeeze Unsqueeze", axesInput),
  ...rows(13, "Resize", resizeOmissions),
  ...rows(13, "Split", splitInput),

  ...rows(14, "Add CumSum Div Identity Mul Relu Sub", TYPES),
  ...rows(14, "BatchNormalization", batchNormalizationTraining),
  ...rows(14, "GRU LSTM RNN Reshape", OFF),

  ...rows(15, "BatchNormalization", "statistics may have a type of their own"),
  ...rows(15, "Pow", TYPES),
  ...rows(15, "Shape", OFF),

  ...rows(16, "GreaterOrEqual Identity If LeakyRelu LessOrEqual Loop PRelu Scan Where", TYPES),
  ...rows(16, "RoiAlign", roiAlignCoordinates),
  ...rows(16, "ScatterElements ScatterND", OFF),

  ...rows(18, "LpPool Resize", OFF),
  ...rows(18, "OptionalGetElement", TYPES),
  ...rows(18, "OptionalHasElement", "its input is optional and may be no optional value"),
  ...rows(18, "Pad", "it has a fourth, optional input"),
  ...rows(18, "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean", axesInput),
  ...rows(18, "ReduceMin ReduceProd ReduceSumSquare", axesInput),
  ...rows(18, "ScatterElements ScatterND", "it has more reductions"),
  ...rows(18, "Split", splitCount),

  ...rows(19, "AveragePool Cast CastLike", OFF),
  ...rows(19, "Constant DequantizeLinear Equal Identity If Loop Reshape Scan Shape Size", TYPES),
  ...rows(19, "Pad Resize", "it has one more mode"),
  ...rows(19, "QuantizeLinear", quantizeLinearInteger),

  ...rows(20, "ConstantOfShape IsInf IsNaN ReduceMax ReduceMin", TYPES),
  ...rows(20, "DFT", dftInput),
  ...rows(20, "GridSample", gridSampleMode),

  ...rows(21, "Cast CastLike Constant ConstantOfShape Flatten Identity If Loop Pad", TYPES),
  ...rows(21, "QLinearMatMul Reshape Scan Shape Size Squeeze Transpose Unsqueeze", TYPES),
  ...rows(21, "DequantizeLinear QuantizeLinear", OFF),
  ...rows(21, "GroupNormalization", groupNormalizationChannels),

  ...rows(22, "Acos Acosh Asin Asinh Atan Atanh Bernoulli Conv ConvTranspose Cos Cosh", TYPES),
  ...rows(22, "DeformConv Det Dropout Elu EyeLike GRU GlobalAveragePool GlobalLpPool", TYPES),
  ...rows(22, "GlobalMaxPool GridSample HardSigmoid HardSwish InstanceNormalization LSTM", TYPES),
  ...rows(22, "LpNormalization LpPool MaxRoiPool MaxUnpool Mish Multinomial", TYPES),
  ...rows(22, "NegativeLogLikelihoodLoss RNN RandomNormal RandomNormalLike RandomUniform", TYPES),
  ...rows(22, "RandomUniformLike RoiAlign Round Selu Sin Sinh Softplus Softsign Tan", TYPES),
  ...rows(22, "ThresholdedRelu", TYPES),
  ...rows(
    22,
    "AveragePool MaxPool",
    "with ceil_mode a window that would start in the padding, which held nothing, is left out; " +
      "runtimes leave it out always",
  ),

  ...rows(23, "Cast CastLike Constant ConstantOfShape Flatten Identity If Loop Pad", TYPES),
  ...rows(23, "Reshape Scan Shape Size Squeeze Transpose Unsqueeze", TYPES),
  ...rows(23, "DequantizeLinear QuantizeLinear", OFF),

  ...rows(24, "Attention", "it has one more optional input, and a mask may be shorter"),
  ...rows(
    24,
    "Cast CastLike",
    "its new attribute concerns a new type; the infinities of two float8 types were corrected",
  ),
  ...rows(24, "Constant ConstantOfShape DequantizeLinear Flatten Identity If Loop Pad", TYPES),
  ...rows(24, "QuantizeLinear Reshape Scan Shape Size SplitToSequence Squeeze TopK", TYPES),
  ...rows(24, "Transpose Unsqueeze", TYPES),

  ...rows(25, "Attention", OFF),
  ...rows(25, "Cast CastLike Constant ConstantOfShape DequantizeLinear Flatten Identity", TYPES),
  ...rows(25, "If Loop Pad QuantizeLinear Reshape Scan Shape Size Squeeze Transpose", TYPES),
  ...rows(25, "Unsqueeze", TYPES),

  ...rows(27, "Range", "it takes half-width types, and its new attribute concerns only those"),

  ...rows(28, "BitShift Cast Celu Compress DequantizeLinear Einsum OneHot Optional", TYPES),
  ...rows(28, "OptionalGetElement OptionalHasElement QuantizeLinear ReverseSequence Unique", TYPES),
  ...rows(28, "DepthToSpace Mod", WORDS),
  ...rows(28, "ReduceLogSum ReduceLogSumExp", integersThroughFloat64),
  ...rows(28, "SpaceToDepth", OFF),
];
