/**
 * What a conversion refuses, and what it leaves as it is: NaN and infinity, weights that overflow,
 * exclusions, outputs that are inputs, runtimes that can't load a form.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type BlockSize, InputError, InterruptedError } from "../../mod.ts";
import {
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Model,
} from "../../src/ir.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { tensorBytes } from "../../src/onnx/tensor.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import { convert, type OnnxOptions } from "../convert.ts";
import { matrices, mixedModel, writeChain } from "../convert_models.ts";
import { encode, floats, noise, simpleModel } from "../encoding_models.ts";
import { namesIn, withFolder } from "./onnx_models.ts";

const QUICK = { engine: "reference", method: "rtn" } as const;

type Options = Omit<OnnxOptions, "source" | "output">;

/** Converts `source` to `folder/result.onnx`, which must be refused and leave the folder alone. */
async function refused(
  folder: string,
  source: string,
  options: Options,
  ...patterns: RegExp[]
): Promise<void> {
  const before = namesIn(folder).map((name) => [name, Deno.statSync(join(folder, name)).mtime]);
  await assert.rejects(
    convert({ source, output: join(folder, "result.onnx"), ...QUICK, ...options }),
    (error: Error) => {
      assert.ok(error instanceof InputError, error.stack);
      assert.equal(error.exitCode, 2);
      for (const pattern of patterns) assert.match(error.message, pattern);
      return true;
    },
  );
  const after = namesIn(folder).map((name) => [name, Deno.statSync(join(folder, name)).mtime]);
  assert.deepEqual(after, before);
}

/** A chain of three matrices of 64 by 64; `change` may change the values of each. */
function chain(change: (values: number[], index: number) => void, names = ["first", "w*", "w2"]) {
  const weights = names.map((name, index) => {
    const values = noise(index + 1, 64 * 64);
    change(values, index);
    const bytes = encode("float32", values);
    return makeTensor(name, "float32", [64, 64], { kind: "memory", bytes });
  });
  const value = (index: number) => index === 0 ? "x" : index === names.length ? "y" : `x${index}`;
  return simpleModel(
    names.map((name, index) => makeNode("MatMul", "", [value(index), name], [value(index + 1)])),
    weights,
    [{ name: "x", dtype: "float32", dims: [2, 64], values: [] }],
    2,
  );
}

async function write(folder: string, model: Model): Promise<string> {
  const path = join(folder, "source.onnx");
  await writeModel(model, path);
  return path;
}

async function initializer(path: string, name: string): Promise<Uint8Array | null> {
  const found = (await readModel(path)).graph.initializers.find((entry) => entry.name === name);
  return found === undefined ? null : await tensorBytes(found);
}

Deno.test("NaN and infinity are refused by name; --nan keep keeps those weights and no other", async () => {
  await withFolder(async (folder) => {
    for (const [index, poison] of [[1, NaN], [0, Infinity], [2, -Infinity]] as const) {
      const name = ["first", "w*", "w2"][index]!;
      const source = await write(
        folder,
        chain((values, at) => {
          if (at === index) values[77] = poison;
        }),
      );
      const output = join(folder, "result.onnx");
      for (const precision of ["8bit", "4bit", "3bit", "2bit"] as const) {
        const quoted = new RegExp(
          `"${name.replace("*", "\\*")}" holds NaN or infinity.*--nan keep`,
        );
        await refused(folder, source, { precision }, /source\.onnx/, quoted);
        const [report] = await convert({ source, output, precision, ...QUICK, nan: "keep" });
        assert.deepEqual(report!.skipped.map((entry) => entry.name), [name]);
        assert.match(report!.skipped[0]!.reason, /NaN or infinity/);
        assert.equal(report!.weights.length, 2);
        assert.deepEqual(await initializer(output, name), await initializer(source, name));
        const { metadata } = await readModel(output);
        assert.equal(new Map(metadata).get("modelcast.kept_non_finite"), JSON.stringify([name]));
        Deno.removeSync(output);
      }
      for (const precision of ["float16", "bfloat16"] as const) {
        await refused(folder, source, { precision }, /"[^"]+" holds NaN or infinity/);
        await convert({ source, output, precision, nan: "keep" });
        assert.deepEqual(await initializer(output, name), await initializer(source, name));
        Deno.removeSync(output);
      }
    }
  });
});

