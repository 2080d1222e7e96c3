/**
 * ONNX to OpenVINO through the converters: trained models at several precisions, the same bytes on
 * every run, the compiled blob, NNCF, and what is refused or kept aside.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { InputError, VerificationError } from "../../src/error.ts";
import { convertModel } from "../../src/converters/convert.ts";
import type { ConversionResult } from "../../src/converters/converter.ts";
import { DEFAULTS, type Precision } from "../../src/converters/options.ts";
import type { OpenVinoReport } from "../../src/converters/openvino_answer.ts";
import type { Model, Node } from "../../src/ir.ts";
import { int, makeNode, NOTHING_CARRIED } from "../../src/ir.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import { type Feed, integers, simpleModel } from "../encoding_models.ts";
import { REAL_MODELS, type RealModel } from "../real_models.ts";
import { withFolder } from "../unit/onnx_models.ts";

/** Converts `source` to `folder/model.xml`. */
async function convert(
  source: string,
  folder: string,
  options: Partial<typeof DEFAULTS> & { readonly precision?: Precision } | Record<string, unknown> =
    {},
): Promise<ConversionResult> {
  const { precision = "float32", ...rest } = options;
  return await convertModel({
    ...DEFAULTS,
    method: "rtn",
    engine: "wasm",
    sha256: true,
    ...rest,
    modelType: null,
    precisions: [precision as Precision],
    modelPath: source,
    outputPath: join(folder, "model.xml"),
  }, { sourceFormat: null, targetFormat: null });
}

/** The report of the step that OpenVINO did. */
function reportOf(result: ConversionResult): OpenVinoReport {
  assert.equal(result.error, null, result.error?.message);
  const report = result.steps.at(-1)!;
  assert.ok(report.kind === "openvino");
  return report;
}

function real(label: RealModel["label"]): string {
  return REAL_MODELS.find((model) => model.label === label)!.path;
}

/** Trained models and what their IR holds. */
const TRAINED: readonly {
  readonly model: RealModel["label"];
  readonly options: { readonly precision: Precision; readonly symmetric?: boolean };
  /** Element type of the weights. */
  readonly element: string;
  /** The IR's bytes as a part of the original's at most. */
  readonly share: number;
}[] = [
  { model: "minilm", options: { precision: "float32" }, element: "f32", share: 1.01 },
  { model: "minilm", options: { precision: "4bit" }, element: "u4", share: 0.15 },
  { model: "minilm", options: { precision: "2bit", symmetric: true }, element: "u2", share: 0.085 },
  { model: "recognizer", options: { precision: "float16" }, element: "f16", share: 0.51 },
  { model: "recognizer", options: { precision: "3bit" }, element: "u3", share: 0.13 },
  { model: "recognizer", options: { precision: "bfloat16" }, element: "bf16", share: 0.51 },
  {
    model: "classifier",
    options: { precision: "8bit", symmetric: true },
    element: "i8",
    share: 0.4,
  },
  {
    model: "detector",
    options: { precision: "4bit", symmetric: true },
    element: "i4",
    share: 0.16,
  },
];

for (const { model, options, element, share } of TRAINED) {
  const kind = options.symmetric ? "symmetric" : "asymmetric";
  Deno.test(`the ${model} at ${options.precision}, ${kind}, computes the same in OpenVINO`, async () => {
    await withFolder(async (folder) => {
      const report = reportOf(await convert(real(model), folder, options));
      const { verification, files, constants } = report;
      assert.ok(verification?.passed);
      assert.ok(verification.samples >= 2);
      const limit = /float/.test(options.precision) ? 1e-4 : 1e-3;
      assert.equal(verification.tolerance, limit);
      assert.equal(constants[0]!.element, element);
      assert.deepEqual(
        files.map(({ path }) => path),
        ["model.xml", "model.bin"].map((name) => join(folder, name)),
      );
      const [, weights] = files;
      assert.equal(Deno.statSync(weights!.path).size, weights!.byteLength);
      assert.ok(
        weights!.byteLength < share * Deno.statSync(real(model)).size,
        `${weights!.byteLength} bytes`,
      );
      if (!options.precision.startsWith("float")) {
        assert.ok(report.weights.length > 10);
        assert.deepEqual([...new Set(report.weights.map((weight) => weight.element))], [element]);
      }
      assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), [
        "model.bin",
        "model.xml",
      ]);
    });
  });
}

Deno.test("an IR has the same bytes on every run, whatever its folder, and names no path", async () => {
  await withFolder(async (first) => {
    await withFolder(async (second) => {
      const source = real("classifier");
      const copy = join(second, "another.onnx");
      Deno.copyFileSync(source, copy);
      const options = { precision: "4bit", verify: false };
      const once = reportOf(await convert(source, first, options));
      const twice = reportOf(await convert(copy, second, options));
      const hashes = (report: OpenVinoReport) => report.files.map(({ sha256 }) => sha256);
      assert.deepEqual(hashes(once), hashes(twice));
      const text = Deno.readTextFileSync(join(first, "model.xml"));
      for (const word of [first, "assets", "another", ".onnx"]) {
        assert.ok(!text.includes(word), `the IR says "${word}"`);
      }
      assert.match(text, /<source_sha256 value="[0-9a-f]{64}"/);
      assert.match(text, /<version value="\d+\.\d+\.\d+"/);
    });
  });
});

