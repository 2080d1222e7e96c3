/**
 * Conversions to modules for WebGPU by the public API, without a GPU: which files are written, what
 * stands in them, dimensions that are fixed or limited, and what is refused.
 */
import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { convert, type ConvertOptions, InputError, type StepReport } from "../../mod.ts";
import { shaderChecker } from "../../src/codegen/shader_check.ts";
import type { ModuleReport } from "../../src/converters/webgpu_report.ts";
import { makeGraph, makeModel, makeNode, makeValueInfo, type Model } from "../../src/ir.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import { command } from "../command.ts";
import { floats } from "../encoding_models.ts";
import { namesIn, withFolder } from "./onnx_models.ts";

/** Names of everything in a small model. */
interface Names {
  readonly input: string;
  readonly output: string;
  readonly batch: string;
  readonly weight: string;
  readonly node: string;
}

const PLAIN: Names = { input: "x", output: "y", batch: "batch", weight: "w", node: "product" };

/** relu(x w + b) of "x" [batch, seq, 256]. */
function smallModel(names: Names = PLAIN): Model {
  const { input, output, batch, weight, node } = names;
  const graph = makeGraph(node, {
    nodes: [
      makeNode("MatMul", "", [input, weight], ["product"], [], node),
      makeNode("Add", "", ["product", "bias"], ["sum"]),
      makeNode("Relu", "", ["sum"], [output]),
    ],
    initializers: [floats(weight, [256, 256]), floats("bias", [256])],
    inputs: [makeValueInfo(input, "float32", [batch, "seq", 256])],
    outputs: [makeValueInfo(output, "float32", [batch, "seq", 256])],
  });
  const model = makeModel("small.onnx", 8, new Map([["", 17]]), graph);
  model.metadata = [["</script><script>alert(1)</script>", node]];
  return model;
}

/** Writes `model` into `folder` and converts it to `small.webgpu.js` there. */
async function toModule(
  folder: string,
  options: Partial<ConvertOptions> = {},
  model: Model = smallModel(),
): Promise<{ report: ModuleReport; files: readonly string[]; steps: readonly StepReport[] }> {
  const modelPath = join(folder, "small.onnx");
  await writeModel(model, modelPath);
  const outputPath = join(folder, "small.webgpu.js");
  const result = await convert({ engine: "reference", modelPath, outputPath, ...options });
  if (!result.success) throw result.error;
  const last = result.steps.at(-1)!;
  assert.equal(last.kind, "webgpu");
  const report = JSON.parse(Deno.readTextFileSync(join(folder, "small.webgpu.report.json")));
  assert.deepEqual(JSON.parse(JSON.stringify(last)).module, report);
  return { report, files: result.files.map((path) => basename(path)), steps: result.steps };
}

/** A module's text without the numbers of its variables, which count on from model to model. */
function plain(text: string): string {
  return text.replace(/\b[nv]\d+\b/g, "v");
}

const FILES = ["d.ts", "html", "js", "report.json", "safetensors"].map((end) =>
  `small.webgpu.${end}`
);