Deno.test("where the last of several precisions can't be written, none is", async () => {
  await withFolder(async (folder) => {
    const source = await write(folder, chain(() => {}));
    const precision = ["8bit", "4bit"] as const;
    const last = join(folder, "result.4bit.onnx");
    Deno.writeTextFileSync(join(folder, "result.8bit.onnx"), "the old one");
    const rename = Deno.renameSync;
    Deno.renameSync = (from, to) => {
      if (to === last) throw Object.assign(new Error("made to fail"), { code: "EIO" });
      rename(from, to);
    };
    try {
      await refused(folder, source, { precision }, /result\.4bit\.onnx.*made to fail/);
    } finally {
      Deno.renameSync = rename;
    }
    assert.equal(Deno.readTextFileSync(join(folder, "result.8bit.onnx")), "the old one");
  });
});

Deno.test("--nan keep gives the same files for one precision and for several", async () => {
  await withFolder(async (folder) => {
    const source = await write(
      folder,
      chain((values, index) => {
        if (index === 1) values[5] = NaN;
      }),
    );
    const output = join(folder, "result.onnx");
    const options = { source, output, ...QUICK, nan: "keep" } as const;
    const together = await convert({ ...options, precision: ["float16", "8bit", "2bit"] });
    for (const { precision, files } of together) {
      await convert({ ...options, precision });
      assert.deepEqual(Deno.readFileSync(output), Deno.readFileSync(files[0]!.path), precision);
    }
  });
});

Deno.test("a weight that float16 can't hold is named and stays", async () => {
  await withFolder(async (folder) => {
    const source = await write(
      folder,
      chain((values, index) => {
        if (index === 2) values[9] = 1e6;
      }),
    );
    const output = join(folder, "result.onnx");
    const [report] = await convert({ source, output, precision: "float16" });
    assert.deepEqual(report!.skipped.map(({ name }) => name), ["w2"]);
    assert.ok(
      report!.warnings.some((text) => /"w2".*beyond float16/.test(text)),
      JSON.stringify(report!.warnings),
    );
    assert.deepEqual(await initializer(output, "w2"), await initializer(source, "w2"));
    assert.equal((await initializer(output, "first"))!.length, 2 * 64 * 64);
  });
});

Deno.test("scales that float16 can't hold are warned of", async () => {
  await withFolder(async (folder) => {
    const source = await write(
      folder,
      chain((values, index) => {
        if (index === 0) values.forEach((_, at) => values[at]! *= 1e9);
      }),
    );
    const output = join(folder, "result.onnx");
    const options = { source, output, precision: "4bit", ...QUICK } as const;
    const [report] = await convert(options);
    assert.ok(report!.warnings.some((text) => /"first".*float16.*--scales float32/.test(text)));
    const [exact] = await convert({ ...options, scales: "float32" });
    assert.deepEqual(exact!.warnings, []);
    assert.ok(exact!.totals.sqnr! > 15);
  });
});

Deno.test("values that float16 activations make infinite are warned of", async () => {
  await withFolder(async (folder) => {
    for (const [largest, warned] of [[60_000, false], [70_000, true]] as const) {
      const source = await write(
        folder,
        chain((values, index) => {
          if (index === 0) values[9] = largest;
        }),
      );
      const output = join(folder, "result.onnx");
      for (const symmetric of [true, false]) {
        const options = { source, output, precision: "4bit", ...QUICK, symmetric } as const;
        const [report] = await convert({ ...options, activations: "float16" });
        const told = report!.warnings.filter((text) =>
          /^1 blocks of "first" have.*65504/.test(text)
        );
        assert.equal(told.length, warned ? 1 : 0, `${largest} ${symmetric}: ${report!.warnings}`);
        assert.deepEqual((await convert(options))[0]!.warnings, []);
      }
    }
  });
});

Deno.test("a weight of which nothing is left is warned of", async () => {
  await withFolder(async (folder) => {
    const source = await write(
      folder,
      chain((values, index) => {
        if (index === 1) values.forEach((_, at) => values[at]! *= 1e-9);
      }),
    );
    const output = join(folder, "result.onnx");
    for (const precision of ["8bit", "4bit", "3bit", "2bit"] as const) {
      const options = { source, output, precision, ...QUICK };
      const [report] = await convert(options);
      assert.equal(report!.warnings.length, 1);
      assert.match(report!.warnings[0]!, /"w\*" is left.*--scales float32/);
      assert.deepEqual((await convert({ ...options, scales: "float32" }))[0]!.warnings, []);
    }
  });
});