Deno.test("--compile writes the compiled model, and names the devices there are", async () => {
  await withFolder(async (folder) => {
    const source = real("classifier");
    const report = reportOf(await convert(source, folder, { compile: "CPU", verify: false }));
    assert.deepEqual(report.files.map(({ path }) => path.split(/[\\/]/).at(-1)), [
      "model.xml",
      "model.bin",
      "model.blob",
    ]);
    assert.ok(Deno.statSync(join(folder, "model.blob")).size > 100_000);
    const refused = await convert(source, folder, { compile: "NPU.7" });
    assert.ok(refused.error instanceof InputError);
    assert.match(refused.error.message, /device "NPU\.7".* It finds .*CPU/);
  });
});

Deno.test("NNCF compresses where it is asked to, and only what it can", async () => {
  await withFolder(async (folder) => {
    const options = { precision: "4bit", symmetric: true, nncf: true };
    const report = reportOf(await convert(real("minilm"), folder, options));
    assert.equal(report.constants[0]!.element, "i4");
    assert.ok(report.verification?.passed);
    for (const wrong of [{ precision: "3bit" }, { precision: "4bit", blockSize: "channel" }]) {
      const refused = await convert(real("minilm"), folder, { ...options, ...wrong });
      assert.ok(refused.error instanceof InputError);
      assert.match(refused.error.message, /--method nncf/);
    }
  });
});

const FEEDS: readonly Feed[] = [{ name: "x", dtype: "float32", dims: [2, 3, 3], values: [] }];

async function written(folder: string, model: Model): Promise<string> {
  const path = join(folder, "source.onnx");
  await writeModel(model, path);
  return path;
}

Deno.test("operators that OpenVINO lacks are all named, with their nodes", async () => {
  await withFolder(async (folder) => {
    const named = (node: Node, name: string): Node => Object.assign(node, { name });
    const nodes = [
      named(makeNode("Det", "", ["x"], ["d"]), "the_det"),
      named(makeNode("Missing", "com.example", ["d"], ["y"]), "the_other"),
    ];
    const model = simpleModel(nodes, [], FEEDS, 1);
    model.opsets.set("com.example", 1);
    const { error, files } = await convert(await written(folder, model), folder, { verify: false });
    assert.ok(error instanceof InputError);
    assert.match(error.message, /Det.*"the_det".*com\.example\.Missing.*"the_other"/s);
    assert.deepEqual(files, []);
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["source.onnx"]);
  });
});

Deno.test("a model that OpenVINO can't convert is refused by node and reason", async () => {
  await withFolder(async (folder) => {
    const { error } = await convert(real("silero"), folder);
    assert.ok(error instanceof InputError);
    assert.match(error.message, /"[^"]*silero[^"]*".*Conv.*node ".*rank/s);
    assert.deepEqual([...Deno.readDirSync(folder)], []);
  });
});

Deno.test("functions that call themselves and a thousand axes are bad input, no bug", async () => {
  await withFolder(async (folder) => {
    const recursive = simpleModel([makeNode("F", "own", ["x"], ["y"])], [], FEEDS, 1);
    recursive.opsets.set("own", 1);
    recursive.functions.push({
      name: "F",
      domain: "own",
      overload: "",
      opsets: new Map([["own", 1]]),
      inputs: ["a"],
      outputs: ["b"],
      attributes: [],
      nodes: [makeNode("F", "own", ["a"], ["b"])],
      valueInfo: [],
      carried: NOTHING_CARRIED,
    });
    const endless = await convert(await written(folder, recursive), folder);
    assert.ok(endless.error instanceof InputError, String(endless.error));
    assert.match(endless.error.message, /source\.onnx" to OpenVINO: its functions can't be put/);
    const dims = Array<number>(1000).fill(1);
    const wide = simpleModel([makeNode("Relu", "", ["x"], ["y"])], [], [
      { name: "x", dtype: "float32", dims, values: [1] },
    ], 1000);
    const { error } = await convert(await written(folder, wide), folder, { verify: true });
    assert.ok(error instanceof InputError, String(error));
    assert.match(error.message, /1000 axes of x are too many/);
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["source.onnx"]);
  });
});

Deno.test("what computes otherwise in OpenVINO is kept aside, and the old IR stays", async () => {
  await withFolder(async (folder) => {
    Deno.writeTextFileSync(join(folder, "model.xml"), "old");
    Deno.writeTextFileSync(join(folder, "model.bin"), "old");
    // The CPU plugin of OpenVINO computes int64 in int32.
    const nodes = [
      makeNode("Cast", "", ["x"], ["i"], [int("to", 7)]),
      makeNode("Mul", "", ["i", "far"], ["y"]),
    ];
    const model = simpleModel(nodes, [integers("far", [2 ** 33])], FEEDS, 3, 17, "int64");
    const { error, files, steps } = await convert(await written(folder, model), folder);
    assert.ok(error instanceof VerificationError);
    assert.equal(error.exitCode, 3);
    assert.match(error.message, /output "y" differs in \d+ of \d+ elements/);
    const aside = ["model.xml.unverified", "model.bin.unverified"].map((name) =>
      join(folder, name)
    );
    assert.deepEqual(files, aside);
    for (const name of ["model.xml", "model.bin"]) {
      assert.equal(Deno.readTextFileSync(join(folder, name)), "old");
    }
    assert.ok(Deno.readTextFileSync(aside[0]!).startsWith("<?xml"));
    const report = steps.at(-1)!;
    assert.ok(report.kind === "openvino" && report.verification?.passed === false);
  });
});

Deno.test("missing and broken models are refused before Python starts", async () => {
  await withFolder(async (folder) => {
    const whole = Deno.readFileSync(real("classifier"));
    const broken = join(folder, "broken.onnx");
    Deno.writeFileSync(broken, whole.subarray(0, whole.length / 2));
    for (const source of [broken, join(folder, "none.onnx")]) {
      const { error } = await convert(source, folder);
      assert.ok(error instanceof InputError, String(error));
    }
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["broken.onnx"]);
  });
});
