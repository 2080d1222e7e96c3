/**
 * Writing: positions are known to the byte beforehand, pending tensors are filled in any order,
 * targets are replaced whole or not at all, and nothing is left behind.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { InputError, InterruptedError } from "../../src/error.ts";
import { makeTensor, type Model, type Tensor } from "../../src/ir.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { tensorBytes } from "../../src/onnx/tensor.ts";
import {
  beginModel,
  type ModelWriter,
  planModel,
  publishModels,
  writeModel,
} from "../../src/onnx/writer.ts";
import {
  makeLink,
  memoryTensor,
  namesIn,
  sumModel,
  withFolder,
  writeBytes,
} from "./onnx_models.ts";

/** Where links need rights of their own. */
const WINDOWS = Deno.build.os === "windows";

const pending = (name: string, length: number): Tensor =>
  makeTensor(name, "uint8", [length], { kind: "pending", length });

const bytesOf = (seed: number, length: number) =>
  Uint8Array.from({ length }, (_, index) => (index * 31 + seed * 17 + (index >> 8)) & 255);

const equals = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

/** Expects an `InputError` and the folder with just `names` afterwards. */
async function refused(
  folder: string,
  names: string[],
  act: () => Promise<unknown>,
  pattern: RegExp,
): Promise<void> {
  await assert.rejects(act, (error: Error) => {
    assert.ok(error instanceof InputError, `${error.stack}`);
    assert.match(error.message, pattern);
    return true;
  });
  assert.deepEqual(namesIn(folder), names.sort());
}

Deno.test("pending tensors are filled in any order, inside and outside the file", async () => {
  const lengths = fc.array(fc.integer({ min: 0, max: 70_000 }), { minLength: 1, maxLength: 6 });
  await withFolder(async (folder) => {
    await fc.assert(
      fc.asyncProperty(lengths, fc.boolean(), fc.integer({ min: 997, max: 70_000 }), async (
        sizes,
        outside,
        piece,
      ) => {
        const target = join(folder, "out.onnx");
        const tensors = sizes.flatMap((length, index) => [
          pending(`p${index}`, length),
          memoryTensor(`m${index}`, Array(length % 50).fill(index)),
        ]);
        const layout = planModel(sumModel(tensors), target, {
          externalData: outside ? "always" : "auto",
          externalThreshold: 100,
        });
        const writer = await beginModel(layout);
        const pieces: [Tensor, number, Uint8Array][] = [];
        sizes.forEach((length, index) => {
          const bytes = bytesOf(index, length);
          for (let at = 0; at < length; at += piece) {
            pieces.push([tensors[2 * index]!, at, bytes.subarray(at, at + piece)]);
          }
        });
        pieces.sort((a, b) => (a[2].length * 7 + a[1]) % 13 - (b[2].length * 7 + b[1]) % 13);
        await Promise.all(pieces.map(([tensor, at, bytes]) => writer.write(tensor, at, bytes)));
        await writer.commit();
        const files = layout.files.map((file) => Deno.statSync(file.path).size);
        assert.deepEqual(files, layout.files.map((file) => file.byteLength));
        assert.equal(layout.totalBytes, files.reduce((sum, size) => sum + size, 0));
        const model = await readModel(target);
        for (const [index, length] of sizes.entries()) {
          const written = await tensorBytes(model.graph.initializers[2 * index]!);
          assert.ok(equals(written, bytesOf(index, length)));
          if (length === 0) continue;
          const place = layout.placeOf(tensors[2 * index]!);
          const file = Deno.readFileSync(place.path);
          assert.ok(equals(file.subarray(place.offset, place.offset + length), written));
        }
        for (const { path } of layout.files) Deno.removeSync(path);
        assert.deepEqual(namesIn(folder), []);
      }),
      { numRuns: 40 },
    );
  });
});

