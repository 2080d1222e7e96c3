/**
 * The frame that converters stand in: the registry and its path search, and what a chain does with
 * its steps' files. The converters here are small ones of the tests' own.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { convert, InputError, MissingToolError, VerificationError } from "../../mod.ts";
import {
  type ConversionStep,
  ModelConverter,
  type StepOutcome,
} from "../../src/converters/converter.ts";
import { ModelConverterRegistry } from "../../src/converters/mod.ts";
import { type ConverterOptions, DEFAULTS, type ModelFormat } from "../../src/converters/options.ts";
import { registerConverter } from "../../src/converters/registry.ts";
import { runConverters } from "../../src/converters/run.ts";
import { formatStep } from "../../src/report.ts";
import { FLOAT, request, Writer } from "./converter_models.ts";
import { namesIn, withFolder } from "./onnx_models.ts";

const FOUR: ConverterOptions = { ...DEFAULTS, precisions: ["4bit"] };

/** The path between two formats, as "pytorch onnx" and so on. */
function pathOf(source: ModelFormat, target: ModelFormat, options: ConverterOptions): string {
  const query = { sourceFormat: source, targetFormat: target, modelType: null };
  return ModelConverterRegistry.findPath(query, options)
    .map(({ sourceFormat, targetFormat }) => `${sourceFormat}>${targetFormat}`).join(" ");
}

Deno.test("the shortest chain reaches the format and the precision", () => {
  assert.equal(pathOf("onnx", "onnx", FLOAT), "onnx>onnx");
  assert.equal(pathOf("pytorch", "onnx", FLOAT), "pytorch>onnx");
  assert.equal(pathOf("pytorch", "onnx", FOUR), "pytorch>onnx onnx>onnx");
});

Deno.test("no way is an error that names the ways there are", () => {
  assert.throws(
    () => pathOf("onnx", "pytorch", FLOAT),
    (error: Error) => error instanceof InputError && /"onnx" to "pytorch"/.test(error.message),
  );
  assert.throws(
    () =>
      ModelConverterRegistry.getConverter({
        sourceFormat: "openvino",
        targetFormat: "pytorch",
        modelType: null,
      }),
    /there is no converter for it\. There are .*pytorch to onnx/,
  );
});

Deno.test("a converter that names a model type goes before one for any", () => {
  @registerConverter({ sourceFormat: "openvino", targetFormat: "onnx" })
  class Any extends Writer {}
  @registerConverter({ sourceFormat: "openvino", targetFormat: "onnx" })
  class Bert extends Writer {
    override supportedModelTypes = ["bert", "roberta"];
  }
  const of = (modelType: string | null) =>
    ModelConverterRegistry.getConverter({
      sourceFormat: "openvino",
      targetFormat: "onnx",
      modelType,
    });
  assert.equal(of("bert"), Bert);
  assert.equal(of("gpt2"), Any);
  assert.equal(of(null), Any);
});

Deno.test("each model of a step goes through the next; only the last one's files are published", async () => {
  await withFolder(async (folder) => {
    const first = new Writer();
    first.models = [{ suffix: ".encoder" }, { suffix: ".decoder" }];
    const second = new Writer();
    const result = await runConverters([first, second], request(folder));
    assert.equal(result.error, null);
    assert.deepEqual(second.steps.map(({ sourceName }) => sourceName), [
      join(folder, "out.encoder.onnx"),
      join(folder, "out.decoder.onnx"),
    ]);
    const names = ["decoder", "encoder"].flatMap((part) => [
      `out.${part}.onnx`,
      `out.${part}.onnx.data`,
    ]);
    assert.deepEqual(namesIn(folder), [...names, "source.onnx"]);
    assert.deepEqual([...result.files].sort(), names.map((name) => join(folder, name)));
    assert.equal(Deno.readTextFileSync(join(folder, names[0]!)), "source+.decoder+");
    assert.equal(result.steps.length, 3);
  });
});

