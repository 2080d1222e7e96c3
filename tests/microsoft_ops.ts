/**
 * Calls of com.microsoft's operators, a model of one node each, with inputs to run it on: what has to
 * give the numbers that ONNX Runtime gives.
 */
import { byteLength, type DType } from "../src/dtype.ts";
import {
  type Attribute,
  elementCount,
  int,
  ints,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Model,
} from "../src/ir.ts";
import type { Elements, Value } from "../conformance/values.ts";
import { float, text } from "./attributes.ts";

export { float, text };

/** One call. */
export interface OpCase {
  readonly name: string;
  /** A new model each time. */
  readonly build: (path: string) => Model;
  readonly inputs: ReadonlyMap<string, Value>;
  /** Integers may differ by one where a float was next to a half. */
  readonly nearly: boolean;
}

/** An operand of a call; a constant is an initializer of the model. */
export interface Given extends Value {
  readonly constant: boolean;
}

/** A number from 0 up to 1 that `seed` decides. */
function random(seed: number): number {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0;
  state = Math.imul(state ^ (state >>> 15), 0x85ebca6b) >>> 0;
  state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35) >>> 0;
  return ((state ^ (state >>> 16)) >>> 0) / 2 ** 32;
}

let seeds = 0;

const ARRAYS = {
  float32: Float32Array,
  uint8: Uint8Array,
  int8: Int8Array,
  int32: Int32Array,
  bool: Uint8Array,
} as const;

type Type = keyof typeof ARRAYS | "int64" | "float16";

function elementsOf(dtype: Type, values: readonly number[]): Elements {
  if (dtype === "int64") return BigInt64Array.from(values, BigInt);
  if (dtype === "float16") return new Uint16Array(Float16Array.from(values).buffer);
  return ARRAYS[dtype].from(values);
}

export function given(dtype: Type, dims: readonly number[], values: readonly number[]): Given {
  return { dtype, dims, data: elementsOf(dtype, values), constant: false };
}

/** Random numbers: floats from -2 to 2, integers over the whole range of bytes. */
export function some(dtype: Type, ...dims: number[]): Given {
  const seed = 1000 * ++seeds;
  const [least, span] = dtype === "uint8" ? [0, 256] : dtype === "int8" ? [-128, 256] : [-2, 4];
  const values = Array.from({ length: elementCount(dims) }, (_, i) => {
    const value = least + span * random(seed + i);
    return dtype.startsWith("float") ? value : Math.floor(value);
  });
  return given(dtype, dims, values);
}

/** Random integers from `least` up to `end`. */
export function whole(dtype: Type, dims: readonly number[], least: number, end: number): Given {
  const seed = 1000 * ++seeds;
  return given(
    dtype,
    dims,
    Array.from(
      { length: elementCount(dims) },
      (_, i) => least + Math.floor((end - least) * random(seed + i)),
    ),
  );
}

/** Random positive scales around `size`. */
function scales(size: number, ...dims: number[]): Given {
  const seed = 1000 * ++seeds;
  return given(
    "float32",
    dims,
    Array.from({ length: elementCount(dims) }, (_, i) => size * (0.5 + random(seed + i))),
  );
}

/** `operand` as an initializer. */
export function fixed(operand: Given): Given {
  return { ...operand, constant: true };
}

/** The raw bytes of packed codes as an operand of another type, such as int4. */
function packed(dtype: DType, dims: readonly number[], bytes: Given): Given {
  if (byteLength(dtype, elementCount(dims)) !== bytes.data.length) {
    throw new RangeError(`${bytes.data.length} bytes for ${dtype} [${dims}]`);
  }
  return { dtype, dims, data: bytes.data, constant: true };
}

const scale = (value: number): Given => fixed(given("float32", [], [value]));
const zero = (dtype: Type, value: number): Given => fixed(given(dtype, [], [value]));

