/**
 * Reading a model that is not one, or is a hostile one: an `InputError` that names the file, the
 * field and the byte, and nothing else.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { InputError } from "../../src/error.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { openTensor, tensorBytes } from "../../src/onnx/tensor.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import type { WireBuilder } from "../../src/onnx/wire.ts";
import {
  makeLink,
  memoryTensor,
  message,
  modelFile,
  sumModel,
  tensorMessage,
  withFolder,
  writeBytes,
} from "./onnx_models.ts";

/** Where links need rights of their own. */
const WINDOWS = Deno.build.os === "windows";

const text = (value: string) => new TextEncoder().encode(value);

async function refused(path: string, ...patterns: RegExp[]): Promise<void> {
  await assert.rejects(readModel(path), (error: Error) => {
    assert.ok(error instanceof InputError, `${error.stack}`);
    assert.ok(error.message.includes(path), error.message);
    for (const pattern of patterns) assert.match(error.message, pattern);
    return true;
  });
}

/** Reads `graph` as a model's graph and expects a refusal. */
async function graphRefused(graph: Uint8Array, ...patterns: RegExp[]): Promise<void> {
  await withFolder(async (folder) => {
    await refused(writeBytes(folder, "model.onnx", modelFile(graph)), ...patterns);
  });
}

const nodeMessage = (build: (out: WireBuilder) => void) =>
  message((out) => {
    out.string(4, "Op");
    build(out);
  });

Deno.test("what is not an ONNX model is called what it is", async () => {
  await withFolder(async (folder) => {
    await refused(folder, /is a directory/);
    await refused(join(folder, "absent.onnx"), /no such file/);
    const kinds: [Uint8Array, RegExp][] = [
      [new Uint8Array(0), /is empty/],
      [text("PK\x03\x04 and more of it"), /ZIP.*PyTorch.*torch\.onnx\.export/],
      [text("GGUF\x03\0\0\0"), /GGUF/],
      [new Uint8Array([0x89, ...text("HDF\r\n\x1a\n"), 0]), /HDF5/],
      [new Uint8Array([64, 0, 0, 0, 0, 0, 0, 0, ...text('{"a":{}}')]), /safetensors/],
      [new Uint8Array([28, 0, 0, 0, ...text("TFL3"), 0]), /TensorFlow Lite/],
      [new Uint8Array([28, 0, 0, 0, ...text("ORTM"), 0]), /\.ort/],
      [text("version https://git-lfs.github.com/spec/v1\noid"), /Git LFS/],
      [text("<!DOCTYPE html>"), /web page/],
      [text("just some text that is nothing"), /byte|IR version/],
      [crypto.getRandomValues(new Uint8Array(1000)), /Cannot read/],
    ];
    for (const [bytes, pattern] of kinds) {
      await refused(writeBytes(folder, "model.onnx", bytes), pattern);
    }
  });
});

Deno.test("a pipe is not waited for", { ignore: WINDOWS }, async () => {
  // A device answers like a pipe, and needs no program to make it.
  await assert.rejects(readModel("/dev/null"), InputError);
});

Deno.test("models from the future say so", async () => {
  await withFolder(async (folder) => {
    const graph = new Uint8Array(0);
    await refused(writeBytes(folder, "a.onnx", modelFile(graph, 29)), /opset 29, newer than 28/);
    await refused(
      writeBytes(folder, "b.onnx", modelFile(graph, 21, 15)),
      /ir_version 15 is newer than 14/,
    );
    // A graph that makes no sense to this version must not hide the reason.
    const strange = message((out) => out.bytes(1, message((node) => node.string(1, "x"))));
    await refused(writeBytes(folder, "c.onnx", modelFile(strange, 99)), /opset 99/);
    await refused(writeBytes(folder, "d.onnx", modelFile(graph, -1)), /version -1/);
    await refused(
      writeBytes(folder, "e.onnx", message((out) => out.bytes(7, graph))),
      /IR version/,
    );
    await refused(writeBytes(folder, "f.onnx", message((out) => out.int(1, 8))), /no graph/);
    const twice = message((out) => out.raw(modelFile(graph)).bytes(7, graph));
    await refused(writeBytes(folder, "g.onnx", twice), /has graph twice/);
  });
});

