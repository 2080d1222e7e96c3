/**
 * The opset upgrade against ONNX Runtime: models of old opsets, one or more for every change of the
 * table that rewrites a node, give the same outputs before and after. Random values come from fixed
 * seeds; every model also runs with inputs of undeclared rank.
 */
import assert from "node:assert/strict";
import * as ort from "onnxruntime-node";
import type { Node, Tensor } from "../../src/ir.ts";
import { upgradeModel } from "../../src/onnx/upgrade.ts";
import { ROWS } from "../../src/onnx/upgrade/table.ts";
import {
  type AttributeInput,
  bytesOf,
  declared,
  functionOf,
  graph,
  modelOf,
  node,
  tensor,
} from "../upgrade_models.ts";

/** Opsets that models are raised to: those where many rows apply, and the newest that runs here. */
const TARGETS = [8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 21, 25];

interface Input {
  readonly dims: readonly number[];
  readonly dtype: "float32" | "float64" | "int64" | "int32" | "bool";
  readonly values: readonly number[];
}

interface Case {
  readonly name: string;
  readonly opset: number;
  readonly nodes: readonly Node[];
  readonly inputs: Readonly<Record<string, Input>>;
  readonly constants?: readonly Tensor[];
  /** Names of the outputs, with their types where these are not float32. */
  readonly outputs: string;
  /** Highest opset at which this ONNX Runtime has a kernel. */
  readonly last?: number;
  /** Largest difference, relative to the largest output; 0 unless a kernel changed its order. */
  readonly tolerance?: number;
}