Deno.test("blocks that pad rows by much are warned of, with how much it is", async () => {
  await withFolder(async (folder) => {
    const source = await write(
      folder,
      simpleModel(
        [makeNode("MatMul", "", ["x", "w"], ["y"])],
        [floats("w", [96, 64])],
        [{ name: "x", dtype: "float32", dims: [2, 96], values: [] }],
        2,
      ),
    );
    const output = join(folder, "result.onnx");
    const converted = async (blockSize: BlockSize) =>
      (await convert({ source, output, precision: "4bit", ...QUICK, blockSize }))[0]!;
    assert.deepEqual((await converted(32)).warnings, []);
    assert.deepEqual((await converted("channel")).warnings, []);
    // Rows of 96 become blocks of 64 and 64: 32 codes of 4 bits more, in each of 64 rows.
    const padded = await converted(64);
    const { bytesAfter } = padded.weights[0]!;
    const part = Math.round((100 * 64 * 16) / (bytesAfter - 64 * 16));
    assert.match(
      padded.warnings.join("; "),
      new RegExp(`padded .* ${part} % larger. Take a smaller`),
    );
  });
});

Deno.test("--exclude leaves alone what it names, at every precision", async () => {
  await withFolder(async (folder) => {
    const source = await write(folder, mixedModel());
    const output = join(folder, "result.onnx");
    for (const precision of ["4bit", "float16", "bfloat16"] as const) {
      for (const pattern of ["*_weights", "narrow", "n?rrow", "b"]) {
        const [report] = await convert({ source, output, precision, ...QUICK, exclude: [pattern] });
        const names = pattern.includes("_") ? ["input_weights", "state_weights"] : ["narrow"];
        for (const name of names) {
          assert.ok(
            !report!.weights.some((weight) => weight.name === name),
            `${precision} ${name}`,
          );
          assert.deepEqual(await initializer(output, name), await initializer(source, name));
        }
        assert.ok(report!.weights.some(({ name }) => name === "wide"));
      }
      await refused(
        folder,
        source,
        { precision, exclude: ["narow"] },
        /Cannot exclude "narow".*narrow/,
      );
    }
  });
});

Deno.test("an output that is a file of the source is refused", async () => {
  await withFolder(async (folder) => {
    const weights = matrices(["a", "b"]);
    const inside = writeChain(folder, "inside.onnx", weights);
    const same = { precision: "4bit", ...QUICK } as const;
    Deno.mkdirSync(join(folder, "sub"));
    const names = [inside, join(folder, "sub", "..", "inside.onnx")];
    if (Deno.build.os !== "windows") {
      Deno.linkSync(inside, join(folder, "hard.onnx"));
      names.push(join(folder, "hard.onnx"));
    }
    for (const output of names) {
      const before = Deno.readFileSync(inside);
      await assert.rejects(
        convert({ source: inside, output, ...same }),
        (error: Error) => error instanceof InputError && /is read from/.test(error.message),
      );
      assert.deepEqual(Deno.readFileSync(inside), before);
    }
    // The output's data file would take the place of the source's.
    const outside = writeChain(folder, "outside.onnx", weights, (index) => ({
      location: "result.onnx.data",
      offset: index * 16384,
    }));
    const data = Deno.readFileSync(join(folder, "result.onnx.data"));
    for (const precision of ["4bit", "float16"] as const) {
      await refused(folder, outside, { precision }, /result\.onnx\.data/);
    }
    assert.deepEqual(Deno.readFileSync(join(folder, "result.onnx.data")), data);
  });
});

Deno.test("an output that is no file, or in no folder, is refused", async () => {
  await withFolder(async (folder) => {
    const source = await write(folder, mixedModel());
    Deno.mkdirSync(join(folder, "taken.onnx"));
    const cases: [string, RegExp][] = [
      ["taken.onnx", /is a directory/],
      ["none/result.onnx", /there is no folder/],
      ["source.onnx/result.onnx", /is not a folder|Not a directory/],
      [`${"n".repeat(300)}.onnx`, /too long/],
    ];
    for (const [name, pattern] of cases) {
      await assert.rejects(
        convert({ source, output: join(folder, name), precision: "4bit", ...QUICK }),
        (error: Error) => {
          assert.ok(error instanceof InputError, error.stack);
          assert.match(error.message, pattern);
          return true;
        },
      );
    }
    assert.deepEqual(namesIn(folder), ["source.onnx", "taken.onnx"]);
  });
});

Deno.test("runtimes: an unknown one, and a form that one of them can't load", async () => {
  await withFolder(async (folder) => {
    const source = await write(folder, mixedModel());
    const precision = "4bit";
    await refused(
      folder,
      source,
      { precision, runtimes: ["onnxrutime-1.24"] },
      /onnxruntime-1\.24/,
    );
    await refused(folder, source, { precision, runtimes: ["openvino-1999.1"] }, /openvino-2026\.4/);
    const half = { precision: "float16", runtimes: ["openvino-1999.1"] } as const;
    await refused(folder, source, half, /openvino-2026\.4/);
    await refused(
      folder,
      source,
      { precision: "8bit", encoding: "matmulnbits", runtimes: ["onnxruntime-1.22"] },
      /Cannot express the weight "[a-z_]+" of [A-Za-z]+ ".+" in ".*source\.onnx"/,
      /onnxruntime-1\.22/,
      /nearest form .* is "[a-z]+"/,
    );
    await refused(
      folder,
      source,
      { precision: "2bit", encoding: "qdq", runtimes: ["onnxruntime-1.30", "onnxruntime-1.22"] },
      /onnxruntime-1\.22/,
      /nearest form/,
    );
    const newer = mixedModel();
    newer.opsets.set("", 25);
    await writeModel(newer, source);
    for (const asked of [precision, "float16", "bfloat16"] as const) {
      const options = { precision: asked, runtimes: ["onnxruntime-1.22"] };
      await refused(folder, source, options, /loads opsets up to 22, not 25/);
    }
  });
});