Deno.test("nesting 10,000 deep is refused without a stack overflow", async () => {
  let inner = new Uint8Array(0);
  for (let depth = 0; depth < 10_000; depth++) {
    const graph = inner;
    const attribute = message((out) => out.string(1, "g").int(20, 5).bytes(6, graph));
    inner = new Uint8Array(
      message((out) => out.bytes(1, nodeMessage((node) => node.bytes(5, attribute)))),
    );
  }
  await graphRefused(
    inner,
    /lies more than 100 messages deep/,
    /graph\.node\[0\]\.attribute\[0\]\.g/,
  );
});

Deno.test("a type nested 10,000 deep is carried, not followed", async () => {
  let type = new Uint8Array(0);
  for (let depth = 0; depth < 10_000 && type.length < 60_000; depth++) {
    const element = type;
    type = new Uint8Array(
      message((out) => out.bytes(4, message((list) => list.bytes(1, element)))),
    );
  }
  const value = message((out) => out.string(1, "v").bytes(2, type));
  await withFolder(async (folder) => {
    const bytes = modelFile(message((out) => out.bytes(13, value)));
    const model = await readModel(writeBytes(folder, "model.onnx", bytes));
    assert.deepEqual(model.graph.valueInfo[0]?.dtype, null);
    await writeModel(model, join(folder, "out.onnx"));
    assert.equal(Deno.statSync(join(folder, "out.onnx")).size, bytes.length);
  });
});

Deno.test("shapes that don't fit their data are refused", async () => {
  const raw = (length: number) => (out: WireBuilder) => out.bytes(9, new Uint8Array(length));
  const cases: [Uint8Array, RegExp][] = [
    [tensorMessage("w", [2, 3], raw(20)), /raw_data at byte \d+ has 20 bytes .* takes 24/],
    [tensorMessage("w", [-2, 3], raw(24)), /negative extent -2/],
    [tensorMessage("w", [2 ** 53 - 1, 2 ** 53 - 1], raw(24)), /larger than any data/],
    [tensorMessage("w", [2 ** 40], raw(24)), /takes 4398046511104/],
    [tensorMessage("w", [2], (out) => out.bytes(4, new Uint8Array(7))), /7 bytes.*values of 4/],
    [tensorMessage("w", [2], (out) => out.bytes(4, new Uint8Array(12))), /3 values.*takes 2/],
    [tensorMessage("w", [2], (out) => out.packedInts(5, [1, 2])), /float32 values in int32_data/],
    [
      tensorMessage("w", [2], (out) => out.bytes(9, new Uint8Array(8)).float(4, 1).float(4, 2)),
      /both raw_data and float_data/,
    ],
    [tensorMessage("w", [2], () => {}), /0 values in float_data .* takes 2/],
    [message((out) => out.int(2, 29).string(8, "w")), /element type 29/],
    [message((out) => out.string(8, "w")), /element type 0/],
    [message((out) => out.int(2, 8).string(8, "w").bytes(9, text("abc"))), /keeps strings/],
    [
      message((out) => out.int(1, 1).int(2, 7).bytes(7, new Uint8Array(11).fill(0x80))),
      /varint of more than 10 bytes/,
    ],
    [message((out) => out.int(1, 1).int(2, 7).bytes(7, new Uint8Array([0x80]))), /within a varint/],
  ];
  for (const [tensor, pattern] of cases) {
    await graphRefused(
      message((out) => out.bytes(5, tensor)),
      pattern,
      /graph\.initializer\[0\]/,
      /at byte \d+/,
    );
  }
});

Deno.test("names that are given twice are refused", async () => {
  const weight = tensorMessage("w", [0], () => {});
  const makes = (name: string) => nodeMessage((out) => out.string(2, name));
  await graphRefused(
    message((out) => out.bytes(5, weight).bytes(5, weight)),
    /"w" twice.*initializer\[1\]/,
  );
  await graphRefused(
    message((out) => out.bytes(1, makes("v")).bytes(1, makes("v"))),
    /"v" twice.*node\[1\]/,
  );
  await graphRefused(
    message((out) => out.bytes(5, weight).bytes(1, makes("w"))),
    /"w" twice.*node\[0\]/,
  );
  const input = message((out) => out.string(1, "i"));
  await graphRefused(
    message((out) => out.bytes(11, input).bytes(11, input)),
    /"i" twice.*input\[1\]/,
  );
  const alpha = message((out) => out.string(1, "alpha").int(20, 2).int(3, 1));
  await graphRefused(
    message((out) => out.bytes(1, nodeMessage((node) => node.bytes(5, alpha).bytes(5, alpha)))),
    /graph\.node\[0\] .* attribute "alpha" twice/,
  );
});

