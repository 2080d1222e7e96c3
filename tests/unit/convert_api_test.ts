/** `convert` as a program calls it, with what it should not be called with. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { convert, type ConvertOptions, InputError } from "../../mod.ts";
import { run } from "../../src/process.ts";
import { withFolder } from "./onnx_models.ts";

Deno.test("options of the wrong kind are an error in the result, not a thrown one", async () => {
  const paths = { modelPath: "a.onnx", outputPath: "b.onnx" };
  for (
    const [options, pattern] of [
      [undefined, /"modelPath"/],
      [{ ...paths, modelPath: 5 }, /"modelPath"/],
      [{ ...paths, prcision: "4bit" }, /"prcision"/],
      [{ ...paths, precision: "5bit" }, /"precision"/],
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