Deno.test("a module's files lie beside each other, and its report tells what is in it", async () => {
  await withFolder(async (folder) => {
    const { report, files, steps } = await toModule(folder);
    assert.equal(steps.length, 1);
    assert.deepEqual(files.toSorted(), FILES);
    assert.deepEqual(namesIn(folder), ["small.onnx", ...FILES].sort());
    assert.deepEqual(report.inputs, [
      { name: "x", dtype: "float32", dims: ["batch", "seq", 256] },
    ]);
    assert.deepEqual(report.outputs, [
      { name: "y", dtype: "float32", dims: ["batch", "seq", 256] },
    ]);
    assert.deepEqual(report.nodes, { Add: 1, MatMul: 1, Relu: 1 });
    assert.deepEqual(report.hostNodes, []);
    assert.deepEqual(
      report.weights.tensors.map(({ name, precision, bytes }) => [name, precision, bytes]).sort(),
      [["bias", "float32", 1024], ["w", "float32", 262144]],
    );
    assert.equal(
      Deno.statSync(join(folder, "small.webgpu.safetensors")).size,
      report.weights.fileBytes,
    );
    for (const dispatch of report.dispatches) {
      const kernels = "kernel" in dispatch
        ? [dispatch.kernel]
        : report.choices[dispatch.choice]!.candidates.flatMap((candidate) => candidate.kernels);
      assert.ok(kernels.length > 0);
      for (const kernel of kernels) assert.ok(report.kernels[kernel] !== undefined);
    }
    assert.ok(report.dispatches.some(({ label }) => label.startsWith("MatMul")));
    const [choice, ...others] = report.choices;
    assert.deepEqual(others, []);
    assert.match(choice!.label, /^MatMul/);
    assert.ok(choice!.candidates.length > 2);
    for (const { variant, kernels } of choice!.candidates) {
      assert.match(variant, /^matmul_/);
      for (const kernel of kernels) assert.ok(report.kernels[kernel]!.label.includes(variant));
    }
    const few = choice!.candidates.find(({ variant }) => variant === "matmul_row");
    assert.deepEqual(few?.limits, ["rows <= 2"]);
    const checker = await shaderChecker();
    assert.deepEqual(report.shaders, {
      checker,
      checked: checker === "none" ? 0 : report.kernels.length,
    });
    assert.match(String(report.memory), /"batch" is not fixed/);
    assert.equal(report.source.name, "small.onnx");
    const text = Deno.readTextFileSync(join(folder, "small.webgpu.js"));
    assert.ok(text.includes(`new URL("./small.webgpu.safetensors", import.meta.url)`));
    assert.doesNotMatch(text, /^import\b/m);
    // Importing touches nothing, and a second conversion takes the place of the first.
    const module = await import(pathToFileURL(join(folder, "small.webgpu.js")).href);
    assert.deepEqual(Object.keys(module).sort(), ["inputs", "load", "outputs"]);
    assert.deepEqual(module.inputs, report.inputs);
    await toModule(folder);
    assert.equal(plain(Deno.readTextFileSync(join(folder, "small.webgpu.js"))), plain(text));
  });
});

Deno.test("the declarations hold a program to names, dtypes and dims", async () => {
  await withFolder(async (folder) => {
    await toModule(folder, { dims: { batch: 1 } });
    Deno.writeTextFileSync(
      join(folder, "use.ts"),
      `// @ts-types="./small.webgpu.d.ts"
import { load } from "./small.webgpu.js";
const model = await load({ cache: true });
const data = new Float32Array(512);
const { y } = await model.run({ x: { data, dims: [1, 2, 256] } });
const first: number | undefined = y.data[0];
const batch: 1 = y.dims[0];
const name: "x" = model.inputs[0].name;
// @ts-expect-error: there is no such input
await model.run({ z: data });
// @ts-expect-error: the dimension is fixed
await model.run({ x: { data, dims: [2, 1, 256] } });
// @ts-expect-error: of another dtype
await model.run({ x: { data: new Int32Array(512), dims: [1, 2, 256] } });
console.log(first, batch, name);
`,
    );
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["check", "--quiet", "use.ts"],
      cwd: folder,
      stdout: "null",
      stderr: "piped",
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
  });
});

Deno.test("fewer bits are reached through ONNX, in one conversion", async () => {
  await withFolder(async (folder) => {
    for (const bits of [8, 4, 3, 2] as const) {
      const { report, steps, files } = await toModule(folder, { precision: `${bits}bit` });
      assert.deepEqual(steps.map(({ kind }) => kind), ["onnx", "webgpu"]);
      assert.deepEqual(files.toSorted(), FILES);
      assert.match(String(report.source.options), new RegExp(`"${bits}bit"`));
      // Codes, and 16 bits of scale and a zero point of 4 or 8 bits a block.
      const taken = report.weights.tensors.filter(({ name }) => name !== "bias");
      const bytes = taken.reduce((sum, weight) => sum + weight.bytes, 0);
      const perWeight = bits + (16 + Math.max(bits, 4)) / 32;
      assert.ok(bytes * 8 <= 256 * 256 * perWeight * 1.002 + 1024, `${bits}: ${bytes}`);
      if (bits === 4) assert.ok(taken.some(({ precision }) => precision === "4bit"));
    }
    const { report } = await toModule(folder, { precision: "float16" });
    const weight = report.weights.tensors.find(({ dims }) => dims.length === 2)!;
    assert.deepEqual([weight.precision, weight.bytes], ["float16", 131072]);
    assert.deepEqual(report.inputs[0]!.dtype, "float32");
  });
});