Deno.test("attributes that contradict themselves are refused", async () => {
  const attribute = (build: (out: WireBuilder) => void) =>
    message((out) =>
      out.bytes(
        1,
        nodeMessage((node) =>
          node.bytes(
            5,
            message((inner) => {
              inner.string(1, "a");
              build(inner);
            }),
          )
        ),
      )
    );
  const tensor = tensorMessage("w", [0], () => {});
  await graphRefused(attribute((out) => out.int(20, 4)), /type tensor and has 0/);
  await graphRefused(attribute((out) => out.int(20, 4).bytes(5, tensor).bytes(5, tensor)), /has 2/);
  await graphRefused(attribute((out) => out.int(20, 5).bytes(5, tensor)), /values of other types/);
  await graphRefused(
    attribute((out) => out.int(20, 2).bytes(8, new Uint8Array([0x80]))),
    /decoded/,
  );
  await graphRefused(
    message((out) => out.bytes(1, message((node) => node.string(1, "x")))),
    /no op_type/,
  );
});

Deno.test("a name that is not UTF-8 is refused, a name with a byte order mark kept", async () => {
  const bad = nodeMessage((out) => out.bytes(2, new Uint8Array([0x61, 0xff])));
  await graphRefused(
    message((out) => out.bytes(1, bad)),
    /graph\.node\[0\] at byte \d+ .* not UTF-8/,
  );
  await withFolder(async (folder) => {
    const name = "\ufeffbom \u{1f600}";
    const graph = message((out) => out.bytes(1, nodeMessage((node) => node.string(2, name))));
    const model = await readModel(writeBytes(folder, "model.onnx", modelFile(graph)));
    assert.deepEqual(model.graph.nodes[0]?.outputs, [name]);
  });
});

/** A tensor of four floats whose external entries are `entries`. */
const externalTensor = (entries: Record<string, string>) =>
  tensorMessage("w", [4], (out) => {
    out.int(14, 1);
    for (const [key, value] of Object.entries(entries)) {
      out.bytes(13, message((entry) => entry.string(1, key).string(2, value)));
    }
  });

