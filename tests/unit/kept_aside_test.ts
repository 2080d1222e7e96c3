/** What earlier conversions kept aside, and when it goes. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { ConverterRequest } from "../../src/converters/converter.ts";
import { runConverters } from "../../src/converters/run.ts";
import { request, Writer } from "./converter_models.ts";
import { makeLink, message, modelFile, namesIn, tensorMessage, withFolder } from "./onnx_models.ts";

/** Writes an ONNX model with a tensor of 4 bytes in each of the files `locations`. */
function writeWithData(path: string, locations: readonly string[]): void {
  const graph = message((out) => {
    out.string(2, "g");
    for (const location of locations) {
      out.bytes(
        5,
        tensorMessage(location, [1], (tensor) =>
          tensor
            .bytes(13, message((pair) => pair.string(1, "location").string(2, location)))
            .int(14, 1)),
      );
    }
  });
  Deno.writeFileSync(path, modelFile(graph));
}

Deno.test("what was kept aside goes when its target is written again", async () => {
  await withFolder(async (folder) => {
    const converter = new Writer();
    const two = { precisions: ["8bit", "4bit"] } as const;
    const fails = (...precisions: string[]) => {
      converter.models = [{ suffix: ".8bit" }, { suffix: ".4bit" }]
        .map(({ suffix }) => ({ suffix, fails: precisions.includes(suffix) }));
    };
    const notes: string[] = [];
    const convertTwo = () =>
      converter.convert(request(folder, two), { note: (text) => void notes.push(text) });
    fails(".8bit", ".4bit");
    await convertTwo();
    const aside = (precision: string) => [
      `out.${precision}.onnx.data.unverified`,
      `out.${precision}.onnx.unverified`,
    ];
    assert.deepEqual(namesIn(folder), [...aside("4bit"), ...aside("8bit"), "source.onnx"]);
    assert.deepEqual(notes, []);
    // One that fails again takes the place of itself.
    fails(".4bit");
    await convertTwo();
    const good = (precision: string) => [`out.${precision}.onnx`, `out.${precision}.onnx.data`];
    assert.deepEqual(namesIn(folder), [...aside("4bit"), ...good("8bit"), "source.onnx"]);
    assert.deepEqual(
      notes,
      aside("8bit").map((name) =>
        `removed "${join(folder, name)}", which failed its verification before`
      ),
    );
    fails();
    await converter.convert(request(folder, { ...two, dryRun: true }));
    assert.deepEqual(namesIn(folder).filter((name) => name.endsWith(".unverified")), aside("4bit"));
    await convertTwo();
    assert.deepEqual(namesIn(folder), [...good("4bit"), ...good("8bit"), "source.onnx"]);
  });
});

Deno.test("what was kept aside of a step on the way goes with it", async () => {
  await withFolder(async (folder) => {
    const first = new Writer();
    const last = new Writer();
    last.targetFormat = "openvino";
    const asked = () => request(folder, { outputPath: join(folder, "out.xml") });
    first.models = [{ suffix: ".encoder", fails: true }];
    await runConverters([first, last], asked());
    const aside = ["out.encoder.onnx.data.unverified", "out.encoder.onnx.unverified"];
    assert.deepEqual(namesIn(folder), [...aside, "source.onnx"]);
    first.models = [{ suffix: ".encoder" }];
    last.models = [{ suffix: "", fails: true }];
    await runConverters([first, last], asked());
    const failed = ["out.encoder.xml.data.unverified", "out.encoder.xml.unverified"];
    assert.deepEqual(namesIn(folder), [...aside, ...failed, "source.onnx"]);
    last.models = [{ suffix: "" }];
    const { error } = await runConverters([first, last], asked());
    assert.equal(error, null);
    assert.deepEqual(namesIn(folder), ["out.encoder.xml", "out.encoder.xml.data", "source.onnx"]);
  });
});

Deno.test("of what is called as if it was kept aside, only that goes", {
  ignore: Deno.build.os === "windows",
}, async () => {
  await withFolder(async (folder) => {
    const converter = new Writer();
    const at = (name: string) => join(folder, name);
    const other = at("other");
    Deno.mkdirSync(other);
    const left = async (options: Partial<ConverterRequest> = {}) => {
      const { error } = await converter.convert({ ...request(folder), ...options });
      assert.equal(error, null);
      return namesIn(folder).filter((name) => name.endsWith(".unverified"));
    };
    // A link, a folder, and data without the model that names them.
    Deno.writeTextFileSync(join(other, "kept"), "kept");
    await makeLink(join(other, "kept"), at("out.onnx.unverified"));
    Deno.writeTextFileSync(at("out.onnx.data.unverified"), "data");
    assert.deepEqual(await left(), ["out.onnx.data.unverified", "out.onnx.unverified"]);
    assert.equal(Deno.readTextFileSync(join(other, "kept")), "kept");
    Deno.removeSync(at("out.onnx.unverified"));
    Deno.mkdirSync(at("out.onnx.unverified"));
    assert.deepEqual(await left(), ["out.onnx.data.unverified", "out.onnx.unverified"]);
    Deno.removeSync(at("out.onnx.unverified"));
    assert.deepEqual(await left(), ["out.onnx.data.unverified"]);

    // A model that names data of many names: those that it would have by conversion are its own.
    const data = [
      ...["out.onnx.data.unverified", "out.onnx.data_1.unverified", "out.onnx.data_2.unverified"],
      ...["precious.unverified", "out.onnx.data_3", "other/out.onnx.data_4.unverified"],
    ];
    writeWithData(at("out.onnx.unverified"), data);
    for (const name of data) Deno.writeFileSync(at(name), new Uint8Array(4));
    Deno.removeSync(at("out.onnx.data_2.unverified"));
    await makeLink(join(other, "kept"), at("out.onnx.data_2.unverified"));
    assert.deepEqual(await left(), ["out.onnx.data_2.unverified", "precious.unverified"]);
    for (const name of data.slice(2)) Deno.lstatSync(at(name));
    assert.equal(Deno.readTextFileSync(join(other, "kept")), "kept");
  });
});

Deno.test("what was kept aside stays where it is read", async () => {
  await withFolder(async (folder) => {
    const converter = new Writer();
    const at = (name: string) => join(folder, name);
    const aside = ["out.onnx.data.unverified", "out.onnx.unverified"];
    const left = () => namesIn(folder).filter((name) => name.endsWith(".unverified"));
    writeWithData(at("out.onnx.unverified"), ["out.onnx.data.unverified"]);
    Deno.writeFileSync(at("out.onnx.data.unverified"), new Uint8Array(4));
    const asked = request(folder);
    // The model itself, its data under another model's name, and as inputs.
    for (const name of ["out.onnx.unverified", "renamed.onnx"]) {
      if (name !== "out.onnx.unverified") Deno.copyFileSync(at("out.onnx.unverified"), at(name));
      const { error } = await converter.convert({ ...asked, modelPath: at(name) });
      assert.equal(error, null);
      assert.deepEqual(left(), aside, name);
    }
    await converter.convert({ ...asked, inputs: at("out.onnx.data.unverified") });
    assert.deepEqual(left(), aside);
    await converter.convert(asked);
    assert.deepEqual(left(), []);
  });
});