Deno.test("dimensions are fixed and limited by name", async () => {
  await withFolder(async (folder) => {
    const { report } = await toModule(folder, { dims: { batch: 2 }, maxDims: { seq: 3 } });
    assert.deepEqual(report.inputs[0]!.dims, [2, "seq", 256]);
    assert.deepEqual([report.dims, report.maxDims], [{ batch: 2 }, { seq: 3 }]);
    assert.ok(typeof report.memory === "object");
    assert.deepEqual(report.memory.dims, [[2, 3, 256]]);
    assert.ok(report.memory.dispatches >= 1);
    // The input and the output at once, at least.
    assert.ok(report.memory.liveBytes >= 2 * (2 * 3 * 256 * 4));
    assert.ok(report.memory.arenaBytes >= report.memory.liveBytes);
    assert.ok(report.memory.arenaBytes <= 1.25 * report.memory.liveBytes);
    assert.match(
      Deno.readTextFileSync(join(folder, "small.webgpu.d.ts")),
      /dims: readonly \[2, "seq", 256\]/,
    );
    for (
      const [options, pattern] of [
        [{ dims: { bach: 1 } }, /--dim "bach": no input of .* There are "batch", "seq"/],
        [{ maxDims: { n: 1 } }, /--max-dim "n": no input/],
        [{ dims: { seq: 1 }, maxDims: { seq: 2 } }, /--max-dim "seq": --dim fixes/],
      ] as const
    ) {
      await assert.rejects(
        toModule(folder, options),
        (error: Error) => error instanceof InputError && pattern.test(error.message),
      );
    }
  });
});