Deno.test("external data never leaves the model's folder", { ignore: WINDOWS }, async () => {
  await withFolder(async (folder) => {
    const inside = join(folder, "model");
    Deno.mkdirSync(join(inside, "sub"), { recursive: true });
    writeBytes(folder, "secret", new Uint8Array(64));
    writeBytes(inside, "data", new Uint8Array(64));
    await makeLink(join(folder, "secret"), join(inside, "link"));
    await makeLink(folder, join(inside, "folder"));
    await makeLink("data", join(inside, "near"));
    const read = (entries: Record<string, string>) =>
      writeBytes(
        inside,
        "model.onnx",
        modelFile(message((out) => out.bytes(5, externalTensor(entries)))),
      );
    const outside = [
      "../secret",
      "sub/../../secret",
      "..\\secret",
      join(folder, "secret"),
      "/etc/passwd",
      "C:\\secret",
      "link",
      "folder/secret",
      "data\0",
    ];
    for (const location of outside) {
      await refused(read({ location }), /outside the model's folder/, /graph\.initializer\[0\]/);
    }
    const wrong: [Record<string, string>, RegExp][] = [
      [{}, /names no location/],
      [{ location: "" }, /names no location/],
      [{ location: "absent" }, /is missing/],
      [{ location: "sub" }, /not a regular file/],
      [{ location: "data", offset: "-1" }, /"-1", which is not a byte position/],
      [{ location: "data", offset: "1e3" }, /not a byte position/],
      [{ location: "data", offset: "99999999999999999999" }, /not a byte position/],
      [{ location: "data", length: "sixteen" }, /not a count of bytes/],
      [{ location: "data", length: "12" }, /12 bytes of external data where .* takes 16/],
      [{ location: "data", offset: "50" }, /bytes 50 to 66 .* has 64 bytes/],
      [{ location: "data", offset: "9007199254740991" }, /has 64 bytes/],
    ];
    for (const [entries, pattern] of wrong) await refused(read(entries), pattern);
    for (const location of ["data", "near", "./data"]) {
      const model = await readModel(read({ location, offset: "48", length: "16" }));
      assert.equal((await tensorBytes(model.graph.initializers[0]!)).length, 16);
      assert.equal(model.external, true);
    }
  });
});

Deno.test("every truncation of a model is refused", async () => {
  await withFolder(async (folder) => {
    const whole = join(folder, "whole.onnx");
    await writeModel(sumModel([memoryTensor("a", [1, 2, 3]), memoryTensor("b", [4])]), whole);
    const bytes = Deno.readFileSync(whole);
    const graphStart = 8;
    for (let length = graphStart; length < bytes.length; length++) {
      await refused(writeBytes(folder, "cut.onnx", bytes.subarray(0, length)));
    }
    await readModel(writeBytes(folder, "cut.onnx", bytes));
  });
});

Deno.test("a few bytes can't ask for many objects", async () => {
  const node = nodeMessage(() => {});
  const nodes = message((out) => {
    for (let index = 0; index < 150_000; index++) out.bytes(1, node);
  });
  await graphRefused(nodes, /more nodes, values and attributes/);
  const inputs = message((out) =>
    out.bytes(
      1,
      nodeMessage((inner) => {
        for (let index = 0; index < 1_200_000; index++) inner.string(1, "");
      }),
    )
  );
  await graphRefused(inputs, /more nodes, values and attributes/);
  const dims = message((out) => {
    for (let index = 0; index < 40_000; index++) out.bytes(1, new Uint8Array(0));
  });
  const type = message((out) => out.bytes(1, message((tensor) => tensor.bytes(2, dims))));
  const value = message((out) => out.string(1, "v").bytes(2, type));
  await graphRefused(message((out) => out.bytes(13, value)), /a type of \d+ bytes/);
  const rank = tensorMessage("w", Array(40_000).fill(1), () => {});
  await graphRefused(message((out) => out.bytes(5, rank)), /bytes of dims/);
});

Deno.test("a long list is carried through", async () => {
  await withFolder(async (folder) => {
    const list = message((out) => {
      out.string(1, "nodes_values").int(20, 6);
      for (let index = 0; index < 100_000; index++) out.float(7, index);
    });
    const graph = message((out) => out.bytes(1, nodeMessage((node) => node.bytes(5, list))));
    const bytes = modelFile(graph);
    const model = await readModel(writeBytes(folder, "model.onnx", bytes));
    const attribute = model.graph.nodes[0]!.attributes[0]!;
    assert.deepEqual([attribute.name, attribute.value.type], ["nodes_values", "carried"]);
    attribute.name = "renamed_value";
    await writeModel(model, join(folder, "out.onnx"));
    const again = await readModel(join(folder, "out.onnx"));
    assert.equal(again.graph.nodes[0]!.attributes[0]!.name, "renamed_value");
    assert.equal(again.graph.nodes[0]!.attributes[0]!.carried.length, list.length + 1);
  });
});

Deno.test("tensors are read in pieces, into shared memory too", async () => {
  await withFolder(async (folder) => {
    const values = Array.from({ length: 5000 }, (_, index) => index / 3);
    const path = join(folder, "model.onnx");
    await writeModel(sumModel([memoryTensor("a", values)]), path);
    const tensor = (await readModel(path)).graph.initializers[0]!;
    const expected = new Uint8Array(new Float32Array(values).buffer);
    const reader = openTensor(tensor);
    assert.equal(reader.byteLength, 20_000);
    const shared = new Uint8Array(new SharedArrayBuffer(20_000));
    await Promise.all([
      reader.read(10_000, shared.subarray(10_000)),
      reader.read(0, shared.subarray(0, 10_000)),
    ]);
    assert.deepEqual(Uint8Array.from(shared), expected);
    shared.fill(0);
    reader.readSync(7, shared.subarray(7, 100));
    assert.deepEqual(Uint8Array.from(shared.subarray(7, 100)), expected.slice(7, 100));
    assert.throws(() => reader.readSync(19_999, new Uint8Array(2)), RangeError);
    reader.close();

    Deno.truncateSync(path, 10_000);
    assert.throws(() => openTensor(tensor), InputError);
  });
});
