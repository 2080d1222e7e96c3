/** Plans: exact sizes, the form each runtime gets, refusals in words, and what is left in the graph. */
import assert from "node:assert/strict";
import { InputError } from "../../src/error.ts";
import { byteLength } from "../../src/dtype.ts";
import {
  allGraphs,
  elementCount,
  type Graph,
  int,
  intAttribute,
  makeNode,
  type Model,
} from "../../src/ir.ts";
import { planModel } from "../../src/onnx/writer.ts";
import { readModel } from "../../src/onnx/reader.ts";
import {
  applyPlan,
  planQuantization,
  type QuantizationOptions,
} from "../../src/quantization/planner.ts";
import { DEFAULT_RUNTIME, lacks, parseRuntime } from "../../src/quantization/runtimes.ts";
import { QUANTIZATION } from "../encoding_conversion.ts";
import { ENCODING_CASES, floats, simpleModel } from "../encoding_models.ts";
import { NPM_MODELS } from "../real_models.ts";

function build(name: string): Model {
  return ENCODING_CASES.find((entry) => entry.name === name)!.build();
}

function formOf(name: string, options: Partial<QuantizationOptions>): string {
  return planQuantization(build(name), { ...QUANTIZATION, ...options }).weights[0]!.form;
}

function refusal(name: string, options: Partial<QuantizationOptions>): string {
  let message = "";
  assert.throws(() => planQuantization(build(name), { ...QUANTIZATION, ...options }), (error) => {
    assert.ok(error instanceof InputError);
    message = error.message;
    return true;
  });
  return message;
}

Deno.test("auto takes the form that all named runtimes load and that keeps them fast", () => {
  const product = "matmul of whole blocks";
  assert.equal(formOf(product, { bits: 4 }), "matmulnbits");
  assert.equal(formOf(product, { bits: 3 }), "matmulnbits-joined");
  // On the CPU the operator itself dequantizes in every run at 8 and 2 bits.
  assert.equal(formOf(product, { bits: 8 }), "arithmetic");
  assert.equal(formOf(product, { bits: 2 }), "matmulnbits-joined");
  for (const bits of [8, 2] as const) {
    assert.equal(formOf(product, { bits, runtimes: ["onnxruntime-1.30:webgpu"] }), "matmulnbits");
    assert.equal(formOf(product, { bits, runtimes: ["openvino-2026.4"] }), "matmulnbits");
    assert.equal(formOf(product, { bits, encoding: "matmulnbits" }), "matmulnbits");
  }
  assert.equal(formOf(product, { bits: 3, runtimes: ["openvino-2026.4"] }), "arithmetic");
  const both = ["onnxruntime-1.22", "openvino-2026.4"];
  assert.equal(formOf(product, { bits: 2, runtimes: both }), "arithmetic");
  assert.equal(formOf(product, { bits: 4, runtimes: both }), "matmulnbits");
  assert.equal(formOf("embedding", { bits: 4 }), "gatherblockquantized");
  assert.equal(formOf("embedding", { bits: 3 }), "gather");
  assert.equal(formOf("embedding", { bits: 8, runtimes: ["onnxruntime-1.22"] }), "gather");
  assert.equal(formOf("embedding", { bits: 4, runtimes: both }), "gather");
  assert.equal(formOf("tied embedding", { bits: 4 }), "matmulnbits");
  assert.equal(formOf("convolution", {}), "arithmetic");
  assert.equal(formOf("lstm", { encoding: "matmulnbits" }), "arithmetic");
  assert.equal(formOf("convolution", { encoding: "qdq" }), "dequantizelinear");
  assert.equal(formOf(product, { encoding: "qdq", bits: 3 }), "dequantizelinear");
  assert.equal(formOf("embedding", { encoding: "qdq" }), "gather");
});