Deno.test("what can't become a module is refused, and nothing is written", async () => {
  const strange = makeModel(
    "small.onnx",
    8,
    new Map([["", 17], ["elsewhere", 1]]),
    makeGraph("strange", {
      nodes: [makeNode("Divine", "elsewhere", ["x"], ["y"], [], "the node")],
      inputs: [makeValueInfo("x", "float32", [4])],
      outputs: [makeValueInfo("y", "float32", [4])],
    }),
  );
  const contradictory = smallModel();
  contradictory.graph.inputs[0]!.dtype = "bool";
  await withFolder(async (folder) => {
    for (
      const [options, pattern, model] of [
        [{}, /Divine/, strange],
        [{}, /Cannot compile .*small\.onnx"/, contradictory],
        [{ compile: "CPU" }, /--compile here/],
        [{ perOp: true }, /--per-op here/],
        [{ timeout: 9 }, /--timeout here/],
        [{ outputPath: join(folder, "small.mjs"), targetFormat: "webgpu" }, /ends in \.js/],
        [{ outputPath: join(folder, "out.onnx"), dims: { batch: 1 } }, /--dim here/],
      ] as const
    ) {
      await assert.rejects(
        toModule(folder, options, model),
        (error: Error) => {
          assert.ok(error instanceof InputError, String(error));
          assert.match(error.message, pattern);
          return true;
        },
      );
      assert.deepEqual(namesIn(folder), ["small.onnx"]);
    }
    // What lies where a module's file belongs, without the module, is someone else's.
    Deno.writeTextFileSync(join(folder, "small.webgpu.html"), "mine");
    await assert.rejects(toModule(folder), /small\.webgpu\.html", which goes with it/);
    assert.equal(Deno.readTextFileSync(join(folder, "small.webgpu.html")), "mine");
  });
});

Deno.test("names of a model are data in every file", async () => {
  const evil = [
    `</script><img src=x onerror=alert(1)>`,
    `";globalThis.evil=1;//`,
    "`${globalThis.evil=1}`",
    `*/globalThis.evil=1;/*`,
    `\n\r\u2028globalThis.evil=1`,
    `__proto__`,
    `y"]; @compute fn evil() {}`,
  ];
  const marks = (html: string) => html.match(/<[/!a-z]/gi)!.length;
  await withFolder(async (folder) => {
    await toModule(folder);
    const [text, html] = ["js", "html"].map((end) =>
      Deno.readTextFileSync(join(folder, `small.webgpu.${end}`))
    );
    for (const [index, name] of evil.entries()) {
      const own = join(folder, String(index));
      Deno.mkdirSync(own);
      const names = { input: name, output: `${name}2`, batch: `${name}3` };
      const model = smallModel({ ...names, weight: `${name}4`, node: `${name}5` });
      const { report } = await toModule(own, { maxDims: {} }, model);
      assert.deepEqual(report.inputs[0]!.dims, [names.batch, "seq", 256]);
      const made = Deno.readTextFileSync(join(own, "small.webgpu.js"));
      // Names stand in the tables alone; kernels and the program are the same text as without them.
      const rest = (script: string) => plain(script.replace(/^const tables = .*$/m, ""));
      assert.equal(rest(made), rest(text!));
      const module = await import(pathToFileURL(join(own, "small.webgpu.js")).href);
      assert.equal(module.inputs[0].name, names.input);
      assert.equal(module.outputs[0].name, names.output);
      assert.equal(Reflect.get(globalThis, "evil"), undefined);
      assert.equal(marks(Deno.readTextFileSync(join(own, "small.webgpu.html"))), marks(html!));
    }
  });
});

Deno.test("a page's settings lie beside it where they are large", async () => {
  await withFolder(async (folder) => {
    Deno.writeTextFileSync(
      join(folder, "tokenizer.json"),
      JSON.stringify({
        version: "1.0",
        added_tokens: [],
        normalizer: null,
        pre_tokenizer: { type: "Whitespace" },
        post_processor: null,
        decoder: null,
        model: {
          type: "WordLevel",
          vocab: Object.fromEntries(Array.from({ length: 4000 }, (_, id) => [`word${id}`, id])),
          unk_token: "word0",
        },
      }),
    );
    const graph = makeGraph("embedding", {
      nodes: [makeNode("Gather", "", ["table", "input_ids"], ["last_hidden_state"])],
      initializers: [floats("table", [4000, 8])],
      inputs: [makeValueInfo("input_ids", "int64", ["batch", "sequence"])],
      outputs: [makeValueInfo("last_hidden_state", "float32", ["batch", "sequence", 8])],
    });
    const model = makeModel("small.onnx", 8, new Map([["", 17]]), graph);
    // The files beside the source count, however many steps there are.
    const { report, files } = await toModule(folder, { precision: "8bit" }, model);
    assert.equal(report.page, "similarity of texts");
    assert.ok(files.includes("small.webgpu.page.json"), files.join());
    assert.ok(Deno.statSync(join(folder, "small.webgpu.page.json")).size > 32 * 1024);
  });
});

Deno.test("the command line converts with the permissions of `convert` alone", async () => {
  await withFolder(async (folder) => {
    const source = join(folder, "small.onnx");
    await writeModel(smallModel(), source);
    const output = join(folder, "small.webgpu.js");
    const convertIt = (...more: string[]) =>
      command(["convert", "--source", source, "--output", output, ...more], { folder });
    const made = await convertIt("--precision", "4bit", "--dim", "batch=1", "--max-dim", "seq=9");
    assert.equal(made.code, 0, made.stderr);
    assert.match(made.stdout, /weights 1 as 4bit/);
    assert.match(made.stdout, /memory {2}[0-9.]+ kB for activations/);
    assert.deepEqual(namesIn(folder), ["small.onnx", ...FILES].sort());
    for (
      const [args, expected, pattern] of [
        [["--dim", "batch"], 2, /dimension "batch": it is not a name and a positive whole number/],
        [["--dim", "batch=0"], 2, /dimension "batch=0"/],
        [["--dim", "a=1", "--dim", "a=2"], 2, /"a" is given twice/],
        [["--verify"], 4, /--allow-run=deno/],
      ] as const
    ) {
      const { code, stderr } = await convertIt(...args);
      assert.equal(code, expected, stderr);
      assert.match(stderr, pattern);
    }
  });
});