/** Numbers in -1 .. 1 from a linear congruential generator. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

const next = generator(20250715);
const count = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
const random = (dims: readonly number[]): number[] =>
  Array.from({ length: count(dims) }, () => Math.fround(next()));
const floats = (...dims: number[]): Input => ({ dims, dtype: "float32", values: random(dims) });
const positive = (...dims: number[]): Input => ({
  dims,
  dtype: "float32",
  values: random(dims).map((value) => Math.fround(Math.abs(value) + 0.1)),
});
const weights = (name: string, ...dims: number[]): Tensor =>
  tensor(name, "float32", dims, random(dims));
const integers = (dims: readonly number[], values: readonly number[]): Input => ({
  dims,
  dtype: "int64",
  values,
});

const CASES: Case[] = [];

function add(
  name: string,
  opset: number,
  nodes: readonly Node[],
  inputs: Readonly<Record<string, Input>>,
  options: Partial<Case> = {},
): void {
  CASES.push({ name, opset, nodes, inputs, outputs: "y", ...options });
}

for (const op of ["Softmax", "LogSoftmax", "Hardmax"]) {
  for (const rank of [1, 2, 3, 4]) {
    const dims = [2, 3, 4, 2].slice(0, rank);
    for (const axis of [undefined, 0, rank - 1, -rank, -1]) {
      if (axis === undefined && rank === 1) continue;
      const attributes: Record<string, AttributeInput> = axis === undefined
        ? {}
        : { axis: BigInt(axis) };
      const opset = axis === undefined || axis >= 0 ? 7 : 11;
      const name = `${op}, rank ${rank}, axis ${axis ?? "by default"}`;
      add(name, opset, [node(op, "x", "y", attributes)], { x: floats(...dims) });
    }
  }
  add(`${op} of nothing`, 11, [node(op, "x", "y", { axis: 1n })], { x: floats(2, 0, 3) });
}

for (const bounds of [{}, { min: -0.5 }, { max: 0.25 }, { min: -0.5, max: 0.5 }]) {
  const attributes = Object.fromEntries(
    Object.entries(bounds).map(([name, float]) => [name, { float }]),
  );
  const x = { ...floats(3, 4), values: [Infinity, -Infinity, ...random([10])] };
  const nodes = [node("Identity", "x", "i"), node("Clip", "i", "y", attributes)];
  for (const opset of [7, 10]) add(`Clip ${JSON.stringify(bounds)}`, opset, nodes, { x });
}

for (const mode of ["constant", "reflect", "edge"]) {
  for (const value of [0, 1.5, -Infinity]) {
    const pad = node("Pad", "x", "y", { pads: [0, 1, 2, 0, 2, 1], mode, value: { float: value } });
    add(`Pad ${mode} ${value}`, 7, [pad], { x: floats(2, 4, 5) });
  }
}
add(
  "Pad of float64, cutting",
  10,
  [
    node("Pad", "x", "y", { pads: [0, -1, 1, 0], value: { float: 1.25 } }),
  ],
  { x: { ...floats(3, 4), dtype: "float64" } },
  { outputs: "y:float64" },
);

add(
  "Slice",
  7,
  [node("Slice", "x", "y", { starts: [1, -3], ends: [100, -1], axes: [0, 2] })],
  { x: floats(3, 4, 5) },
);
add("Slice of all axes", 9, [node("Slice", "x", "y", { starts: [1, 0], ends: [2, -1] })], {
  x: floats(3, 4),
});
add("TopK", 7, [node("TopK", "x", "y,i", { k: 2n, axis: 1n })], { x: floats(3, 4, 5) }, {
  outputs: "y,i:int64",
});
for (const split of [undefined, [1, 3, 2]]) {
  const attributes: Record<string, AttributeInput> = split === undefined ? {} : { split };
  for (const opset of [7, 11]) {
    const axis = opset === 7 ? 1n : -1n;
    const nodes = [node("Split", "x", "a,b,c", { axis, ...attributes })];
    add(`Split ${split ?? "evenly"}`, opset, nodes, { x: floats(3, 6) }, { outputs: "a,b,c" });
  }
}
add("Split by an input", 13, [node("Split", "x,s", "a,b", { axis: 1n })], { x: floats(3, 6) }, {
  constants: [tensor("s", "int64", [2], [2, 4])],
  outputs: "a,b",
});
add("Squeeze", 7, [node("Squeeze", "x", "y", { axes: [0, 2] })], { x: floats(1, 3, 1, 2) });
add("Squeeze of all", 7, [node("Squeeze", "x", "y")], { x: floats(1, 3, 1, 2) });
add("Unsqueeze", 11, [node("Unsqueeze", "x", "y", { axes: [-1, 0] })], { x: floats(2, 3) });

const REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare".split(" ");
for (const kind of REDUCTIONS) {
  for (const axes of [undefined, [1], [0, -1]]) {
    const attributes: Record<string, AttributeInput> = axes === undefined ? {} : { axes };
    const keepdims = axes?.length === 1 ? 0n : 1n;
    const nodes = [node(`Reduce${kind}`, "x", "y", { keepdims, ...attributes })];
    add(`Reduce${kind} ${axes ?? "all"}`, axes?.includes(-1) ? 11 : 7, nodes, {
      x: positive(2, 3, 4),
    });
  }
}

add("Dropout", 7, [node("Dropout", "x", "y,m", { ratio: { float: 0.3 } })], { x: floats(3, 4) });
for (const spatial of [0n, 1n]) {
  const dims = spatial === 0n ? [3, 4, 5] : [3];
  const epsilon = { float: 1e-3 };
  const nodes = [node("BatchNormalization", "x,s,b,m,v", "y", { spatial, epsilon })];
  const variance = tensor("v", "float32", dims, random(dims).map((value) => Math.abs(value) + 0.1));
  add(`BatchNormalization, spatial ${spatial}`, 7, nodes, { x: floats(2, 3, 4, 5) }, {
    constants: [weights("s", ...dims), weights("b", ...dims), weights("m", ...dims), variance],
  });
}
add(
  "BatchNormalization in training",
  9,
  [node("BatchNormalization", "x,s,s,m,v", "y,mean,var,sm,sv", { momentum: { float: 0.8 } })],
  { x: floats(2, 3, 4) },
  {
    constants: [weights("s", 3), weights("m", 3), tensor("v", "float32", [3], [1, 2, 3])],
    outputs: "y,mean,var",
    tolerance: 1e-6,
  },
);

for (const mode of ["nearest", "linear"]) {
  for (const scales of [[1, 1, 2, 3], [1, 1, 1.5, 2.5]]) {
    const x = floats(1, 2, 5, 6);
    const s = tensor("s", "float32", [4], scales);
    const given: Input = { dims: [4], dtype: "float32", values: scales };
    const old = node("Upsample", "x", "y", { mode, scales: { floats: scales } });
    const upsample = node("Upsample", "x,s", "y", { mode });
    add(`Upsample ${mode} ${scales}`, 7, [old], { x });
    add(`Upsample ${mode} ${scales}`, 9, [upsample], { x }, { constants: [s] });
    add(`Upsample ${mode} ${scales}, given`, 9, [upsample], { x, s: given });
  }
  for (const scales of [[1, 1, 2, 3], [1, 1, 0.6, 0.5], [1, 1, 0.75, 1.5], [1, 1, 2.4, 0.3]]) {
    const x = floats(1, 2, 10, 9);
    const resize = node("Resize", "x,s", "y", { mode });
    const given: Input = { dims: [4], dtype: "float32", values: scales };
    add(`Resize ${mode} ${scales}`, 10, [resize], { x }, {
      constants: [tensor("s", "float32", [4], scales)],
    });
    add(`Resize ${mode} ${scales}, given`, 10, [resize], { x, s: given });
  }
}
for (const nearest_mode of ["floor", "round_prefer_floor"]) {
  for (const sizes of [[1, 2, 20, 27], [1, 2, 6, 4]]) {
    const coordinates = { coordinate_transformation_mode: "tf_half_pixel_for_nn", nearest_mode };
    const roi = tensor("r", "float32", [0], []);
    const empty = tensor("s", "float32", [0], []);
    add(`Resize to ${sizes} ${nearest_mode}`, 11, [node("Resize", "x,r,s,z", "y", coordinates)], {
      x: floats(1, 2, 10, 9),
    }, { constants: [roi, empty, tensor("z", "int64", [4], sizes)] });
  }
}

for (const mode of ["bilinear", "bicubic", "nearest", undefined]) {
  const attributes: Record<string, AttributeInput> = mode === undefined ? {} : { mode };
  const sample = node("GridSample", "x,g", "y", { padding_mode: "border", ...attributes });
  add(`GridSample ${mode ?? "by default"}`, 16, [sample], {
    x: floats(1, 2, 5, 6),
    g: floats(1, 3, 4, 2),
  });
}
add(
  "RoiAlign",
  10,
  [node("RoiAlign", "x,r,b", "y", { output_height: 3n, output_width: 2n, sampling_ratio: 2n })],
  {
    x: floats(2, 3, 8, 8),
    r: { dims: [2, 4], dtype: "float32", values: [0, 0, 6, 6, 2, 1, 7, 5] },
    b: integers([2], [0, 1]),
  },
  { last: 21 },
);
add("Scatter", 9, [node("Scatter", "x,i,u", "y", { axis: 1n })], {
  x: floats(3, 5),
  i: integers([3, 2], [0, 2, 1, 4, 3, 0]),
  u: floats(3, 2),
});
for (const axis of [undefined, 2n, -2n]) {
  const attributes: Record<string, AttributeInput> = axis === undefined ? {} : { axis };
  const x = floats(2, 5, 6, 2);
  add(`DFT, axis ${axis ?? "by default"}`, 17, [node("DFT", "x", "y", attributes)], { x });
  add(`DFT of 7, axis ${axis ?? "by default"}`, 17, [node("DFT", "x,n", "y", attributes)], { x }, {
    constants: [tensor("n", "int64", [], [7])],
  });
}
for (const [groups, channels] of [[2, 6], [1, 3], [3, 3]] as const) {
  const nodes = [node("GroupNormalization", "x,s,b", "y", { num_groups: BigInt(groups) })];
  add(`GroupNormalization ${groups} of ${channels}`, 18, nodes, { x: floats(2, channels, 4, 3) }, {
    constants: [weights("s", groups), weights("b", groups)],
    tolerance: 2e-6,
  });
}
add("Erf", 9, [node("Erf", "x", "y")], { x: floats(3, 4) });
add(
  "QuantizeLinear",
  10,
  [node("QuantizeLinear", "x,s,z", "q"), node("DequantizeLinear", "q,s,z", "y")],
  { x: floats(3, 4) },
  { constants: [tensor("s", "float32", [], [0.1]), tensor("z", "uint8", [], [7])] },
);

for (
  const [directions, lengths] of [[undefined, undefined], [[1], undefined], [
    undefined,
    [5, 2, 1, 3],
  ]] as const
) {
  const step = [2, 3];
  const body = graph(
    [
      node("Add", "s,x", "sum"),
      node("Squeeze", "x", "rows", { axes: [0] }),
      node("Mul", "sum,rows", "product"),
      node("Softmax", "product", "out", { axis: 0n }),
    ],
    [declared("sum", "float32", step), declared("out", "float32", step)],
    { inputs: [declared("s", "float32", step), declared("x", "float32", [1, 3])], name: "body" },
  );
  const attributes: Record<string, AttributeInput> = { body, num_scan_inputs: 1n };
  if (directions !== undefined) attributes.directions = directions;
  const scan = node("Scan", `${lengths === undefined ? "" : "l"},i,d`, "f,y", attributes);
  const inputs: Record<string, Input> = { i: floats(4, 2, 3), d: floats(4, 5, 1, 3) };
  if (lengths !== undefined) inputs.l = integers([4], lengths);
  // Past the end of a sequence the scanned output is undefined.
  const outputs = lengths === undefined ? "f,y" : "f";
  add(`Scan of a batch ${directions ?? ""} ${lengths ?? ""}`, 8, [scan], inputs, { outputs });
}

for (const condition of [0, 1]) {
  const outer = [node("Clip", "x", "clipped", { min: { float: -0.5 } })];
  const branch = (name: string, kind: string) =>
    graph(
      [
        node("Squeeze", "clipped", `${name}_a`, { axes: [0] }),
        node("Softmax", `${name}_a`, `${name}_b`, { axis: 0n }),
        node(`Reduce${kind}`, `${name}_b`, `${name}_y`, { axes: [0], keepdims: 0n }),
      ],
      [`${name}_y`],
      { name },
    );
  const both = { then_branch: branch("then", "Sum"), else_branch: branch("else", "Max") };
  add(`If ${condition}`, 9, [...outer, node("If", "c", "y", both)], {
    c: { dims: [], dtype: "bool", values: [condition] },
    x: floats(1, 3, 4),
  });
}

add(
  "operators that only take more types",
  7,
  [
    node("Conv", "x,w", "c", { auto_pad: "SAME_UPPER", strides: [1, 2] }),
    node("ConvTranspose", "c,w", "t", { auto_pad: "SAME_LOWER", strides: [3, 2] }),
    node("MaxPool", "t", "m", { kernel_shape: [3, 3], auto_pad: "SAME_UPPER", strides: [3, 2] }),
    node("AveragePool", "m", "a", { kernel_shape: [3, 2], pads: [1, 0, 0, 1] }),
    node("InstanceNormalization", "a,s,s", "n"),
    node("LRN", "n", "l", { size: 3n }),
    node("GlobalAveragePool", "l", "g"),
    node("Flatten", "g", "f"),
    node("Gemm", "f,v,u", "y", { transB: 1n }),
  ],
  { x: floats(1, 2, 7, 8) },
  {
    constants: [weights("w", 2, 2, 3, 3), weights("s", 2), weights("v", 4, 2), weights("u", 4)],
    tolerance: 1e-6,
  },
);
add(
  "recurrent layers",
  7,
  [
    node("LSTM", "x,w1,r1", "a", { hidden_size: 4n }),
    node("Squeeze", "a", "b", { axes: [1] }),
    node("GRU", "b,w2,r2", "c", { hidden_size: 4n }),
    node("Squeeze", "c", "d", { axes: [1] }),
    node("RNN", "d,w3,r3", ",y", { hidden_size: 4n }),
  ],
  { x: floats(5, 2, 3) },
  {
    constants: [
      weights("w1", 1, 16, 3),
      weights("r1", 1, 16, 4),
      weights("w2", 1, 12, 4),
      weights("r2", 1, 12, 4),
      weights("w3", 1, 4, 4),
      weights("r3", 1, 4, 4),
    ],
  },
);

/** The model of a case; inputs have a declared rank or none. */
function modelFor(entry: Case, ranked: boolean) {
  const constants = [...(entry.constants ?? [])];
  const inputs = Object.entries(entry.inputs).map(([name, { dtype, dims }]) =>
    declared(name, dtype, ranked ? dims : null)
  );
  // IR 3 knows constants only as inputs with a default.
  if (entry.opset < 9) {
    for (const { name, dtype, dims } of constants) inputs.push(declared(name, dtype, dims));
  }
  const outputs = entry.outputs.split(",").map((output) => {
    const [name = "", dtype] = output.split(":");
    return declared(name, dtype === "int64" || dtype === "float64" ? dtype : "float32");
  });
  return modelOf(
    entry.opset,
    graph(structuredClone([...entry.nodes]), outputs, { inputs, initializers: constants }),
  );
}

