/**
 * Weights that are larger than a binding are stored in parts, and whatever reads them gives what it
 * gives of a weight that is whole. The limit is set low here, so that small models have such weights.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { compare } from "../../conformance/compare.ts";
import { compileInto } from "../../conformance/compile.ts";
import { openOnnx } from "../../conformance/onnx.ts";
import type { Value } from "../../conformance/values.ts";
import { openWebGpu } from "../../conformance/webgpu.ts";
import { compileModel } from "../../src/codegen/mod.ts";
import type { DType } from "../../src/dtype.ts";
import {
  type Attribute,
  int,
  ints,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Model,
  type Node,
  type Tensor,
} from "../../src/ir.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import { convertCase, QUANTIZATION } from "../encoding_conversion.ts";
import { ENCODING_CASES, type Feed, noise } from "../encoding_models.ts";

const folder = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
const onnx = await openOnnx();

/** Bytes that one binding of a weight holds here. */
const LIMIT = 1024;
const options = { bindingBytes: LIMIT };
const webgpu = await openWebGpu(compileInto(folder, options));

function weight(name: string, dtype: DType, dims: readonly number[]): Tensor {
  const count = dims.reduce((a, b) => a * b, 1);
  const values = noise(count, count);
  const arrays: Partial<Record<DType, ArrayBufferView>> = {
    float32: Float32Array.from(values),
    float16: Float16Array.from(values),
    float64: Float64Array.from(values),
    int64: BigInt64Array.from(values, (value) => BigInt(Math.round(value * 1000))),
    int8: Int8Array.from(values, (value) => Math.round(value * 100)),
    int4: Uint8Array.from({ length: count / 2 }, (_, i) => (i * 37) % 256),
  };
  const { buffer } = arrays[dtype]!;
  return makeTensor(name, dtype, dims, {
    kind: "memory",
    bytes: new Uint8Array(buffer as ArrayBuffer),
  });
}

type Input = readonly [name: string, dims: readonly number[], dtype?: "float32" | "int64"];

function valueOf([name, dims, dtype = "float32"]: Input, most: number): [string, Value] {
  const count = dims.reduce((a, b) => a * b, 1);
  const values = noise(7, count);
  if (dtype === "float32") return [name, { dtype, dims, data: Float32Array.from(values) }];
  const data = BigInt64Array.from(values, (value) => BigInt(Math.trunc(value * most)));
  return [name, { dtype, dims, data }];
}

interface Case {
  readonly name: string;
  readonly nodes: readonly Node[];
  readonly weights: readonly Tensor[];
  readonly inputs: readonly Input[];
  readonly result?: DType;
  /** Indices are below this, and not below its opposite. */
  readonly most?: number;
  /** Dispatches that are needed at least, and at most. */
  readonly dispatches?: readonly [least: number, most: number];
}

const node = (op: string, inputs: string[], output: string, attributes: Attribute[] = []): Node =>
  makeNode(op, "", inputs, [output], attributes);