Deno.test("a chain with Python in it checks each step, unless that is declined", async () => {
  await withFolder(async (folder) => {
    for (
      const [targetFormat, asked, given] of [
        ["onnx", null, null],
        ["openvino", null, true],
        ["openvino", false, false],
        ["onnx", true, true],
      ] as const
    ) {
      const steps = [new Writer(), new Writer()];
      steps[1]!.targetFormat = targetFormat;
      const outputPath = join(folder, targetFormat === "onnx" ? "out.onnx" : "out.xml");
      const { error } = await runConverters(steps, request(folder, { outputPath, verify: asked }));
      assert.equal(error, null);
      assert.deepEqual(steps.map((step) => step.steps[0]!.verify), [given, given]);
    }
  });
});

Deno.test("what failed its verification is kept aside, and the target stays", async () => {
  await withFolder(async (folder) => {
    const converter = new Writer();
    converter.models = [{ suffix: ".8bit" }, { suffix: ".4bit", fails: true }];
    const asked = request(folder, { precisions: ["8bit", "4bit"] });
    Deno.writeTextFileSync(join(folder, "out.4bit.onnx"), "before");
    const result = await converter.convert(asked);
    assert.ok(result.error instanceof VerificationError);
    assert.match(
      result.error.message,
      /out\.4bit\.onnx": it is off\..*\.unverified", its data under that ending too\. Look at it/,
    );
    assert.equal(Deno.readTextFileSync(join(folder, "out.4bit.onnx")), "before");
    assert.deepEqual(namesIn(folder), [
      "out.4bit.onnx",
      "out.4bit.onnx.data.unverified",
      "out.4bit.onnx.unverified",
      "out.8bit.onnx",
      "out.8bit.onnx.data",
      "source.onnx",
    ]);
  });
});

Deno.test("where a part of a model fails, the other part does not replace its target", async () => {
  await withFolder(async (folder) => {
    const converter = new Writer();
    converter.models = [{ suffix: ".encoder" }, { suffix: ".decoder", fails: true }];
    const result = await converter.convert(request(folder));
    assert.ok(result.error instanceof VerificationError);
    assert.deepEqual(namesIn(folder), [
      "out.decoder.onnx.data.unverified",
      "out.decoder.onnx.unverified",
      "source.onnx",
    ]);
  });
});

Deno.test("a failure on the way ends the chain, and keeps what failed", async () => {
  await withFolder(async (folder) => {
    const first = new Writer();
    first.models = [{ suffix: ".encoder", fails: true }, { suffix: ".decoder" }];
    const second = new Writer();
    const result = await runConverters([first, second], request(folder));
    assert.ok(result.error instanceof VerificationError);
    assert.equal(second.steps.length, 0);
    assert.deepEqual(namesIn(folder), [
      "out.encoder.onnx.data.unverified",
      "out.encoder.onnx.unverified",
      "source.onnx",
    ]);
  });
});

Deno.test("a bug or an error on the way leaves nothing behind", async () => {
  await withFolder(async (folder) => {
    const broken = new Writer();
    broken.executeConversion = (step) => {
      Deno.writeTextFileSync(join(step.folder, "half"), "");
      return Promise.reject(new Error("a bug"));
    };
    await assert.rejects(runConverters([new Writer(), broken], request(folder)), /a bug/);
    assert.deepEqual(namesIn(folder), ["source.onnx"]);
    broken.executeConversion = () => Promise.reject(new InputError("Cannot"));
    const result = await runConverters([broken], request(folder));
    assert.equal(result.error?.exitCode, 2);
    assert.deepEqual(namesIn(folder), ["source.onnx"]);
  });
});