function feed({ dtype, dims, values }: Input): ort.Tensor {
  switch (dtype) {
    case "int64":
      return new ort.Tensor("int64", BigInt64Array.from(values, BigInt), dims);
    case "bool":
      return new ort.Tensor("bool", Uint8Array.from(values), dims);
    case "int32":
      return new ort.Tensor("int32", Int32Array.from(values), dims);
    case "float64":
      return new ort.Tensor("float64", Float64Array.from(values), dims);
    case "float32":
      return new ort.Tensor("float32", Float32Array.from(values), dims);
  }
}

interface Result {
  readonly dims: readonly number[];
  readonly type: string;
  readonly values: readonly number[];
}

async function run(
  bytes: Uint8Array,
  inputs: Readonly<Record<string, Input>>,
): Promise<Record<string, Result>> {
  const session = await ort.InferenceSession.create(bytes, {
    logSeverityLevel: 4,
    executionProviders: ["cpu"],
    intraOpNumThreads: 1,
  });
  try {
    const feeds = Object.entries(inputs).map(([name, input]) => [name, feed(input)] as const);
    const results = await session.run(Object.fromEntries(feeds));
    return Object.fromEntries(
      Object.entries(results).map(([name, value]) => {
        assert.ok(value instanceof ort.Tensor);
        const { dims, type, data } = value;
        return [name, { dims, type, values: Array.from(data, Number) }];
      }),
    );
  } finally {
    await session.release();
  }
}