Deno.test("a tensor that occurs twice is written to both places, or shared outside", async () => {
  await withFolder(async (folder) => {
    for (const externalData of ["never", "always"] as const) {
      const target = join(folder, `${externalData}.onnx`);
      const shared = pending("", 5000);
      const constant = (name: string) => ({
        name,
        opType: "Constant",
        domain: "",
        inputs: [],
        outputs: [name],
        attributes: [{
          name: "value",
          value: { type: "tensor" as const, value: shared },
          carried: new Uint8Array(0),
        }],
        carried: new Uint8Array(0),
      });
      const model = sumModel([], [constant("a"), constant("b")]);
      if (externalData === "always") shared.external = true;
      const writer = await beginModel(planModel(model, target, { externalData }));
      await writer.write(shared, 0, bytesOf(1, 5000));
      await writer.commit();
      const places = [];
      for (const node of (await readModel(target)).graph.nodes) {
        const value = node.attributes[0]?.value;
        if (value?.type !== "tensor") continue;
        assert.deepEqual(await tensorBytes(value.value), bytesOf(1, 5000));
        places.push(value.value.data.kind === "file" ? value.value.data.offset : -1);
      }
      assert.equal(places.length, 2);
      assert.equal(places[0] === places[1], externalData === "always");
    }
  });
});

Deno.test("commit refuses while something is pending, and abort leaves nothing", async () => {
  await withFolder(async (folder) => {
    const target = writeBytes(folder, "out.onnx", new Uint8Array([1, 2, 3]));
    const tensor = pending("p", 100);
    const writer = await beginModel(planModel(sumModel([tensor]), target));
    assert.equal(namesIn(folder).length, 2);
    await writer.write(tensor, 0, new Uint8Array(99));
    await assert.rejects(writer.write(tensor, 99, new Uint8Array(2)), RangeError);
    await assert.rejects(writer.write(memoryTensor("other", [1]), 0, new Uint8Array(1)), TypeError);
    await assert.rejects(writer.commit(), /99 of 100 bytes/);
    writer.abort();
    writer.abort();
    await assert.rejects(writer.write(tensor, 0, new Uint8Array(1)));
    assert.deepEqual(namesIn(folder), ["out.onnx"]);
    assert.deepEqual(Deno.readFileSync(target), new Uint8Array([1, 2, 3]));
  });
});

Deno.test("abort works while writes and the copying of tensors are under way", async () => {
  await withFolder(async (folder) => {
    const source = join(folder, "source.onnx");
    await writeModel(sumModel([memoryTensor("w", Array(3_000_000).fill(1))]), source);
    const model = await readModel(source);
    for (const externalData of ["never", "always"] as const) {
      const target = join(folder, "out.onnx");
      const writer = await beginModel(planModel(model, target, { externalData }));
      const commit = writer.commit();
      await new Promise((resolve) => setTimeout(resolve, 1));
      writer.abort();
      await assert.rejects(commit, InterruptedError);
      assert.deepEqual(namesIn(folder), ["source.onnx"]);
    }
  });
});

Deno.test("a target that can't be replaced is refused before anything is created", {
  ignore: WINDOWS,
}, async () => {
  await withFolder(async (folder) => {
    const source = join(folder, "source.onnx");
    const tensor = memoryTensor("w", Array(1000).fill(1));
    await writeModel(sumModel([tensor]), source, { externalData: "always" });
    await makeLink(source, join(folder, "link.onnx"));
    Deno.linkSync(source, join(folder, "hard.onnx"));
    Deno.linkSync(join(folder, "source.onnx.data"), join(folder, "other.onnx.data"));
    Deno.mkdirSync(join(folder, "dir"));
    Deno.mkdirSync(join(folder, "taken.onnx.data"));
    const names = namesIn(folder);
    const model = await readModel(source);
    const write = (target: string) => () => writeModel(model, join(folder, target));
    const isSource = /which the model is read from/;
    await refused(folder, names, write("source.onnx"), isSource);
    await refused(folder, names, write("dir/../source.onnx"), isSource);
    await refused(folder, names, write("link.onnx"), isSource);
    await refused(folder, names, write("hard.onnx"), isSource);
    await refused(folder, names, write("source.onnx.data"), isSource);
    await refused(folder, names, write("other.onnx"), isSource);
    await refused(folder, names, write("dir"), /is a directory/);
    await refused(folder, names, write("dir/"), /is a directory/);
    await refused(folder, names, write("taken.onnx"), /is a directory/);
    await refused(folder, names, write("absent/out.onnx"), /no folder/);
    await refused(folder, names, write("source.onnx/out.onnx"), /not a folder|Not a directory/);
  });
});

