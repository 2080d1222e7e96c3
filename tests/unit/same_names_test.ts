/**
 * Weights of the same name: each subgraph has names of its own, so what is known of one of them must
 * not be taken for true of the other.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import {
  allGraphs,
  type Graph,
  makeGraph,
  makeNode,
  makeTensor,
  makeValueInfo,
} from "../../src/ir.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import { convert } from "../convert.ts";
import { encode, noise, simpleModel } from "../encoding_models.ts";
import { withFolder } from "./onnx_models.ts";
import { graph as graphAttribute } from "../attributes.ts";

/** The values of the weight `w` of each branch: 64 by 64. */
type Branches = { readonly then: readonly number[]; readonly else: readonly number[] };

/** A model whose branches multiply by a `w` of their own each, in nodes of the branch's name. */
async function writeBranches(folder: string, values: Branches): Promise<string> {
  const branch = (name: keyof Branches): Graph =>
    makeGraph(name, {
      nodes: [makeNode("MatMul", "", ["x", "w"], [`${name}_y`])],
      initializers: [
        makeTensor("w", "float32", [64, 64], {
          kind: "memory",
          bytes: encode("float32", values[name]),
        }),
      ],
      outputs: [makeValueInfo(`${name}_y`, "float32", null)],
    });
  const model = simpleModel(
    [
      makeNode("If", "", ["p"], ["y"], [
        graphAttribute("then_branch", branch("then")),
        graphAttribute("else_branch", branch("else")),
      ]),
    ],
    [],
    [
      { name: "p", dtype: "bool", dims: [], values: [] },
      { name: "x", dtype: "float32", dims: [2, 64], values: [] },
    ],
    2,
  );
  const path = join(folder, "source.onnx");
  await writeModel(model, path);
  return path;
}

/** The type of each branch's `w`, null where it is none any more. */
async function types(path: string): Promise<Record<string, string | null>> {
  const found: Record<string, string | null> = {};
  for (const graph of allGraphs((await readModel(path)).graph)) {
    if (graph.name !== "then" && graph.name !== "else") continue;
    found[graph.name] = graph.initializers.find(({ name }) => name === "w")?.dtype ?? null;
  }
  return found;
}

const QUICK = { engine: "reference", method: "rtn" } as const;

Deno.test("--nan keep keeps the one weight with NaN, not its namesake", async () => {
  await withFolder(async (folder) => {
    for (const poisoned of ["then", "else"] as const) {
      const values = { then: noise(1, 4096), else: noise(2, 4096) };
      values[poisoned][77] = NaN;
      const source = await writeBranches(folder, values);
      const output = join(folder, "result.onnx");
      for (const precision of ["4bit", "3bit", "float16", "bfloat16"] as const) {
        const [report] = await convert({ source, output, precision, ...QUICK, nan: "keep" });
        assert.deepEqual(report!.skipped.map(({ name }) => name), ["w"], precision);
        assert.equal(report!.weights.filter(({ sqnr }) => sqnr !== null).length, 1, precision);
        const found = await types(output);
        assert.equal(found[poisoned], "float32", precision);
        assert.notEqual(found[poisoned === "then" ? "else" : "then"], "float32", precision);
      }
    }
  });
});

Deno.test("a skipped weight is listed when float16 activations change its namesake", async () => {
  await withFolder(async (folder) => {
    const values = { then: noise(1, 4096), else: noise(2, 4096) };
    values.then[5] = NaN;
    const source = await writeBranches(folder, values);
    const output = join(folder, "result.onnx");
    const [report] = await convert({
      source,
      output,
      precision: "4bit",
      activations: "float16",
      exclude: ["else_y"],
      nan: "keep",
      ...QUICK,
    });
    // The one becomes float16, the other stays for its NaN.
    assert.deepEqual(report!.weights.map(({ name, form }) => [name, form]), [["w", "float16"]]);
    assert.deepEqual(report!.skipped.map(({ name }) => name), ["w"]);
  });
});

Deno.test("excluding a node keeps what it reads, not its namesake", async () => {
  await withFolder(async (folder) => {
    const source = await writeBranches(folder, { then: noise(1, 4096), else: noise(2, 4096) });
    const output = join(folder, "result.onnx");
    for (const precision of ["4bit", "float16", "bfloat16"] as const) {
      await convert({ source, output, precision, exclude: ["then_y"], ...QUICK });
      const found = await types(output);
      assert.equal(found.then, "float32", precision);
      assert.notEqual(found.else, "float32", precision);
    }
  });
});

Deno.test("float rows show shape, readers and the error of their own tensor", async () => {
  await withFolder(async (folder) => {
    // float16 holds the first exactly.
    const source = await writeBranches(folder, {
      then: noise(1, 4096).map((value) => Math.round(value * 8)),
      else: noise(2, 4096),
    });
    const output = join(folder, "result.onnx");
    const [report] = await convert({ source, output, precision: "float16" });
    const rows = report!.weights.map(({ dims, ops, sqnr }) => [dims, ops, sqnr === Infinity]);
    assert.deepEqual(rows, [[[64, 64], ["MatMul"], true], [[64, 64], ["MatMul"], false]]);
  });
});