Deno.test("a form that a runtime lacks is refused with op, tensor, reason and the nearest form", () => {
  const old = { runtimes: ["onnxruntime-1.22", "onnxruntime-1.32"] };
  assert.equal(
    refusal("matmul of whole blocks", { bits: 8, encoding: "matmulnbits", ...old }),
    'Cannot express the weight "w" of MatMul "y" in "case.onnx" as matmulnbits at 8 bits: ' +
      "onnxruntime-1.22:cpu lacks 8-bit MatMulNBits, which came with 1.23. The nearest form that " +
      'onnxruntime-1.22:cpu and onnxruntime-1.32:cpu all load is "arithmetic": take --encoding auto.',
  );
  assert.match(
    refusal("convolution", { bits: 2, encoding: "qdq", ...old }),
    /Conv "y".*onnxruntime-1\.22:cpu lacks 2-bit types.*"arithmetic"/,
  );
  assert.match(
    refusal("gemm", { bits: 3, encoding: "matmulnbits", runtimes: ["openvino-2026.4"] }),
    /Gemm "y".*from constants only.*openvino-2026\.4:cpu loads is "arithmetic"/,
  );
  assert.match(
    refusal("float64 matmul", { encoding: "matmulnbits" }),
    /takes no float64 activations/,
  );
  const model = build("matmul");
  model.opsets.set("", 25);
  const options = { ...QUANTIZATION, runtimes: ["onnxruntime-1.22"] };
  assert.throws(() => planQuantization(model, options), /loads opsets up to 22, not 25/);
  model.opsets.set("", 28);
  assert.throws(
    () => planQuantization(model, QUANTIZATION),
    /not 28\. Name the runtime that the result is for, such as --runtime onnxruntime-1\.32\.$/,
  );
});

Deno.test("runtimes are read by name, version and provider", () => {
  const runtime = parseRuntime("onnxruntime-1.24.4:webgpu");
  assert.equal(runtime.text, "onnxruntime-1.24:webgpu");
  assert.deepEqual([runtime.opset, runtime.irVersion], [25, 13]);
  assert.equal(parseRuntime("onnxruntime-web-1.27").text, "onnxruntime-web-1.27:wasm");
  assert.equal(parseRuntime("onnxruntime-1.31").opset, 25);
  assert.equal(parseRuntime("onnxruntime-1.32").opset, 28);
  assert.equal(parseRuntime(DEFAULT_RUNTIME).provider, "cpu");
  for (
    const [text, pattern] of [
      ["onnxruntime-1.21", /not known.*onnxruntime-1\.22/],
      ["onnxruntime-2.0", /not known/],
      ["onnxruntime", /not known/],
      ["openvino-2025.1", /openvino-2026\.4/],
      ["tensorrt-10", /not known/],
      ["onnxruntime-1.24:webgl", /cpu, webgpu only.*"onnxruntime-1\.24:webgpu"/],
      ["onnxruntime-1.24:", /not known/],
      ["", /not known/],
    ] as const
  ) {
    assert.throws(() => parseRuntime(text), (error) => {
      assert.ok(error instanceof InputError);
      assert.match(error.message, pattern);
      return true;
    });
  }
  const web = parseRuntime("onnxruntime-web-1.23");
  assert.match(
    lacks(web, { op: "MatMulNBits", bits: 2, activations: "float32" })!,
    /came with 1\.24/,
  );
});

Deno.test("sizes are those of the tensors in the file, and memory is told where it differs", () => {
  for (const bits of [8, 4, 3, 2] as const) {
    for (const encoding of ["auto", "qdq"] as const) {
      const model = build("matmul of whole blocks");
      const plan = planQuantization(model, { ...QUANTIZATION, bits, encoding });
      const [weight] = applyPlan(model, plan);
      const layout = planModel(model, "out.onnx");
      const placed = weight!.fills.map(({ tensor }) => {
        assert.equal(
          layout.placeOf(tensor).length,
          byteLength(tensor.dtype, elementCount(tensor.dims)),
        );
        return layout.placeOf(tensor).length;
      });
      const [rows, blocks] = [18, 4];
      const codes = rows * 128 * bits / 8;
      const points = rows *
        Math.ceil(blocks * (bits === 8 ? 8 : bits === 2 && encoding === "qdq" ? 2 : 4) / 8);
      assert.equal(
        placed.reduce((sum, length) => sum + length, 0),
        codes + rows * blocks * 2 + points,
      );
      assert.equal(weight!.bytesAfter, codes + rows * blocks * 2 + points);
      assert.equal(weight!.bitsPerWeight, 8 * weight!.bytesAfter / (rows * 128));
      assert.equal(weight!.bytesBefore, rows * 128 * 4);
      if (encoding === "auto" && bits === 3) {
        assert.equal(weight!.memoryBytes, rows * 128 / 2 + rows * blocks * 4 + points);
      }
    }
  }
});