function compare(
  expected: Readonly<Record<string, Result>>,
  actual: Readonly<Record<string, Result>>,
  tolerance: number,
): void {
  assert.deepEqual(Object.keys(actual).sort(), Object.keys(expected).sort());
  for (const [name, { dims, type, values }] of Object.entries(expected)) {
    const result = actual[name]!;
    assert.deepEqual([result.dims, result.type], [dims, type], name);
    const finite = values.filter(Number.isFinite).map(Math.abs);
    const allowed = tolerance * Math.max(0, ...finite);
    values.forEach((value, index) => {
      const other = result.values[index]!;
      const near = Object.is(value, other) || value === other || Math.abs(value - other) <= allowed;
      assert.ok(near, `${name}[${index}] is ${other} instead of ${value}`);
    });
  }
}

for (const entry of CASES) {
  Deno.test(`upgrading keeps ${entry.name} of opset ${entry.opset}`, async () => {
    const expected = await run(bytesOf(modelFor(entry, true)), entry.inputs);
    for (const ranked of [true, false]) {
      for (const opset of TARGETS) {
        if (opset <= entry.opset || opset > (entry.last ?? Infinity)) continue;
        const model = modelFor(entry, ranked);
        upgradeModel(model, { opset });
        try {
          const actual = await run(bytesOf(model), entry.inputs);
          compare(expected, actual, entry.tolerance ?? 0);
        } catch (cause) {
          const message = cause instanceof Error ? cause.message : String(cause);
          throw new Error(`at opset ${opset}, ${ranked ? "ranked" : "unranked"}: ${message}`, {
            cause,
          });
        }
      }
    }
  });
}

