/** `convert` as a program calls it, with what it should not be called with. */
import assert from "node:assert/strict";
import { join } from "node:path";
import {
  convert,
  type ConvertOptions,
  formatVerification,
  InputError,
  ModelConverter,
  ModelConverterRegistry,
  type ModelFormat,
  registerConverter,
  type StepOutcome,
  verifyModels,
} from "../../mod.ts";
import { DEFAULTS } from "../../src/converters/options.ts";
import { run } from "../../src/process.ts";
import { withFolder } from "./onnx_models.ts";

Deno.test("options of the wrong kind are an error in the result, not a thrown one", async () => {
  const paths = { modelPath: "a.onnx", outputPath: "b.onnx" };
  for (
    const [options, pattern] of [
      [undefined, /"modelPath"/],
      [{ ...paths, modelPath: 5 }, /"modelPath"/],
      [{ ...paths, prcision: "4bit" }, /"prcision"/],
      [{ ...paths, precision: "5bit" }, /"precision" .*: expected one of .*"4bit"/],
      [{ ...paths, precision: ["4bit", 5] }, /"precision" can't be used: 1: expected one of/],
      [
        { ...paths, blockSize: "32" },
        /"blockSize" .*: expected one of 16\|32.*"channel"\|"tensor"/,
      ],
      [{ ...paths, workers: 257 }, /"workers" can't be used: Too big: expected number to be <=256/],
      [{ ...paths, dims: { batch: "1" } }, /"dims\.batch" .*: expected number, received string/],
      [5, /"modelPath" can't be used: expected string, received undefined/],
      [null, /"modelPath"/],
      ["a.onnx", /"modelPath"/],
      [{ ...paths, runtimes: new Uint8Array(3) }, /"runtimes" can't be used/],
      [{ ...paths, precision: new Uint8Array(3) }, /"precision" can't be used/],
      [{ ...paths, outputPath: Object.create(null) }, /"outputPath" can't be used/],
      [{ ...paths, signal: {} }, /"signal" can't be used: it is not an AbortSignal/],
      [{ ...paths, signal: null }, /"signal"/],
      [{ ...paths, events: { warn: 5 } }, /"events\.warn" can't be used: it is not a function/],
    ] as const
  ) {
    // @ts-expect-error: what a program without types may pass
    const { success, error, files, steps } = await convert(options);
    assert.equal(success, false);
    assert.ok(error instanceof InputError);
    assert.match(error.message, pattern);
    assert.deepEqual([files, steps], [[], []]);
  }
});

/** Values of every kind that no option takes all of. */
const ODD: readonly unknown[] = [
  ...[undefined, null, 0, NaN, -1, 1.5, 1n, true, "", "odd\0", Symbol("odd"), () => {}],
  ...[[], [null], {}, Object.create(null), new Map(), new Set(["x"]), new Date(NaN)],
  ...[new Uint8Array(3), Promise.resolve(), /x/, new Proxy({}, {}), class {}],
];

Deno.test("verifyModels says which option is wrong, and what is expected", async () => {
  const paths = { original: "absent.onnx", result: "absent.onnx" };
  const tensors = (value: unknown) => ({
    inputs: { kind: "tensors", tensors: new Map([["x", value]]), origin: "a test" },
  });
  const float = { dtype: "float32", dims: [1], data: new Float32Array(1) };
  for (
    const [options, pattern] of [
      [undefined, /the options can't be used: expected object, received undefined/],
      [{ original: "a.onnx" }, /"result" can't be used: expected string, received undefined/],
      [{ ...paths, original: 5 }, /"original" can't be used: expected string, received number/],
      [{ ...paths, result: "a\0b" }, /"result" can't be used: is not a path/],
      [{ ...paths, orignal: "x" }, /the options can't be used: Unrecognized key: "orignal"/],
      [{ ...paths, seed: "1" }, /"seed" can't be used: expected number, received string/],
      [{ ...paths, runs: -1 }, /"runs" can't be used: Too small/],
      [
        { ...paths, inputs: "data.npz" },
        /"inputs" can't be used: expected object, received string/,
      ],
      [{ ...paths, inputs: { kind: "npz" } }, /"inputs\.kind" .*: expected "file" or "tensors"/],
      [{ ...paths, inputs: { kind: "file" } }, /"inputs\.path" .*: expected string/],
      [{ ...paths, ...tensors([1]) }, /"inputs\.tensors\.x" .*: expected \{ dtype, dims, data \}/],
      [{ ...paths, ...tensors({ ...float, dims: [-1] }) }, /"inputs\.tensors\.x"/],
      [{ ...paths, ...tensors({ ...float, dtype: "constructor" }) }, /"inputs\.tensors\.x"/],
      [{ ...paths, ...tensors({ ...float, dtype: "int64" }) }, /"inputs\.tensors\.x"/],
      [{ ...paths, tolerance: 0.1 }, /"tolerance" can't be used: expected object/],
      [{ ...paths, signal: {} }, /"signal" can't be used: expected an AbortSignal/],
    ] as const
  ) {
    // @ts-expect-error: what a program without types may pass
    await assert.rejects(verifyModels(options), (error) => {
      assert.ok(error instanceof InputError, String(error));
      assert.match(error.message, /^Cannot verify: /);
      assert.match(error.message, pattern);
      return true;
    });
  }
  // What is of the right kind gets as far as the models.
  for (const options of [{}, { provider: undefined, tolerance: null, seed: 3 }, tensors(float)]) {
    // @ts-expect-error: undefined where an option is left out
    await assert.rejects(verifyModels({ ...paths, ...options }), /"absent\.onnx"/);
  }
});

Deno.test("no function of the API throws anything but its own errors", async () => {
  const converter = class extends ModelConverter {
    readonly sourceFormat: ModelFormat = "onnx";
    readonly targetFormat: ModelFormat = "onnx";
    readonly supportedModelTypes = "any";
    override executeConversion(): Promise<StepOutcome> {
      return Promise.reject(new InputError("Cannot go on."));
    }
  };
  const pair = { sourceFormat: "onnx", targetFormat: "onnx", modelType: null };
  const paths = { modelPath: "absent.onnx", outputPath: "absent/out.onnx" };
  const whole = { ...DEFAULTS, ...paths, modelType: null, precisions: ["4bit"] };
  const withOdd = (object: object, value: unknown) => [
    value,
    ...Object.keys(object).map((key) => ({ ...object, [key]: value })),
  ];
  const call = (f: (...given: never[]) => unknown, ...given: readonly unknown[]) =>
    Reflect.apply(f, ModelConverterRegistry, given);
  const verified = {
    ...{ original: "absent.onnx", result: "absent.onnx", inputs: { kind: "file", path: "x" } },
    ...{ samples: 1, runs: 1, seed: 1, extents: { fixed: {}, largest: {} }, provider: "cpu" },
    ...{ perOp: true, perOpThreshold: 1, tolerance: null, signal: new AbortController().signal },
  };
  for (const [which, odd] of ODD.entries()) {
    const calls: (() => unknown)[] = [
      ...withOdd(whole, odd).map((given) => async () => {
        const { error } = await call(
          (...args: Parameters<ModelConverter["convert"]>) => new converter().convert(...args),
          given,
        ) as { error: unknown };
        throw error;
      }),
      ...withOdd(verified, odd).map((given) => () => call(verifyModels, given)),
      ...withOdd({ passed: true, outputs: [] }, odd).map((given) => () =>
        call(formatVerification, given)
      ),
      ...withOdd(pair, odd).map((given) => () => call(ModelConverterRegistry.getConverter, given)),
      ...withOdd(pair, odd).map((given) => () =>
        call(ModelConverterRegistry.findPath, given, {
          precisions: ["4bit"],
          activations: "float32",
        })
      ),
      () => call(ModelConverterRegistry.findPath, pair, odd),
      () => call(ModelConverterRegistry.findPath, pair, { precisions: odd }),
      ...withOdd({ sourceFormat: "onnx", targetFormat: "onnx" }, odd).map((given) => () =>
        call(ModelConverterRegistry.register, given, odd)
      ),
      () => registerConverter(odd as never)(odd as never, odd as never),
    ];
    for (const [index, run] of calls.entries()) {
      try {
        await run();
      } catch (error) {
        const said = `call ${index} with value ${which}: ${error}`;
        assert.ok(error instanceof InputError, said);
        assert.match(error.message, /^Cannot /, said);
      }
    }
  }
});

Deno.test("a source that never ends is refused before Python is asked", {
  ignore: Deno.build.os === "windows",
}, async () => {
  await withFolder(async (folder) => {
    const hub = join(folder, "hub");
    Deno.mkdirSync(hub);
    Deno.writeTextFileSync(join(hub, "config.json"), "{}");
    const pipe = join(hub, "model.safetensors");
    const weights = join(folder, "weights.pt");
    Deno.writeTextFileSync(weights, "weights");
    const outputPath = join(folder, "out.onnx");
    const { success } = await run({
      program: "sh",
      args: ["-c", 'mkfifo "$1"', "sh", pipe],
      install: "",
    });
    assert.ok(success);
    for (
      const [options, named] of [
        [{ modelPath: pipe }, pipe],
        [{ modelPath: hub }, pipe],
        [{ modelPath: weights, config: pipe }, pipe],
        [{ modelPath: weights, config: hub }, hub],
        [{ modelPath: weights, config: join(folder, "absent") }, join(folder, "absent")],
      ] as const
    ) {
      const { error } = await convert({ ...options, outputPath });
      assert.ok(error instanceof InputError);
      assert.ok(error.message.startsWith(`Cannot read "${named}": `), error.message);
    }
  });
});

Deno.test("options that have no use beside the others are told, and those in use are not", async () => {
  await withFolder(async (folder) => {
    const told = async (options: Partial<ConvertOptions>) => {
      const warnings: string[] = [];
      await convert({
        modelPath: join(folder, "absent.onnx"),
        outputPath: join(folder, "out.onnx"),
        precision: "4bit",
        engine: "wasm",
        ...options,
        events: { warn: (text) => warnings.push(text) },
      });
      return warnings;
    };
    const asked = { ioFloat16: true, provider: "webgpu", seed: 2, workers: 1 } as const;
    assert.deepEqual(await told(asked), [
      "--io-f16 does nothing without --activations float16",
      "--provider does nothing without --verify",
      "--seed does nothing without --verify",
    ]);
    assert.deepEqual(await told({ dryRun: true, verify: true, sha256: true, seed: 2 }), [
      "--verify does nothing beside --dry-run: nothing is written",
      "--sha256 does nothing beside --dry-run: nothing is written",
      "--seed does nothing without --verify",
    ]);
    assert.deepEqual(await told({ ...asked, precision: "float16", verify: true }), [
      "--engine does nothing at float16",
      "--workers does nothing at float16",
    ]);
    assert.deepEqual(await told({ ...asked, activations: "float16", verify: true }), []);
  });
});