Deno.test("rows shorter than a block are one block; tiny tensors stay, with the sizes", () => {
  const depthwise = planQuantization(build("depthwise convolution"), QUANTIZATION);
  assert.equal(depthwise.weights[0]!.granularity, "channel");
  assert.equal(depthwise.weights[0]!.format.blockSize, 0);
  const feeds = [{ name: "x", dtype: "float32", dims: [1, 8], values: [] }] as const;
  const tiny = simpleModel(
    [makeNode("MatMul", "", ["x", "w"], ["m"]), makeNode("MatMul", "", ["m", "v"], ["y"])],
    [floats("w", [8, 6]), floats("v", [3, 900])],
    feeds,
    2,
  );
  const { weights, skipped } = planQuantization(tiny, QUANTIZATION);
  assert.equal(weights.length, 0);
  assert.match(skipped[0]!.reason, /^too small: 192 bytes would become \d+ with scales and nodes$/);
  assert.match(skipped[1]!.reason, /^too small: 3 weights would share a scale$/);
});

Deno.test("patterns exclude by names of tensors and nodes; one that matches nothing is an error", () => {
  const model = () => build("two products of one weight");
  const excluded = (pattern: string) => {
    const { weights, skipped } = planQuantization(model(), { ...QUANTIZATION, exclude: [pattern] });
    assert.equal(weights.length, 0);
    return skipped[0]!.reason;
  };
  assert.equal(excluded("w"), 'excluded by "w"');
  assert.equal(excluded("*"), 'excluded by "*"');
  assert.equal(excluded("?"), 'excluded by "?"');
  assert.equal(excluded("a"), 'excluded by "a"');
  assert.throws(
    () => planQuantization(model(), { ...QUANTIZATION, exclude: ["ww*"] }),
    /Cannot exclude "ww\*": no weight and no node.*nearest are .*w/,
  );
  // Only * and ? are special.
  assert.throws(() => planQuantization(model(), { ...QUANTIZATION, exclude: ["[w]"] }), InputError);
});

Deno.test("OpenVINO is not given scales along the axis that a product sums over", () => {
  const model = () =>
    simpleModel(
      [
        makeNode("Gemm", "", ["x", "w"], ["h"], [int("transB", 1)]),
        makeNode("MatMul", "", ["h", "w"], ["y"]),
      ],
      [floats("w", [48, 64])],
      [],
      2,
    );
  const runtimes = ["onnxruntime-1.22", "openvino-2026.4"];
  for (const blockSize of ["channel", 32] as const) {
    const options = { ...QUANTIZATION, bits: 8, blockSize, runtimes } as const;
    assert.throws(
      () => planQuantization(model(), { ...options, encoding: "qdq" }),
      /openvino-2026\.4:cpu computes products over the axis of the scales wrongly/,
    );
    const rewritten = model();
    applyPlan(rewritten, planQuantization(rewritten, options));
    const casts = rewritten.graph.nodes.filter((node) => node.opType === "Cast")
      .map((node) => intAttribute(node, "to", 0));
    assert.ok(casts.includes(6), `${blockSize}: ${casts}`);
  }
  // Of a whole tensor it must see the weight's own dims.
  const rewritten = model();
  const options = { ...QUANTIZATION, bits: 8, blockSize: "tensor", runtimes } as const;
  applyPlan(rewritten, planQuantization(rewritten, options));
  const codes = rewritten.graph.initializers.find(({ name }) => name === "w.codes");
  assert.deepEqual(codes?.dims, [48, 64]);
  assert.ok(!rewritten.graph.nodes.some((node) => node.opType === "Reshape"));
});

Deno.test("a product that is refused at 3 bits is refused for its own reason", () => {
  const halves = int("to", 10);
  const nodes = [
    makeNode("Cast", "", ["w"], ["v"], [halves]),
    makeNode("Cast", "", ["x"], ["z"], [halves]),
    makeNode("MatMul", "", ["z", "v"], ["h"]),
    makeNode("MatMul", "", ["x", "w"], ["y"]),
  ];
  const model = simpleModel(nodes, [floats("w", [64, 48])], [], 2);
  assert.throws(
    () => planQuantization(model, { ...QUANTIZATION, bits: 3, encoding: "matmulnbits" }),
    /its products have activations of different types/,
  );
});