Deno.test("upgrading keeps a function whose attributes become inputs", async () => {
  const body = () =>
    functionOf(
      "Shrink",
      14,
      [node("Squeeze", "a", "b"), node("ReduceMax", "b", "c", { axes: [0] })],
      ["a"],
      ["c"],
    );
  const make = () =>
    modelOf(
      14,
      graph([node("Shrink", "x", "y", {}, "local")], ["y"], { inputs: [declared("x")] }),
      {
        functions: [body()],
        domains: [["local", 1]],
        irVersion: 8,
      },
    );
  const inputs = { x: floats(1, 3, 4) };
  const expected = await run(bytesOf(make()), inputs);
  for (const opset of [16, 18, 21, 25]) {
    const model = make();
    upgradeModel(model, { opset });
    compare(expected, await run(bytesOf(model), inputs), 0);
  }
});

/** Rows that rewrite and that no ONNX Runtime can be asked about. */
const WITHOUT_RUNTIME: Readonly<Record<string, string>> = {
  "QuantizeLinear 19": "no kernel quantizes int32",
  "ReduceLogSum 28": "opset 28 does not load",
  "ReduceLogSumExp 28": "opset 28 does not load",
};

Deno.test("every row that rewrites a node has a model", () => {
  const tested = new Set<string>();
  for (const { opset, nodes, last } of CASES) {
    const walk = (list: readonly Node[]): void => {
      for (const entry of list) {
        const since = Math.min(opset, last ?? opset);
        for (const row of ROWS) {
          if (row.op === entry.opType && row.since > since) tested.add(`${row.op} ${row.since}`);
        }
        for (const { value } of entry.attributes) {
          if (value.type === "graph") walk(value.value.nodes);
        }
      }
    };
    walk(nodes);
  }
  const missing = ROWS
    .filter((row) => typeof row.change === "function" && row.since > 7)
    .map((row) => `${row.op} ${row.since}`)
    .filter((row) => !tested.has(row) && !(row in WITHOUT_RUNTIME));
  assert.deepEqual(missing, []);
});