/** A converter to OpenVINO that writes an IR's two files. */
function irWriter(): Writer {
  const writer = new Writer();
  writer.targetFormat = "openvino";
  writer.executeConversion = (step) => {
    writer.steps.push(step);
    const files = ["out.xml", "out.bin"];
    for (const name of files) Deno.writeTextFileSync(join(step.folder, name), "made");
    return Promise.resolve({
      models: [{ suffix: "", files, failures: [] }],
      report: { kind: "onnx", outputPath: step.outputPath, conversions: [] },
    });
  };
  return writer;
}

Deno.test("no file that goes beside the output replaces what is read, or a stranger", async () => {
  await withFolder(async (folder) => {
    const outputPath = join(folder, "out.xml");
    const weights = join(folder, "out.bin");
    Deno.mkdirSync(join(folder, "hub"));
    Deno.writeTextFileSync(join(folder, "hub", "out.bin"), "weights");
    Deno.writeTextFileSync(weights, "weights");
    for (
      const [options, pattern] of [
        [{ outputPath, modelPath: weights }, /out\.bin": it is ".*out\.bin", which the model/],
        [{ outputPath, config: weights }, /out\.bin": it is ".*out\.bin", which the model/],
        [{ outputPath }, /out\.xml": ".*out\.bin", which goes with it, is there without it/],
        [
          { outputPath: join(folder, "hub", "out.xml"), modelPath: join(folder, "hub") },
          /out\.bin": it is ".*out\.bin", which the model/,
        ],
        [{ outputPath: join(folder, ".xml") }, /ends in \.xml/],
        [{ outputPath: join(folder, "out.4bit") }, /ends in \.xml\. Name it ".*out\.xml"/],
      ] as const
    ) {
      const writer = irWriter();
      writer.sourceFormat = "pytorch";
      const result = await runConverters([writer], request(folder, options));
      assert.ok(result.error instanceof InputError);
      assert.match(result.error.message, pattern);
      assert.equal(writer.steps.length, 0);
      assert.equal(Deno.readTextFileSync(weights), "weights");
    }
    assert.deepEqual(namesIn(folder), ["hub", "out.bin", "source.onnx"]);
    // An older result is replaced.
    Deno.writeTextFileSync(outputPath, "graph");
    const { error } = await runConverters([irWriter()], request(folder, { outputPath }));
    assert.equal(error, null);
    assert.equal(Deno.readTextFileSync(weights), "made");
  });
});

Deno.test("names that a converter gives replace nothing but the output's own files", async () => {
  await withFolder(async (folder) => {
    Deno.mkdirSync(join(folder, "in"));
    Deno.writeTextFileSync(join(folder, "package.json"), "{}");
    for (const name of ["package.json", "../package.json", "outer.onnx", "source.onnx", "..", ""]) {
      const writer = new Writer();
      writer.executeConversion = (step) => {
        if (/^[a-z.]+$/.test(name) && name !== "..") {
          Deno.writeTextFileSync(join(step.folder, name), "taken over");
        }
        return Promise.resolve({
          models: [{ suffix: "", files: [name], failures: [] }],
          report: { kind: "onnx", outputPath: step.outputPath, conversions: [] },
        });
      };
      const { error } = await runConverters([writer], request(folder));
      assert.ok(error instanceof InputError, name);
      assert.match(error.message, /it is not one of the files of ".*out\.onnx"/);
      assert.deepEqual(namesIn(folder), ["in", "package.json", "source.onnx"]);
      assert.equal(Deno.readTextFileSync(join(folder, "package.json")), "{}");
    }
  });
});

Deno.test("errors name the files as they will be, not where they lie on the way", async () => {
  await withFolder(async (folder) => {
    const writer = new Writer();
    writer.executeConversion = (step) => {
      const name = join(step.folder, "out.onnx");
      return Promise.reject(new InputError(`Cannot write "${name}": full. See "${name}".`));
    };
    const { error } = await runConverters([writer], request(folder));
    const name = join(folder, "out.onnx");
    assert.equal(error?.message, `Cannot write "${name}": full. See "${name}".`);
  });
});

Deno.test("errors of a later step name what the conversion began with", async () => {
  await withFolder(async (folder) => {
    const [first, second] = [new Writer(), new Writer()];
    second.executeConversion = (step) =>
      Promise.reject(new InputError(`Cannot compile "${step.sourceName}": an op is unknown.`));
    const asked = request(folder);
    const { error } = await runConverters([first, second], asked);
    assert.equal(
      error?.message,
      `Cannot compile "${join(folder, "out.onnx")}": an op is unknown. ` +
        `It was on the way from "${asked.modelPath}".`,
    );
    first.executeConversion = () =>
      Promise.reject(new InputError(`Cannot read "${asked.modelPath}": it is empty.`));
    const direct = await runConverters([first, second], asked);
    assert.equal(direct.error?.message, `Cannot read "${asked.modelPath}": it is empty.`);
    // What the machine lacks shows before any step.
    second.prepare = () => Promise.reject(new MissingToolError("Cannot run: there is no adapter."));
    const lacking = await runConverters([first, second], asked);
    assert.equal(lacking.error?.message, "Cannot run: there is no adapter.");
    const usage = await runConverters([first, second], { ...asked, perOp: true });
    assert.match(usage.error!.message, /^Cannot use --per-op .* Leave it out\.$/);
  });
});

Deno.test("a converter of one's own has one method to write", async () => {
  await withFolder(async (folder) => {
    @registerConverter({ sourceFormat: "openvino", targetFormat: "onnx" })
    class Own extends ModelConverter {
      readonly sourceFormat = "openvino";
      readonly targetFormat = "onnx";
      readonly supportedModelTypes = ["own"];

      override executeConversion(step: ConversionStep): Promise<StepOutcome> {
        Deno.writeTextFileSync(join(step.folder, "out.onnx"), "own");
        return Promise.resolve({ models: [{ suffix: "", files: ["out.onnx"], failures: [] }] });
      }
    }
    const modelPath = join(folder, "model.xml");
    Deno.writeTextFileSync(modelPath, "graph");
    const outputPath = join(folder, "out.onnx");
    const result = await convert({ modelPath, outputPath, modelType: "own" });
    assert.deepEqual(result, {
      success: true,
      outputPath,
      error: null,
      files: [outputPath],
      steps: [{
        kind: "plain",
        outputPath,
        sourceFormat: "openvino",
        targetFormat: "onnx",
        files: [{ path: outputPath, byteLength: 3, sha256: null }],
      }],
    });
    assert.deepEqual(formatStep(result.steps[0]!, result.files), [
      `wrote   ${outputPath} (3 bytes)`,
    ]);
    assert.equal(
      ModelConverterRegistry.getConverter({
        sourceFormat: "openvino",
        targetFormat: "onnx",
        modelType: "own",
      }),
      Own,
    );
  });
});

Deno.test("options that belong elsewhere are refused; those that do nothing are told", async () => {
  await withFolder(async (folder) => {
    for (
      const [options, pattern] of [
        [{ opset: 18 }, /--opset here: it belongs to a PyTorch source/],
        [{ trustPickle: true }, /--trust-pickle/],
        [{ compile: "CPU" }, /--compile here: it belongs to --target-format openvino/],
        [{ timeout: 5 }, /--timeout/],
        [{ perOp: true }, /--per-op here: it belongs to --verify/],
        [{ maxError: 0.1 }, /--max-error here: it belongs to --verify/],
        [{ modelType: "bert" }, /--model-type/],
        [{ precisions: [] }, /no precision is given/],
      ] as const
    ) {
      const result = await new Writer().convert(request(folder, options));
      assert.ok(result.error instanceof InputError);
      assert.match(result.error.message, pattern);
    }
    const warnings: string[] = [];
    const result = await new Writer().convert(request(folder, { blockSize: 64 }), {
      warn: (text) => warnings.push(text),
    });
    assert.equal(result.error, null);
    assert.deepEqual(warnings, ["--block-size does nothing at float32"]);
  });
});