Deno.test("an abort leaves the target as it was, whenever it comes", async () => {
  await withFolder(async (folder) => {
    const source = await write(folder, mixedModel());
    const output = join(folder, "result.onnx");
    Deno.writeTextFileSync(output, "the old target");
    for (const abortAt of [0, 1, 3, 5]) {
      const controller = new AbortController();
      let seen = 0;
      if (abortAt === 0) controller.abort();
      const progress = () => {
        if (++seen === abortAt) controller.abort();
      };
      await assert.rejects(
        convert({
          source,
          output,
          precision: "4bit",
          ...QUICK,
          events: { progress },
          signal: controller.signal,
        }),
        InterruptedError,
      );
      assert.equal(Deno.readTextFileSync(output), "the old target");
      assert.deepEqual(namesIn(folder), ["result.onnx", "source.onnx"]);
    }
  });
});

Deno.test("models without anything to quantize are copied, and say so", async () => {
  await withFolder(async (folder) => {
    const relu = simpleModel(
      [makeNode("Relu", "", ["x"], ["y"])],
      [],
      [{ name: "x", dtype: "float32", dims: [2, 3], values: [] }],
      2,
    );
    const empty = simpleModel(
      [makeNode("MatMul", "", ["x", "w"], ["y"])],
      [floats("w", [0, 8])],
      [{ name: "x", dtype: "float32", dims: [2, 0], values: [] }],
      2,
    );
    const output = join(folder, "result.onnx");
    for (const model of [relu, empty]) {
      const source = await write(folder, model);
      for (const precision of ["4bit", "float16", "bfloat16", "float32"] as const) {
        const [report] = await convert({ source, output, precision, activations: "float32" });
        assert.deepEqual(
          report!.warnings.map((text) => text.split(":")[0]),
          precision === "4bit" ? ["no weight was quantized to 4bit"] : [],
        );
        const { sqnr, ...totals } = report!.totals;
        assert.ok(Object.values(totals).every(Number.isFinite), JSON.stringify(totals));
        assert.ok(sqnr === null || sqnr === Infinity);
        assert.equal((await readModel(output)).graph.nodes.at(-1)!.outputs[0], "y");
      }
    }
  });
});

Deno.test("a node that lacks an operand or a result is not replaced, and the rest is converted", async () => {
  await withFolder(async (folder) => {
    const weight = (name: string) => floats(name, [64, 64]);
    const model = makeModel(
      "",
      8,
      new Map([["", 17]]),
      makeGraph("main", {
        initializers: ["a", "b", "c", "d", "e", "f"].map(weight),
        inputs: [makeValueInfo("x", "float32", ["n", 64]), makeValueInfo("i", "int64", ["n"])],
        outputs: [makeValueInfo("y", "float32", ["n", 64])],
        nodes: [
          makeNode("MatMul", "", ["x", "a"], ["y"]),
          makeNode("MatMul", "", ["x", "b"], []),
          makeNode("Gemm", "", ["x", "c"], [""]),
          makeNode("Gather", "", ["d", "i"], []),
          makeNode("Gather", "", ["e"], ["z"]),
          makeNode("MatMul", "", ["", "f"], ["v"]),
        ],
      }),
    );
    const source = await write(folder, model);
    for (const precision of ["8bit", "4bit", "3bit", "2bit"] as const) {
      const output = join(folder, "result.onnx");
      const [report] = await convert({ source, output, precision, ...QUICK });
      const { nodes } = (await readModel(output)).graph;
      const kept = nodes.filter(({ inputs, outputs }) =>
        (outputs[0] ?? "") === "" || inputs.length === 1 || inputs.includes("")
      ).map(({ opType }) => opType).filter((op) => ["MatMul", "Gemm", "Gather"].includes(op));
      assert.deepEqual(kept, ["MatMul", "Gemm", "Gather", "Gather", "MatMul"], precision);
      assert.ok(report!.weights.some(({ name }) => name === "a"), precision);
    }
  });
});
