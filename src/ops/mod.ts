/** Every op that modelcast compiles: the only place where records are registered. */
import { ACTIVATION_OPS } from "./activation.ts";
import { ATTENTION_OPS } from "./attention.ts";
import { BINARY_OPS } from "./binary.ts";
import { BLOCK_QUANTIZED_OPS } from "./block_quantized.ts";
import { CAST_OPS } from "./cast.ts";
import { CONSTANT_OPS } from "./constants.ts";
import { CONVOLUTION_OPS } from "./convolution.ts";
import { CUMULATIVE_OPS } from "./cumulative.ts";
import { DATA_DEPENDENT_OPS } from "./data_dependent.ts";
import { DEFORMABLE_CONVOLUTION_OPS } from "./deformable_convolution.ts";
import { DIFFUSION_OPS } from "./diffusion.ts";
import { DROPOUT_OPS } from "./dropout.ts";
import { EINSUM_OPS } from "./einsum.ts";
import { FLOAT_QUANTIZED_OPS } from "./float_quantized.ts";
import { FUSED_ATTENTION_OPS } from "./fused_attention.ts";
import { GATHER_OPS } from "./gather.ts";
import { GROUP_QUERY_ATTENTION_OPS } from "./group_query_attention.ts";
import { INTEGER_CONVOLUTION_OPS } from "./integer_convolution.ts";
import { INTEGER_MATMUL_OPS } from "./integer_matmul.ts";
import { LINEAR_ATTENTION_OPS } from "./linear_attention.ts";
import { MATMUL_OPS } from "./matmul.ts";
import { MOVEMENT_OPS } from "./movement.ts";
import { NGRAM_OPS } from "./ngrams.ts";
import { NORMALIZATION_OPS } from "./normalization.ts";
import type { OpRecord } from "./op.ts";
import { OPTIONAL_OPS } from "./optional.ts";
import { PACKED_CODE_OPS } from "./packed_codes.ts";
import { POOLING_OPS } from "./pooling.ts";
import { PROJECTED_ATTENTION_OPS } from "./projected_attention.ts";
import { QLINEAR_OPS } from "./qlinear.ts";
import { QUANTIZE_OPS } from "./quantize.ts";
import { RANDOM_OPS } from "./random.ts";
import { RECURRENT_OPS } from "./recurrent.ts";
import { REDUCTION_OPS } from "./reduction.ts";
import { REGION_OPS } from "./regions.ts";
import { RESHAPE_OPS } from "./reshape.ts";
import { RESIZE_OPS } from "./resize.ts";
import { ROTARY_OPS } from "./rotary.ts";
import { SAMPLING_OPS } from "./sampling.ts";
import { SCATTER_OPS } from "./scatter.ts";
import { SELECTION_OPS } from "./selection.ts";
import { SIGNAL_OPS } from "./signal.ts";
import { SKIP_NORMALIZATION_OPS } from "./skip_normalization.ts";
import { SLICING_OPS } from "./slicing.ts";
import { SOFTMAX_OPS } from "./softmax.ts";
import { SPELLED_ATTENTION_OPS } from "./spelled_attention.ts";
import { UNARY_OPS } from "./unary.ts";

const RECORDS: readonly OpRecord[] = [
  ...ACTIVATION_OPS,
  ...ATTENTION_OPS,
  ...BINARY_OPS,
  ...BLOCK_QUANTIZED_OPS,
  ...CAST_OPS,
  ...CONSTANT_OPS,
  ...CONVOLUTION_OPS,
  ...CUMULATIVE_OPS,
  ...DATA_DEPENDENT_OPS,
  ...DEFORMABLE_CONVOLUTION_OPS,
  ...DIFFUSION_OPS,
  ...DROPOUT_OPS,
  ...EINSUM_OPS,
  ...FLOAT_QUANTIZED_OPS,
  ...FUSED_ATTENTION_OPS,
  ...GATHER_OPS,
  ...GROUP_QUERY_ATTENTION_OPS,
  ...INTEGER_CONVOLUTION_OPS,
  ...INTEGER_MATMUL_OPS,
  ...LINEAR_ATTENTION_OPS,
  ...MATMUL_OPS,
  ...MOVEMENT_OPS,
  ...NGRAM_OPS,
  ...NORMALIZATION_OPS,
  ...OPTIONAL_OPS,
  ...PACKED_CODE_OPS,
  ...POOLING_OPS,
  ...PROJECTED_ATTENTION_OPS,
  ...QLINEAR_OPS,
  ...QUANTIZE_OPS,
  ...RANDOM_OPS,
  ...RECURRENT_OPS,
  ...REDUCTION_OPS,
  ...REGION_OPS,
  ...RESHAPE_OPS,
  ...RESIZE_OPS,
  ...ROTARY_OPS,
  ...SAMPLING_OPS,
  ...SCATTER_OPS,
  ...SELECTION_OPS,
  ...SIGNAL_OPS,
  ...SKIP_NORMALIZATION_OPS,
  ...SLICING_OPS,
  ...SOFTMAX_OPS,
  ...SPELLED_ATTENTION_OPS,
  ...UNARY_OPS,
];

const BY_NAME = new Map(RECORDS.map((record) => [`${record.domain}:${record.name}`, record]));

/** Every record, in order of registration. */
export function opRecords(): readonly OpRecord[] {
  return RECORDS;
}

/** The record of an op, or undefined where there is none. */
export function opRecord(domain: string, name: string): OpRecord | undefined {
  return BY_NAME.get(`${domain}:${name}`);
}
