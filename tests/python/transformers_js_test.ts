/**
 * The folder of `--layout transformers.js`, made of a trained sentence encoder: transformers.js loads
 * every dtype in it, external data too, and its vectors are compared with PyTorch's.
 */
import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { type Dtype, writeTransformersJsLayout } from "../../src/layout/transformers_js.ts";
import { run } from "../../src/process.ts";
import { ALL_MINILM, pythonPath, ROOT, TRANSFORMERS_JS } from "../install.ts";
import { pairCosines, rankCorrelation, SENTENCES } from "../sentence_pairs.ts";

const HANDED_ON = ["HOME", "PATH", "DENO_DIR", "LANG", "TMPDIR"];

/** Runs a program that answers one line of JSON by another. */
async function ask(
  program: string,
  args: readonly string[],
  request: unknown,
  cwd = ROOT,
): Promise<unknown> {
  const { code, stdout, stderr } = await run({
    program,
    args,
    cwd,
    inheritEnv: HANDED_ON,
    env: { HF_HUB_OFFLINE: "1", ORT_DISABLE_TELEMETRY: "1" },
    stdin: `${JSON.stringify(request)}\n`,
    install: "Run the tests with: deno task test",
  });
  assert.equal(code, 0, stderr);
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** What transformers.js says of the sentences. */
interface Loaded {
  readonly vectors: number[][];
  /** How it opened the model. */
  readonly sessions: readonly { readonly dtype: string; readonly device: string }[];
}

/** Loads the folder `folder` with transformers.js, which may read it and nothing else of the tests. */
async function load(folder: string, dtype: Dtype | null): Promise<Loaded> {
  const child = `${ROOT}/tests/transformers_js/child.ts`;
  return await ask(
    "deno",
    [
      ...["run", "-q", "--no-prompt", "--no-check", "--frozen"],
      ...["--config", `${TRANSFORMERS_JS}/deno.json`, `--allow-ffi=${TRANSFORMERS_JS}`],
      ...[
        `--allow-read=${TRANSFORMERS_JS},${folder},${child}`,
        "--allow-env",
        "--allow-sys",
        child,
      ],
    ],
    { models: `${join(folder, "..")}/`, name: basename(folder), dtype, sentences: SENTENCES },
    TRANSFORMERS_JS,
  ) as Loaded;
}

/** Exports the trained model to `output` by the command line. */
async function exportModel(output: string): Promise<void> {
  const { code, stderr } = await run({
    program: "deno",
    args: [
      ...["run", "-q", "--no-prompt", "--frozen", "-P=convert-python"],
      `--allow-run=uv,bwrap,${pythonPath("pytorch")}`,
      ...[`${ROOT}/main.ts`, "convert", "--source", ALL_MINILM, "--source-format", "pytorch"],
      ...["--target-format", "onnx", "--precision", "float32", "--no-verify", "--output", output],
      ...["--python", pythonPath("pytorch")],
    ],
    cwd: ROOT,
    inheritEnv: HANDED_ON,
    install: "Run the tests with: deno task test",
  });
  assert.equal(code, 0, stderr);
}

const silent = { progress: () => {}, stage: () => {}, warn: () => {}, note: () => {} };
const { signal } = new AbortController();

/**
 * Lowest rank correlation of the 20 cosines with PyTorch's. 2 bits without calibration are not asked
 * for more than to have kept most of the order.
 */
const BARS = { fp32: 0.9999, fp16: 0.999, q8: 0.999, q4: 0.95, q4f16: 0.95, q2: 0.8, q2f16: 0.8 };

Deno.test("transformers.js loads every dtype of a trained model and ranks sentences alike", async (t) => {
  const scratch = await Deno.makeTempDir();
  const model = `${scratch}/float32.onnx`;
  await exportModel(model);
  const wanted = pairCosines(
    await ask(
      pythonPath("pytorch"),
      [`${ROOT}/tests/python/embed_sentences.py`],
      { folder: ALL_MINILM, sentences: SENTENCES },
    ) as number[][],
  );
  const dtypes = Object.keys(BARS) as (keyof typeof BARS)[];
  const models = [{ path: model, role: "model" }] as const;
  const source = { source: ALL_MINILM, models, engine: "wasm" } as const;
  const folder = `${scratch}/minilm`;
  const written = await writeTransformersJsLayout(
    { ...source, output: folder, dtypes },
    silent,
    signal,
  );
  assert.deepEqual(written.models.map(({ dtype }) => dtype), dtypes);
  for (const { verification } of written.models) assert.deepEqual(verification?.failures, []);

  for (const dtype of dtypes) {
    await t.step(dtype, async () => {
      const { vectors, sessions } = await load(folder, dtype);
      assert.deepEqual(sessions, [{ dtype, device: "cpu" }]);
      const correlation = rankCorrelation(wanted, pairCosines(vectors));
      assert.ok(correlation >= BARS[dtype], `rank correlation ${correlation}`);
    });
  }

  await t.step("the float32 vectors are PyTorch's", async () => {
    const got = pairCosines((await load(folder, "fp32")).vectors);
    const worst = Math.max(...got.map((value, index) => Math.abs(value - wanted[index]!)));
    assert.ok(worst < 1e-5, `off by ${worst}`);
  });

  await t.step("a folder without float32 names what is loaded instead", async () => {
    const output = `${scratch}/small`;
    const request = { ...source, output, dtypes: ["q4"], verify: false } as const;
    await writeTransformersJsLayout(request, silent, signal);
    assert.deepEqual((await load(output, null)).sessions, [{ dtype: "q4", device: "cpu" }]);
  });

  await t.step("weights in several data files are found", async () => {
    const output = `${scratch}/split`;
    const { files } = await writeTransformersJsLayout(
      {
        ...source,
        output,
        dtypes: ["fp32", "q4"],
        verify: false,
        modelFileBytes: 20_000_000,
        dataFileBytes: 30_000_000,
      },
      silent,
      signal,
    );
    const data = files.filter((name) => name.startsWith("onnx/model.onnx_data"));
    assert.ok(data.length > 2, data.join());
    const numbered = data.map((_, index) =>
      `onnx/model.onnx_data${index === 0 ? "" : `_${index}`}`
    );
    assert.deepEqual(data, numbered);
    assert.ok(files.includes("onnx/model_q4.onnx") && !files.includes("onnx/model_q4.onnx_data"));
    const config = JSON.parse(await Deno.readTextFile(`${output}/config.json`));
    assert.deepEqual(config["transformers.js_config"].use_external_data_format, {
      "model.onnx": data.length,
    });
    const got = pairCosines((await load(output, "fp32")).vectors);
    assert.ok(rankCorrelation(wanted, got) > 0.9999);
  });
});