const CASES: readonly Case[] = [
  {
    name: "Gather of an embedding",
    nodes: [node("Gather", ["w", "i"], "y")],
    weights: [weight("w", "float32", [100, 12])],
    inputs: [["i", [3, 7], "int64"]],
    most: 100,
    dispatches: [1, 1],
  },
  {
    name: "Gather of more parts than a dispatch binds",
    nodes: [
      node("Gather", ["w", "i"], "g"),
      node("Add", ["g", "b"], "s"),
      node("Relu", ["s"], "y"),
    ],
    weights: [weight("w", "float32", [500, 12]), weight("b", "float32", [12])],
    inputs: [["i", [90], "int64"]],
    most: 500,
    dispatches: [5, 8],
  },
  {
    name: "Gather of int64 along another axis",
    nodes: [node("Gather", ["w", "i"], "y", [int("axis", 1)])],
    weights: [weight("w", "int64", [30, 40])],
    inputs: [["i", [9], "int64"]],
    result: "int64",
    most: 40,
  },
  {
    name: "MatMul of columns",
    nodes: [
      node("MatMul", ["x", "w"], "m"),
      node("Add", ["m", "b"], "s"),
      node("Relu", ["s"], "y"),
    ],
    weights: [weight("w", "float32", [24, 200]), weight("b", "float32", [200])],
    inputs: [["x", [2, 3, 24]]],
    dispatches: [20, 21],
  },
  {
    name: "MatMul of many rows and columns",
    nodes: [node("Cast", ["w"], "f", [int("to", 1)]), node("MatMul", ["x", "f"], "y")],
    weights: [weight("w", "float16", [36, 70])],
    inputs: [["x", [40, 36]]],
  },
  {
    name: "MatMul of a batch of weights",
    nodes: [node("MatMul", ["x", "w"], "y")],
    weights: [weight("w", "float32", [7, 12, 9])],
    inputs: [["x", [7, 5, 12]]],
  },
  {
    name: "MatMul that sums over the parts",
    nodes: [node("MatMul", ["w", "x"], "y")],
    weights: [weight("w", "float32", [3, 300])],
    inputs: [["x", [300, 5]]],
  },
  {
    name: "Gemm, transposed",
    nodes: [node("Gemm", ["x", "w", "b"], "y", [int("transB", 1)])],
    weights: [weight("w", "float32", [130, 20]), weight("b", "float32", [130])],
    inputs: [["x", [4, 20]]],
  },
  {
    name: "Gemm",
    nodes: [node("Gemm", ["x", "w", "b"], "y")],
    weights: [weight("w", "float64", [20, 130]), weight("b", "float64", [130])].map((tensor) =>
      tensor
    ),
    inputs: [["x", [4, 20]]],
    result: "float64",
  },
  {
    name: "tied embedding",
    nodes: [
      node("Gather", ["w", "i"], "h"),
      node("Transpose", ["w"], "t", [ints("perm", [1, 0])]),
      node("MatMul", ["h", "t"], "y"),
    ],
    weights: [weight("w", "float32", [96, 16])],
    inputs: [["i", [2, 5], "int64"]],
    most: 96,
  },
  {
    name: "Conv",
    nodes: [node("Conv", ["x", "w", "b"], "y", [ints("pads", [1, 1, 1, 1])])],
    weights: [weight("w", "float32", [12, 8, 3, 3]), weight("b", "float32", [12])],
    inputs: [["x", [2, 8, 9, 9]]],
  },
  {
    name: "Conv in one dimension, grouped",
    nodes: [node("Conv", ["x", "w"], "y", [int("group", 4)])],
    weights: [weight("w", "float32", [32, 4, 5])],
    inputs: [["x", [1, 16, 20]]],
  },
  {
    name: "elementwise with more parts than a dispatch binds",
    nodes: [node("Mul", ["x", "w"], "m"), node("Tanh", ["m"], "y")],
    weights: [weight("w", "float32", [64, 60])],
    inputs: [["x", [2, 64, 60]]],
  },
  {
    name: "sum over the cut axis",
    nodes: [
      node("Mul", ["x", "w"], "m"),
      node("ReduceSum", ["m", "axes"], "y", [int("keepdims", 0)]),
    ],
    weights: [
      weight("w", "float32", [40, 25]),
      makeTensor("axes", "int64", [1], { kind: "memory", bytes: new Uint8Array(8) }),
    ],
    inputs: [["x", [40, 25]]],
  },
  {
    name: "Slice and Concat of a table of positions",
    nodes: [
      node("Shape", ["x"], "shape"),
      node("Gather", ["shape", "one"], "length"),
      node("Slice", ["w", "zero", "length", "one"], "s"),
      node("Add", ["x", "s"], "y"),
    ],
    weights: [
      weight("w", "float32", [1, 120, 8]),
      makeTensor("zero", "int64", [1], { kind: "memory", bytes: new Uint8Array(8) }),
      makeTensor("one", "int64", [1], {
        kind: "memory",
        bytes: new Uint8Array(BigInt64Array.of(1n).buffer),
      }),
    ],
    inputs: [["x", [2, 33, 8]]],
  },
  {
    name: "QDQ of a matrix",
    nodes: [
      node("DequantizeLinear", ["w", "s", "z"], "d", [int("axis", 1)]),
      node("MatMul", ["x", "d"], "y"),
    ],
    weights: [
      weight("w", "int8", [50, 60]),
      weight("s", "float32", [60]),
      makeTensor("z", "int8", [60], { kind: "memory", bytes: new Uint8Array(60).fill(3) }),
    ],
    inputs: [["x", [4, 50]]],
  },
  {
    name: "QDQ in blocks of an odd number of 4-bit columns",
    nodes: [
      node("DequantizeLinear", ["w", "s"], "d", [int("axis", 0), int("block_size", 16)]),
      node("MatMul", ["x", "d"], "y"),
    ],
    weights: [weight("w", "int4", [64, 66]), weight("s", "float32", [4, 66])],
    inputs: [["x", [4, 64]]],
  },
];