Deno.test("a form is refused whose opset takes an operator away from a runtime", () => {
  const model = (op: string, opset: number) =>
    simpleModel(
      [makeNode("MatMul", "", ["x", "w"], ["h"]), makeNode(op, "", ["h"], ["y"])],
      [floats("w", [64, 48])],
      [],
      2,
      opset,
    );
  const plan = (op: string, opset: number, bits: 4 | 2, runtimes: string[]) =>
    planQuantization(model(op, opset), { ...QUANTIZATION, bits, encoding: "qdq", runtimes });
  const refused = (op: string, opset: number, bits: 4 | 2, runtime: string, since: number) =>
    assert.throws(
      () => plan(op, opset, bits, [runtime]),
      new RegExp(`opset \\d+ is needed, and ${runtime}:cpu computes no \\w+ of opset ${since} or `),
    );
  refused("RoiAlign", 16, 2, "onnxruntime-1.32", 22);
  refused("RandomNormalLike", 16, 2, "onnxruntime-1.24", 22);
  refused("LpNormalization", 16, 2, "onnxruntime-1.24", 22);
  refused("ImageScaler", 8, 4, "onnxruntime-1.22", 10);
  refused("Relu", 28, 4, "onnxruntime-1.32", 28);
  assert.equal(plan("LpNormalization", 16, 2, ["onnxruntime-1.32"]).weights.length, 1);
  assert.equal(plan("RoiAlign", 16, 4, ["onnxruntime-1.32"]).weights.length, 1);
  assert.equal(plan("Relu", 25, 2, ["onnxruntime-1.32"]).weights.length, 1);
});

Deno.test("nothing that is no longer read stays, and every name is defined once", () => {
  for (const example of ENCODING_CASES) {
    for (const encoding of ["auto", "qdq"] as const) {
      for (const bits of [4, 3] as const) {
        const model = example.build();
        applyPlan(model, planQuantization(model, { ...QUANTIZATION, bits, encoding }));
        checkNames(model.graph, example.name);
        const old = [...allGraphs(model.graph)].flatMap((graph) => graph.initializers)
          .filter((tensor) => example.weights.includes(tensor.name) && tensor.name !== "r");
        assert.deepEqual(old.map((tensor) => tensor.name), [], `${example.name}: weights left`);
      }
    }
  }
});

/** Every value of a graph is defined before it is read, once, and every constant is read. */
function checkNames(graph: Graph, label: string, outer: ReadonlySet<string> = new Set()): void {
  const own = new Set([...graph.inputs, ...graph.initializers].map((entry) => entry.name));
  assert.equal(own.size, graph.inputs.length + graph.initializers.length, label);
  const read = new Set(graph.outputs.map((output) => output.name));
  const inner: Graph[] = [];
  for (const node of graph.nodes) {
    for (const name of node.inputs) {
      if (name === "") continue;
      read.add(name);
      assert.ok(own.has(name) || outer.has(name), `${label}: ${name} is read before it is defined`);
    }
    for (const { value } of node.attributes) {
      if (value.type !== "graph") continue;
      inner.push(value.value);
      checkNames(value.value, label, new Set([...own, ...outer]));
    }
    for (const name of node.outputs) {
      if (name === "") continue;
      assert.ok(!own.has(name), `${label}: ${name} is defined twice`);
      own.add(name);
    }
  }
  for (const graph of inner.flatMap((entry) => [...allGraphs(entry)])) {
    for (const node of graph.nodes) for (const name of node.inputs) read.add(name);
    for (const output of graph.outputs) read.add(output.name);
  }
  for (const { name } of graph.initializers) assert.ok(read.has(name), `${label}: ${name} unread`);
  for (const node of graph.nodes.filter((entry) => entry.opType === "Constant")) {
    assert.ok(read.has(node.outputs[0]!), `${label}: ${node.outputs[0]} unread`);
  }
}

Deno.test("plans are the same on every run, and names avoid those of the model", () => {
  const make = () => {
    const model = build("matmul of whole blocks");
    model.graph.nodes.push(makeNode("Identity", "", ["y"], ["w.codes"]));
    applyPlan(model, planQuantization(model, QUANTIZATION));
    return model;
  };
  assert.deepEqual(make(), make());
  assert.ok(make().graph.initializers.some((tensor) => tensor.name === "w.codes.1"));
});

for (const { label, path } of NPM_MODELS) {
  Deno.test(`${label}: at least 95 % of the weight bytes are quantized at every precision`, async () => {
    for (const bits of [8, 4, 3, 2] as const) {
      for (const encoding of ["auto", "qdq"] as const) {
        const model = await readModel(path);
        const plan = planQuantization(model, { ...QUANTIZATION, bits, encoding });
        const quantized = plan.weights.reduce((sum, weight) => sum + weight.bytesBefore, 0);
        // Weight bytes: constants of at least 1 KiB.
        const left = plan.skipped.filter((entry) => entry.bytes >= 1024);
        const bytesLeft = left.reduce((sum, entry) => sum + entry.bytes, 0);
        const share = quantized / (quantized + bytesLeft);
        assert.ok(share >= 0.95, `${bits} bits: ${share}`);
        for (const { reason } of plan.skipped) assert.match(reason, /^\S.*[^.]$/);
      }
    }
  });
}
