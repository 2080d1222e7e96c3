/**
 * The text that the compiler writes for a handful of models, held to the files in `golden/`: shaders,
 * bindings and the program. Write them anew, and read the difference, with
 * `deno test -A tests/unit/golden_test.ts -- --update`.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { DType } from "../../src/dtype.ts";
import {
  elementCount,
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
import { compileModel } from "../../src/codegen/mod.ts";
import { text } from "../attributes.ts";

const FOLDER = fileURLToPath(new URL("golden/", import.meta.url));
const UPDATE = Deno.args.includes("--update");

type Dims = readonly (number | string)[];

const zeros = (name: string, dims: readonly number[], dtype: DType = "float32"): Tensor => {
  const bytes = new Uint8Array(elementCount(dims) * (dtype === "float32" ? 4 : 1));
  return makeTensor(name, dtype, dims, { kind: "memory", bytes });
};

const floats = (name: string, values: readonly number[]): Tensor =>
  makeTensor(name, "float32", [values.length], {
    kind: "memory",
    bytes: new Uint8Array(Float32Array.from(values).buffer),
  });

function model(
  nodes: Node[],
  inputs: Readonly<Record<string, Dims>>,
  initializers: Tensor[] = [],
  integers: readonly string[] = [],
): Model {
  const infos = Object.entries(inputs).map(([name, dims]) =>
    makeValueInfo(name, integers.includes(name) ? "int64" : "float32", dims)
  );
  const graph = makeGraph("golden", {
    nodes,
    initializers,
    inputs: infos,
    outputs: [makeValueInfo("y", "float32", null)],
  });
  return makeModel("golden.onnx", 14, new Map([["", 28], ["com.microsoft", 1]]), graph);
}

const CASES: Readonly<Record<string, () => Model>> = {
  softmax: () =>
    model([makeNode("Softmax", "", ["x"], ["y"], [int("axis", -1)])], { x: ["rows", 384] }),
  layer_normalization: () =>
    model(
      [makeNode("LayerNormalization", "", ["x", "scale", "bias"], ["y"])],
      { x: ["batch", "sequence", 384] },
      [zeros("scale", [384]), zeros("bias", [384])],
    ),
  matmul_with_bias_and_gelu: () =>
    model(
      [
        makeNode("MatMul", "", ["x", "w"], ["a"]),
        makeNode("Add", "", ["a", "bias"], ["b"]),
        makeNode("Gelu", "", ["b"], ["y"]),
      ],
      { x: ["rows", 384] },
      [zeros("w", [384, 1536]), zeros("bias", [1536])],
    ),
  matmul_of_4_bits: () =>
    model(
      [
        makeNode("MatMulNBits", "com.microsoft", ["x", "w", "scales"], ["y"], [
          int("K", 384),
          int("N", 1536),
          int("bits", 4),
          int("block_size", 32),
        ]),
      ],
      { x: ["rows", 384] },
      [zeros("w", [1536, 12, 16], "uint8"), zeros("scales", [1536 * 12])],
    ),
  gather: () =>
    model(
      [makeNode("Gather", "", ["table", "indices"], ["y"])],
      { indices: ["batch", "sequence"] },
      [zeros("table", [30522, 384])],
      ["indices"],
    ),
  resize: () =>
    model(
      [makeNode("Resize", "", ["x", "", "scales"], ["y"], [text("mode", "linear")])],
      { x: [1, 3, "height", "width"] },
      [floats("scales", [1, 1, 2, 2])],
    ),
  heads: () =>
    model(
      [
        makeNode("Split", "", ["x"], ["a", "b"], [int("axis", -1), int("num_outputs", 2)]),
        makeNode("Mul", "", ["a", "b"], ["c"]),
        makeNode("Transpose", "", ["c"], ["y"], [ints("perm", [0, 2, 1])]),
      ],
      { x: ["batch", "sequence", 64] },
    ),
};

/** What the compiler makes of a model, as it is compared. */
async function textOf(make: () => Model): Promise<string> {
  const compiled = await compileModel(make());
  const weights = { file: "w", bytes: 0, buffers: [], chunks: [], tensors: [] };
  const javaScript = compiled.javaScript("w", weights);
  const start = javaScript.indexOf("function* program");
  const program = javaScript.slice(start, javaScript.indexOf("\n}\n", start) + 2);
  // Variables are numbered by what a process has compiled before: here in order of appearance.
  const numbers = new Map<string, string>();
  const numbered = program.replace(/\b[a-z]\d+\b/g, (name) => {
    const known = numbers.get(name) ?? `${name[0]}${numbers.size}`;
    numbers.set(name, known);
    return known;
  });
  const shaders = compiled.pipelines.map(({ label, bindings, parameters, code, constants }, i) => {
    const more = constants === undefined ? "" : `, ${JSON.stringify(constants)}`;
    return `==== pipeline ${i}: ${label}, bindings ${bindings}, ${parameters} parameters${more}\n${code}`;
  });
  return `${
    [`==== program\n${numbered}`, ...shaders].map((part) => part.trimEnd()).join("\n\n")
  }\n`;
}

for (const [name, make] of Object.entries(CASES)) {
  Deno.test(`the text of ${name} is the golden one`, async () => {
    const made = await textOf(make);
    assert.equal(await textOf(make), made, "the same model gives another text");
    const path = `${FOLDER}${name}.txt`;
    if (UPDATE) await Deno.writeTextFile(path, made);
    assert.equal(made, await Deno.readTextFile(path));
  });
}

Deno.test("every golden file has its case", async () => {
  const files: string[] = [];
  for await (const { name } of Deno.readDir(FOLDER)) {
    if (UPDATE && !(name.replace(/\.txt$/, "") in CASES)) await Deno.remove(FOLDER + name);
    else files.push(name);
  }
  assert.deepEqual(files.sort(), Object.keys(CASES).map((name) => `${name}.txt`).sort());
});