function modelOf(
  { nodes, weights, inputs, result }: Case,
  path: string,
  isSymbolic: boolean,
): Model {
  const graph = makeGraph("large", {
    nodes: [...nodes],
    initializers: [...weights],
    inputs: inputs.map(([name, dims, dtype = "float32"]) =>
      makeValueInfo(
        name,
        result === "float64" ? "float64" : dtype,
        dims.map((extent, i) => isSymbolic && i === 0 && dims.length > 1 ? `n${extent}` : extent),
      )
    ),
    outputs: [makeValueInfo("y", result ?? "float32", null)],
  });
  return makeModel(path, 10, new Map([["", 21]]), graph);
}

for (const [i, example] of CASES.entries()) {
  Deno.test(`${example.name}: parts give what the whole gives`, async () => {
    const inputs = new Map(example.inputs.map((input) => valueOf(input, example.most ?? 1)));
    if (example.result === "float64") {
      for (const [name, { dims, data }] of inputs) {
        inputs.set(name, { dtype: "float64", dims, data: Float64Array.from(data as Float32Array) });
      }
    }
    const path = join(folder, `case${i}.onnx`);
    await writeModel(modelOf(example, path, false), path);
    await using session = await onnx.prepare(await readModel(path));
    const wanted = (await session.run(inputs)).get("y")!;
    for (const isSymbolic of [false, true]) {
      const compiled = await compileModel(modelOf(example, path, isSymbolic), options);
      assert.ok(compiled.weights.every(({ bytes }) => bytes <= LIMIT));
      assert.ok(compiled.weights.filter(({ name }) => name === "w").length > 1, "it is in parts");
      for (const { bindings } of compiled.pipelines) assert.ok(bindings.length <= 8, bindings);
      if (example.dispatches !== undefined) {
        const [least, most] = example.dispatches;
        const count = compiled.dispatches.length;
        assert.ok(count >= least && count <= most, `${count} dispatches`);
      }
      await using module = await webgpu.prepare(modelOf(example, path, isSymbolic));
      const found = (await module.run(inputs)).get("y")!;
      const { difference } = compare("y", found, wanted, { rtol: 1e-4, atol: 1e-4 });
      assert.equal(difference, null);
    }
  });
}

const NAMES = ["matmul", "embedding", "tied embedding", "convolution"];

/** Every way that a quantized weight is held, each in parts. */
for (const example of ENCODING_CASES.filter(({ name }) => NAMES.includes(name))) {
  Deno.test(`${example.name}: packed parts give what ONNX Runtime gives`, async () => {
    const inputs = new Map(example.feeds.map((feed) => [feed.name, ofFeed(feed)]));
    for (
      const [bits, encoding] of [[8, "auto"], [4, "auto"], [4, "qdq"], [3, "auto"], [
        2,
        "auto",
      ]] as const
    ) {
      const { path } = await convertCase(
        example.build,
        { ...QUANTIZATION, bits, encoding },
        folder,
        "packed",
      );
      await using session = await onnx.prepare(await readModel(path));
      const wanted = await session.run(inputs);
      await using module = await webgpu.prepare(await readModel(path));
      const found = await module.run(inputs);
      for (const [name, value] of wanted) {
        const { difference } = compare(name, found.get(name)!, value, { relativeL2: 1e-2 });
        assert.equal(difference, null, `${bits} bits, ${encoding}`);
      }
    }
  });
}

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  bool: Uint8Array,
};

function ofFeed({ dtype, dims, values }: Feed): Value {
  if (dtype === "int64") return { dtype, dims, data: BigInt64Array.from(values, BigInt) };
  if (dtype === "float16") {
    return { dtype, dims, data: new Uint16Array(Float16Array.from(values).buffer) };
  }
  return { dtype, dims, data: ARRAYS[dtype].from(values) };
}
