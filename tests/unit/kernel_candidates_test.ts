/**
 * Which ways of computing a kernel are emitted: what is proved of the sizes decides, and what is left is
 * looked at in a run; and the tables come out of the form that they are written in as they were.
 */
import assert from "node:assert/strict";
import { compileModel } from "../../src/codegen/mod.ts";
import type { KernelTable } from "../../src/codegen/module.ts";
import { PipelineTables } from "../../src/codegen/pipeline_tables.ts";
import { unpackTables } from "../../src/codegen/runtime/packed_tables.js";
import { KernelSelection } from "../../src/codegen/runtime/selection.js";
import { checkShader, shaderChecker } from "../../src/codegen/shader_check.ts";
import { packTables } from "../../src/codegen/shader_texts.ts";
import { int, makeGraph, makeModel, makeNode, makeTensor, makeValueInfo } from "../../src/ir.ts";

type Dims = readonly (number | string)[];

/** A module of `y = x w`, w a constant. */
async function product(
  x: Dims,
  w: readonly [number, number],
  transposed = false,
  dtype: "float32" | "float16" = "float32",
) {
  const bytes = new Uint8Array((dtype === "float32" ? 4 : 2) * w[0] * w[1]);
  const node = transposed
    ? makeNode("Gemm", "", ["x", "w"], ["y"], [int("transB", 1)])
    : makeNode("MatMul", "", ["x", "w"], ["y"]);
  const graph = makeGraph("product", {
    nodes: [node],
    initializers: [makeTensor("w", dtype, w, { kind: "memory", bytes })],
    inputs: [makeValueInfo("x", dtype, x)],
    outputs: [makeValueInfo("y", dtype, null)],
  });
  return await compileModel(makeModel("product.onnx", 14, new Map([["", 28]]), graph));
}

async function kernelOf(x: Dims, w: readonly [number, number]): Promise<KernelTable> {
  const { kernels: [kernel, ...more] } = await product(x, w);
  assert.ok(kernel !== undefined);
  assert.deepEqual(more, []);
  return kernel;
}

const namesOf = ({ candidates }: KernelTable) => candidates.map(({ variant }) => variant.name);
const isSmall = (name: string) => name.startsWith("matmul_lanes") || name.startsWith("matmul_row");

Deno.test("tiles of float16 are for products of float16", async () => {
  for (const dtype of ["float32", "float16"] as const) {
    const { kernels: [kernel] } = await product(["n", 64], [64, 64], false, dtype);
    const halves = kernel!.candidates.filter(({ variant }) =>
      variant.features.includes("shader-f16")
    );
    assert.equal(halves.length > 0, dtype === "float16", dtype);
  }
});

Deno.test("what is proved not to fit is not emitted", async () => {
  const few = await kernelOf([2, 300], [300, 500]);
  assert.ok(namesOf(few).some(isSmall));
  assert.ok(!namesOf(few).some((name) => name.startsWith("matmul_tiled_16")));
  const many = await kernelOf([512, 300], [300, 500]);
  assert.ok(!namesOf(many).some(isSmall));
  assert.ok(namesOf(many).some((name) => name.startsWith("matmul_tiled_16")));
  // Not even one of `heads` rows is as few as 8: rows are 12 heads.
  const heads = await kernelOf(["heads", 12, 300], [300, 500]);
  assert.ok(!namesOf(heads).some(isSmall));
  // Sums are split where they are long, and results few.
  const isSplit = (name: string) => name.startsWith("matmul_split");
  assert.ok(namesOf(await kernelOf([16, 2048], [2048, 64])).some(isSplit));
  assert.ok(!namesOf(await kernelOf([16, 1023], [1023, 64])).some(isSplit));
});