Deno.test("a link as the target is replaced, not followed", { ignore: WINDOWS }, async () => {
  await withFolder(async (folder) => {
    const kept = writeBytes(folder, "kept", new Uint8Array([7]));
    const target = join(folder, "out.onnx");
    await makeLink(kept, target);
    await writeModel(sumModel([memoryTensor("w", [1])]), target);
    assert.ok(Deno.lstatSync(target).isFile);
    assert.deepEqual(Deno.readFileSync(kept), new Uint8Array([7]));
  });
});

/** Makes `renameSync` fail for one target while `act` runs. */
async function withFailingRename(target: string, act: () => Promise<void>): Promise<void> {
  const real = Deno.renameSync;
  Deno.renameSync = (from, to) => {
    if (to === target && `${from}`.endsWith(".partial")) {
      throw Object.assign(new Error("made to fail"), { code: "EIO" });
    }
    real(from, to);
  };
  try {
    await act();
  } finally {
    Deno.renameSync = real;
  }
}

Deno.test("when the model can't follow its data file, the old pair stays", async () => {
  await withFolder(async (folder) => {
    const target = join(folder, "out.onnx");
    const model = (value: number) => sumModel([memoryTensor("w", Array(1000).fill(value))]);
    await withFailingRename(target, async () => {
      await refused(
        folder,
        [],
        () => writeModel(model(1), target, { externalData: "always" }),
        /made to fail/,
      );
    });
    await writeModel(model(2), target, { externalData: "always" });
    const names = ["out.onnx", "out.onnx.data"];
    await withFailingRename(target, async () => {
      await refused(
        folder,
        names,
        () => writeModel(model(3), target, { externalData: "always" }),
        /made to fail/,
      );
    });
    const value = async () =>
      new Float32Array(
        (await tensorBytes((await readModel(target)).graph.initializers[0]!)).buffer,
      )[0];
    assert.equal(await value(), 2);
    await writeModel(model(3), target, { externalData: "always" });
    assert.equal(await value(), 3);
    assert.deepEqual(namesIn(folder), names);
  });
});

Deno.test("several models replace their targets together, or none does", async () => {
  await withFolder(async (folder) => {
    const targets = ["a.onnx", "new.onnx", "c.onnx"].map((name) => join(folder, name));
    const model = (value: number) => sumModel([memoryTensor("w", Array(1000).fill(value))]);
    const publish = async (value: number, externalData: "always" | "never") => {
      const writers: ModelWriter[] = [];
      for (const target of targets) {
        const writer = await beginModel(planModel(model(value), target, { externalData }));
        writers.push(writer);
        await writer.complete();
      }
      publishModels(writers);
    };
    const contents = () =>
      namesIn(folder).map((name) => [name, Deno.readFileSync(join(folder, name))]);
    await writeModel(model(1), targets[0]!, { externalData: "always" });
    await writeModel(model(1), targets[2]!);
    const before = contents();
    const realLink = Deno.linkSync;
    for (const links of [true, false]) {
      if (!links) {
        Deno.linkSync = () => {
          throw Object.assign(new Error("no links here"), { code: "EPERM" });
        };
      }
      try {
        for (const externalData of ["always", "never"] as const) {
          await withFailingRename(targets[2]!, async () => {
            await assert.rejects(() => publish(2, externalData), /c\.onnx.*made to fail/);
          });
          assert.deepEqual(contents(), before);
        }
      } finally {
        Deno.linkSync = realLink;
      }
    }
    await publish(3, "always");
    assert.deepEqual(namesIn(folder), [
      "a.onnx",
      "a.onnx.data",
      "c.onnx",
      "c.onnx.data",
      "new.onnx",
      "new.onnx.data",
    ]);
  });
});