/** A call of `op`; `outputs` are the types and ranks of its results, null for one that is not wanted. */
export function call(
  name: string,
  op: string,
  operands: readonly (Given | null)[],
  outputs: readonly (readonly [DType, number] | null)[],
  attributes: readonly Attribute[] = [],
  domain = "com.microsoft",
): OpCase {
  const names = operands.map((operand, i) => operand === null ? "" : `i${i}`);
  const wanted = outputs.map((output, i) => output === null ? "" : `o${i}`);
  const free = operands.flatMap((operand, i) =>
    operand === null || operand.constant ? [] : [[names[i]!, operand] as const]
  );
  return {
    name,
    nearly: outputs.some((output) => output !== null && !output[0].startsWith("float")),
    inputs: new Map(free),
    build: (path) =>
      makeModel(
        path,
        10,
        new Map([["", 21], ["com.microsoft", 1]]),
        makeGraph("call", {
          nodes: [makeNode(op, domain, names, wanted, [...attributes])],
          initializers: operands.flatMap((operand, i) => {
            if (operand === null || !operand.constant) return [];
            const { dtype, dims, data } = operand;
            const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
            return [makeTensor(names[i]!, dtype, dims, { kind: "memory", bytes })];
          }),
          inputs: free.map(([input, { dtype, dims }]) => makeValueInfo(input, dtype, dims)),
          outputs: outputs.flatMap((output, i) =>
            output === null
              ? []
              : [makeValueInfo(wanted[i]!, output[0], Array<null>(output[1]).fill(null))]
          ),
        }),
      ),
  };
}

/** MatMulNBits of [2, 3, K] by weights [N, K]. */
function matMulNBits(
  bits: number,
  K: number,
  options: { zeroPoints?: "packed" | "float"; bias?: boolean; block?: number } = {},
): OpCase {
  const [N, block] = [6, options.block ?? 16];
  const blocks = Math.ceil(K / block);
  const zeroPoints = options.zeroPoints === "packed"
    ? fixed(some("uint8", N, Math.ceil((blocks * bits) / 8)))
    : options.zeroPoints === "float"
    ? fixed(some("float32", N, blocks))
    : null;
  const tail = options.bias === true
    ? [zeroPoints, null, fixed(some("float32", N))]
    : zeroPoints === null
    ? []
    : [zeroPoints];
  return call(
    `MatMulNBits, ${bits} bits, K ${K}, zero points ${options.zeroPoints ?? "none"}`,
    "MatMulNBits",
    [
      some("float32", 2, 3, K),
      fixed(some("uint8", N, blocks, (block * bits) / 8)),
      fixed(scales(0.1, N, blocks)),
      ...tail,
    ],
    [["float32", 3]],
    [int("K", K), int("N", N), int("bits", bits), int("block_size", block)],
  );
}

/** GatherBlockQuantized of [2, 3] rows of a table of 7 rows of 32 weights in bytes. */
function gatherBytes(bits: number, zeroPoints: boolean): OpCase {
  return call(
    `GatherBlockQuantized, ${bits} bits in bytes${zeroPoints ? ", zero points" : ""}`,
    "GatherBlockQuantized",
    [
      fixed(some("uint8", 7, (32 * bits) / 8)),
      given("int64", [2, 3], [0, 6, -1, 3, 2, -7]),
      fixed(scales(0.1, 7, 2)),
      ...(zeroPoints ? [fixed(some("uint8", 7, Math.ceil((2 * bits) / 8)))] : []),
    ],
    [["float32", 3]],
    [int("bits", bits), int("block_size", 16), int("gather_axis", 0), int("quantize_axis", 1)],
  );
}

const Q = [scale(0.05), zero("uint8", 120)] as const;
const R = [scale(0.07), zero("uint8", 131)] as const;

const hidden = 24;