Deno.test("what is not known is left to the run, and the last candidate to every run", async () => {
  const kernel = await kernelOf(["rows", 300], [300, 500]);
  const selection = new KernelSelection([kernel], {
    software: true,
    features: new Set(),
    workgroupBytes: 16384,
  }, false);
  const taken = (rows: number): string => {
    const sizes = kernel.sizes.map((size) =>
      typeof size === "number" ? size : [1, rows, 500, 300][kernel.sizes.indexOf(size)]!
    );
    return kernel.candidates[selection.choose(0, sizes).index]!.variant.name;
  };
  assert.equal(taken(1), "matmul_row");
  assert.equal(taken(2), "matmul_row");
  assert.match(taken(3), /^matmul_registers/);
  assert.match(taken(4096), /^matmul_registers/);
  for (const { kernels } of [await product([64, 3], [3, 5]), await product(["n", 3], [3, 5])]) {
    for (const { candidates } of kernels) {
      assert.ok(
        candidates.some(({ limits, variant }) =>
          limits.length === 0 && variant.adapter !== "hardware" && variant.features.length === 0
        ),
      );
    }
  }
});

Deno.test("features are enabled, and asked of the device", async () => {
  const kernel = await kernelOf([64, 300], [300, 500]);
  const [first] = kernel.candidates;
  const variant = { ...first!.variant, name: "half", adapter: "any", features: ["shader-f16"] };
  const candidates = [{ ...first!, variant, limits: [] } as const, ...kernel.candidates];
  const taken = (features: readonly string[]): string => {
    const abilities = { software: false, features: new Set(features), workgroupBytes: 16384 };
    const selection = new KernelSelection(
      [{ ...kernel, candidates }] as KernelTable[],
      abilities,
      false,
    );
    return candidates[selection.choose(0, [1, 64, 500, 300]).index]!.variant.name;
  };
  assert.equal(taken(["shader-f16"]), "half");
  assert.notEqual(taken(["subgroups"]), "half");

  const tables = new PipelineTables();
  const shader = { prelude: new Set<string>(), bindings: "", constants: {} };
  const text = "@compute @workgroup_size(1) fn main() { _ = f16(1.0); }";
  const features = ["shader-f16", "subgroups"];
  tables.pipeline("half", { ...shader, text, features }, 0);
  const { pipelines } = unpackTables(packTables(tables));
  assert.deepEqual(pipelines[0]!.features, features);
  assert.match(pipelines[0]!.code, /^enable f16;\nenable subgroups;\n@compute/);
  if (await shaderChecker() === "naga") assert.equal(await checkShader(pipelines[0]!.code), null);
  assert.throws(() => tables.pipeline("x", { ...shader, text, features: ["nonsense"] }, 0), {
    message: 'no directive enables "nonsense"',
  });
});

Deno.test("all candidates of a kernel take the same tensors and parameters", async () => {
  const { pipelines, kernels } = await product(["rows", 2048], [64, 2048], true);
  for (const { bindings, parameters, candidates } of kernels) {
    for (const { variant, pipelines: passes } of candidates) {
      assert.equal(passes.length, variant.passes.length);
      for (const index of passes) {
        const pipeline = pipelines[index]!;
        assert.equal(pipeline.parameters, parameters);
        const own = pipeline.bindings.slice(0, bindings.length);
        assert.match(bindings, new RegExp(`^${own}$`), "a letter is the kernel's, or left out");
        const between = pipeline.bindings.slice(bindings.length);
        assert.equal(between, variant.between === undefined ? "" : "a");
        assert.deepEqual(
          [...pipeline.code.matchAll(/@binding\((\d+)\)/g)].map(([, number]) => Number(number)),
          [0, ...[...pipeline.bindings].flatMap((letter, i) => letter === "." ? [] : i + 1)],
        );
      }
    }
  }
});

Deno.test("tables are read as they were written, and shaders mean what they meant", async () => {
  const module = await product(["batch", "rows", 2048], [2048, 64]);
  const packed = packTables(module);
  const { pipelines, kernels } = unpackTables(JSON.parse(JSON.stringify(packed)));
  assert.deepEqual(kernels, module.kernels);
  const tokens = (code: string) => code.match(/\w[\w.]*|[^\s\w]/g);
  for (const [i, { code, ...rest }] of pipelines.entries()) {
    const { code: written, ...others } = module.pipelines[i]!;
    assert.deepEqual(rest, others);
    assert.deepEqual(tokens(code), tokens(written));
    assert.ok(code.length < written.length);
    if (await shaderChecker() === "naga") assert.equal(await checkShader(code), null);
  }
  const texts = packed.texts.filter((text) => typeof text === "string");
  assert.equal(new Set(texts).size, texts.length);
});