Deno.test("what was set aside when a process was killed comes back unless its target is there", async () => {
  await withFolder(async (folder) => {
    const target = join(folder, "out.onnx");
    writeBytes(folder, "out.onnx.0123456789abcdef.old", new Uint8Array(5));
    const writer = await beginModel(planModel(sumModel([memoryTensor("w", [1])]), target));
    writer.abort();
    assert.deepEqual(namesIn(folder), ["out.onnx"]);
    writeBytes(folder, "out.onnx.0123456789abcdef.old", new Uint8Array(6));
    (await beginModel(planModel(sumModel([memoryTensor("w", [1])]), target))).abort();
    assert.deepEqual(namesIn(folder), ["out.onnx"]);
    assert.equal(Deno.readFileSync(target).length, 5);
  });
});

Deno.test("a full disk is named with the bytes it takes, and leaves nothing", async () => {
  await withFolder(async (folder) => {
    const real = Deno.FsFile.prototype.write;
    let left = 1;
    Deno.FsFile.prototype.write = function (bytes) {
      if (left-- > 0) return real.call(this, bytes.subarray(0, 1000));
      const error = new Error("No space left on device (os error 28)");
      return Promise.reject(Object.assign(error, { code: "ENOSPC" }));
    };
    try {
      const target = join(folder, "out.onnx");
      const model = sumModel([memoryTensor("w", Array(10_000).fill(1))]);
      const { byteLength } = planModel(model, target).files[0]!;
      const pattern = new RegExp(`out\\.onnx.*no space left; it takes ${byteLength} bytes`);
      await refused(folder, [], () => writeModel(model, target), pattern);
    } finally {
      Deno.FsFile.prototype.write = real;
    }
  });
});

Deno.test("what a killed process left goes when its target is written again", async () => {
  await withFolder(async (folder) => {
    const target = join(folder, "out.onnx");
    writeBytes(folder, "out.onnx.0123456789abcdef.partial", new Uint8Array(5));
    writeBytes(folder, "out.onnx.notours.partial", new Uint8Array(5));
    const tensor = pending("p", 1);
    const running = await beginModel(planModel(sumModel([tensor]), target));
    await writeModel(sumModel([memoryTensor("w", [1])]), target);
    // The file of the writer that still runs is locked and stays.
    assert.equal(namesIn(folder).length, 3);
    await running.write(tensor, 0, new Uint8Array(1));
    await running.commit();
    assert.deepEqual(namesIn(folder), ["out.onnx", "out.onnx.notours.partial"]);
  });
});

Deno.test("tensors that are not what they say are a bug of their maker", () => {
  const wrong: Tensor[] = [
    makeTensor("w", "float32", [3], { kind: "memory", bytes: new Uint8Array(8) }),
    makeTensor("w", "uint4", [3], { kind: "pending", length: 3 }),
    makeTensor("w", "string", [1], { kind: "memory", bytes: new Uint8Array(1) }),
  ];
  for (const tensor of wrong) assert.throws(() => planModel(sumModel([tensor]), "x"), TypeError);
});

Deno.test("past 2 GiB data goes outside by itself, or is refused", () => {
  const gigabyte = 2 ** 30;
  const big = (count: number): Model =>
    sumModel(Array.from({ length: count }, (_, index) => pending(`p${index}`, gigabyte)));
  const small = planModel(big(1), "m.onnx");
  assert.deepEqual(small.files.map(({ path }) => path), ["m.onnx"]);
  const large = planModel(big(3), "m.onnx");
  assert.deepEqual(large.files.map(({ path }) => path), ["m.onnx", "m.onnx.data"]);
  assert.equal(large.files[1]?.byteLength, 3 * gigabyte);
  assert.throws(
    () => planModel(big(3), "m.onnx", { externalData: "never" }),
    (error) =>
      error instanceof InputError && /m\.onnx.*2 GiB.*Allow external data/.test(error.message),
  );
});