/** Every call. */
export const MICROSOFT_CASES: readonly OpCase[] = [
  call("Gelu", "Gelu", [some("float32", 3, 5)], [["float32", 2]]),
  call("FastGelu", "FastGelu", [some("float32", 3, 5)], [["float32", 2]]),
  call("FastGelu, bias", "FastGelu", [some("float32", 2, 3, 5), some("float32", 5)], [[
    "float32",
    3,
  ]]),
  call("BiasGelu", "BiasGelu", [some("float32", 2, 3, 5), fixed(some("float32", 5))], [[
    "float32",
    3,
  ]]),
  call("QuickGelu", "QuickGelu", [some("float32", 3, 5)], [["float32", 2]], [
    float("alpha", 1.5),
  ]),
  call("FusedMatMul", "FusedMatMul", [some("float32", 2, 4, 3), some("float32", 2, 5, 4)], [[
    "float32",
    3,
  ]], [int("transA", 1), int("transB", 1), float("alpha", 0.5)]),
  call(
    "FusedMatMul, batches moved",
    "FusedMatMul",
    [some("float32", 3, 2, 4), some("float32", 4, 2, 5)],
    [["float32", 3]],
    [int("transBatchA", 1), int("transBatchB", 1)],
  ),
  call(
    "FusedGemm",
    "FusedGemm",
    [some("float32", 3, 4), some("float32", 4, 5), some("float32", 5)],
    [["float32", 2]],
    [text("activation", "LeakyRelu"), float("activation_alpha", 0.2), float("beta", 0.5)],
  ),
  call(
    "SkipLayerNormalization",
    "SkipLayerNormalization",
    [
      some("float32", 2, 3, hidden),
      some("float32", 2, 3, hidden),
      fixed(some("float32", hidden)),
      fixed(some("float32", hidden)),
      fixed(some("float32", hidden)),
    ],
    [["float32", 3], null, null, ["float32", 3]],
    [float("epsilon", 1e-5)],
  ),
  call(
    "SkipLayerNormalization, skip broadcast",
    "SkipLayerNormalization",
    [some("float32", 2, 3, hidden), some("float32", 3, hidden), fixed(some("float32", hidden))],
    [["float32", 3]],
  ),
  call(
    "SkipSimplifiedLayerNormalization",
    "SkipSimplifiedLayerNormalization",
    [
      some("float32", 2, 3, hidden),
      some("float32", 2, 3, hidden),
      fixed(some("float32", hidden)),
      fixed(some("float32", hidden)),
    ],
    [["float32", 3], null, null, ["float32", 3]],
  ),
  call(
    "SimplifiedLayerNormalization",
    "SimplifiedLayerNormalization",
    [some("float32", 2, 3, hidden), fixed(some("float32", hidden))],
    [["float32", 3]],
    [int("axis", -1), float("epsilon", 1e-3)],
    "",
  ),
  call(
    "EmbedLayerNormalization",
    "EmbedLayerNormalization",
    [
      whole("int32", [2, 4], 0, 9),
      whole("int32", [2, 4], 0, 2),
      fixed(some("float32", 9, hidden)),
      fixed(some("float32", 6, hidden)),
      fixed(some("float32", 2, hidden)),
      fixed(some("float32", hidden)),
      fixed(some("float32", hidden)),
      given("int32", [2, 4], [1, 1, 1, 0, 1, 1, 0, 0]),
    ],
    [["float32", 3], ["int32", 1], ["float32", 3]],
  ),
  call(
    "EmbedLayerNormalization, without segments",
    "EmbedLayerNormalization",
    [
      whole("int32", [2, 4], 0, 9),
      null,
      fixed(some("float32", 9, hidden)),
      fixed(some("float32", 6, hidden)),
      null,
      fixed(some("float32", hidden)),
      fixed(some("float32", hidden)),
      null,
      whole("int32", [1, 4], 0, 6),
    ],
    [["float32", 3], ["int32", 1]],
  ),
  matMulNBits(4, 32),
  matMulNBits(4, 40, { zeroPoints: "packed" }),
  matMulNBits(4, 48, { zeroPoints: "float", bias: true }),
  matMulNBits(4, 96, { zeroPoints: "packed", block: 32 }),
  matMulNBits(8, 32),
  matMulNBits(8, 48, { zeroPoints: "packed" }),
  matMulNBits(2, 64, { block: 32 }),
  matMulNBits(2, 96, { zeroPoints: "packed", block: 32 }),
  gatherBytes(4, false),
  gatherBytes(4, true),
  gatherBytes(8, false),
  gatherBytes(8, true),
  call(
    "GatherBlockQuantized, int4",
    "GatherBlockQuantized",
    [
      packed("int4", [7, 32], some("uint8", 7, 16)),
      given("int64", [4], [0, 6, -1, 3]),
      fixed(scales(0.1, 7, 2)),
    ],
    [["float32", 2]],
    [int("block_size", 16)],
  ),
  call(
    "GatherBlockQuantized, uint4, along the last axis",
    "GatherBlockQuantized",
    [
      packed("uint4", [32, 8], some("uint8", 32, 4)),
      given("int32", [3], [0, 7, 5]),
      fixed(scales(0.1, 2, 8)),
      packed("uint4", [2, 8], some("uint8", 2, 4)),
    ],
    [["float32", 2]],
    [int("block_size", 16), int("gather_axis", 1), int("quantize_axis", 0)],
  ),
  call(
    "QLinearAdd",
    "QLinearAdd",
    [some("uint8", 2, 3, 5), ...Q, some("uint8", 3, 1), ...R, scale(0.11), zero("uint8", 100)],
    [["uint8", 3]],
  ),
  call(
    "QLinearMul",
    "QLinearMul",
    [
      some("int8", 2, 3, 5),
      scale(0.04),
      zero("int8", -3),
      some("int8", 5),
      scale(0.03),
      zero("int8", 7),
      scale(0.1),
      zero("int8", 2),
    ],
    [["int8", 3]],
  ),
  call("QLinearSigmoid", "QLinearSigmoid", [
    some("uint8", 3, 50),
    ...Q,
    scale(1 / 256),
    zero("uint8", 0),
  ], [["uint8", 2]]),
  call("QLinearLeakyRelu", "QLinearLeakyRelu", [some("uint8", 3, 50), ...Q, ...R], [[
    "uint8",
    2,
  ]], [float("alpha", 0.15)]),
  call("QLinearAveragePool", "QLinearAveragePool", [some("uint8", 1, 3, 7, 8), ...Q, ...R], [[
    "uint8",
    4,
  ]], [ints("kernel_shape", [3, 2]), ints("strides", [2, 1]), ints("pads", [1, 0, 1, 1])]),
  call(
    "QLinearAveragePool, channels last",
    "QLinearAveragePool",
    [some("uint8", 1, 7, 8, 3), ...Q, ...R],
    [["uint8", 4]],
    [ints("kernel_shape", [3, 3]), int("channels_last", 1)],
  ),
  call(
    "QLinearGlobalAveragePool",
    "QLinearGlobalAveragePool",
    [some("uint8", 2, 3, 4, 5), ...Q, ...R],
    [["uint8", 4]],
  ),
  call(
    "QLinearGlobalAveragePool, channels last",
    "QLinearGlobalAveragePool",
    [some("uint8", 2, 4, 5, 3), ...Q, ...R],
    [["uint8", 4]],
    [int("channels_last", 1)],
  ),
  call(
    "QLinearConcat",
    "QLinearConcat",
    [...R, some("uint8", 2, 3), ...Q, some("uint8", 2, 1), ...R, some("uint8", 2, 4), ...Q],
    [["uint8", 2]],
    [int("axis", 1)],
  ),
  call(
    "QLinearSoftmax",
    "QLinearSoftmax",
    [some("uint8", 3, 6), ...Q, scale(1 / 256), zero("uint8", 0)],
    [["uint8", 2]],
    [int("opset", 13), int("axis", -1)],
  ),
  call(
    "QLinearSoftmax, before opset 13",
    "QLinearSoftmax",
    [some("uint8", 3, 2, 3), ...Q, scale(1 / 256), zero("uint8", 0)],
    [["uint8", 3]],
    [int("opset", 12), int("axis", 1)],
  ),
  call(
    "QLinearWhere",
    "QLinearWhere",
    [
      whole("bool", [4, 1], 0, 2),
      some("uint8", 4, 5),
      ...Q,
      some("uint8", 5),
      ...R,
      scale(0.1),
      zero("uint8", 9),
    ],
    [["uint8", 2]],
  ),
  call(
    "QGemm",
    "QGemm",
    [
      some("uint8", 3, 40),
      ...Q,
      fixed(some("int8", 5, 40)),
      fixed(scales(0.02, 5)),
      fixed(given("int8", [5], [0, 0, 0, 0, 0])),
      fixed(whole("int32", [5], -1000, 1000)),
      scale(0.9),
      zero("uint8", 128),
    ],
    [["uint8", 2]],
    [int("transB", 1)],
  ),
  call(
    "QGemm to floats",
    "QGemm",
    [
      some("uint8", 3, 40),
      ...Q,
      fixed(some("int8", 40, 5)),
      scale(0.02),
      zero("int8", 0),
    ],
    [["float32", 2]],
    [float("alpha", 0.5)],
  ),
  call(
    "MatMulIntegerToFloat",
    "MatMulIntegerToFloat",
    [
      some("uint8", 3, 300),
      fixed(some("uint8", 300, 5)),
      scale(0.05),
      fixed(scales(0.02, 5)),
      zero("uint8", 120),
      fixed(some("uint8", 5)),
      fixed(some("float32", 5)),
    ],
    [["float32", 2]],
  ),
  call(
    "DynamicQuantizeMatMul",
    "DynamicQuantizeMatMul",
    [some("float32", 3, 20), fixed(some("int8", 20, 5)), fixed(scales(0.02, 5)), null, null],
    [["float32", 2]],
  ),
  call(
    "MatMulInteger, long sums",
    "MatMulInteger",
    [some("uint8", 2, 3, 700), fixed(some("uint8", 700, 4)), zero("uint8", 3)],
    [["int32", 3]],
    [],
    "",
  ),
  call(
    "ConvInteger",
    "ConvInteger",
    [some("uint8", 1, 4, 6, 5), fixed(some("uint8", 6, 2, 3, 3)), zero("uint8", 120)],
    [["int32", 4]],
    [int("group", 2), ints("pads", [1, 1, 1, 1])],
    "",
  ),
  call(
    "ConvInteger, long sums",
    "ConvInteger",
    [some("uint8", 1, 140, 8, 7), fixed(some("uint8", 16, 140, 3, 3)), zero("uint8", 1)],
    [["int32", 4]],
    [ints("pads", [1, 1, 1, 1])],
    "",
  ),
  call(
    "ConvInteger, long sums of two groups",
    "ConvInteger",
    [some("uint8", 2, 130, 5, 6), fixed(some("int8", 8, 65, 3, 3)), zero("uint8", 3)],
    [["int32", 4]],
    [int("group", 2), ints("strides", [2, 1])],
    "",
  ),
  call(
    "QLinearConv",
    "QLinearConv",
    [
      some("uint8", 2, 4, 7, 6),
      ...Q,
      fixed(some("int8", 8, 4, 3, 3)),
      fixed(scales(0.02, 8)),
      fixed(given("int8", [8], Array<number>(8).fill(0))),
      scale(1.5),
      zero("uint8", 128),
      fixed(whole("int32", [8], -2000, 2000)),
    ],
    [["uint8", 4]],
    [ints("strides", [2, 1]), ints("pads", [1, 0, 1, 2])],
    "",
  ),
  call(
    "QuantizeLinear",
    "QuantizeLinear",
    [some("float32", 3, 4), ...Q],
    [["uint8", 2]],
  ),
  call(
    "DequantizeLinear, by channel",
    "DequantizeLinear",
    [some("int8", 2, 3, 4), fixed(scales(0.1, 3)), fixed(some("int8", 3))],
    [["float32", 3]],
    [int("axis", 1)],
  ),
];
