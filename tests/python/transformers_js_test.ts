/**
 * The folder of `--layout transformers.js`: transformers.js loads every dtype of a trained sentence
 * encoder, external data too, and its vectors are compared with PyTorch's; and it lets a decoder,
 * exported and laid out by one command, write what PyTorch writes.
 */
import assert from "node:assert/strict";
import { basename, dirname } from "node:path";
import { pathToFileURL } from "node:url";
import { type Dtype, writeTransformersJsLayout } from "../../src/layout/transformers_js.ts";
import { DTYPES } from "../../src/layout/dtypes.ts";
import { loadRuntime, openSession } from "../../src/verify/runtime.ts";
import { toFloat64 } from "../../src/verify/values.ts";
import { run } from "../../src/process.ts";
import { ALL_MINILM, pythonPath, ROOT, TRANSFORMERS_JS } from "../install.ts";
import { PRINTED } from "../json_schema.ts";
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

/** Runs `program` with transformers.js, which may read `folder` and nothing else of the tests. */
async function inTransformersJs(
  program: "embed.ts" | "generate.ts",
  folder: string,
  request: Readonly<Record<string, unknown>>,
): Promise<unknown> {
  const path = `${ROOT}/tests/transformers_js/${program}`;
  return await ask(
    "deno",
    [
      ...["run", "-q", "--no-prompt", "--no-check", "--frozen"],
      ...["--config", `${TRANSFORMERS_JS}/deno.json`, `--allow-ffi=${TRANSFORMERS_JS}`],
      ...[`--allow-read=${TRANSFORMERS_JS},${folder},${path}`, "--allow-env", "--allow-sys", path],
    ],
    { models: `${dirname(folder)}/`, name: basename(folder), ...request },
    TRANSFORMERS_JS,
  );
}

/** What the encoder in `folder` says of the sentences. */
async function load(folder: string, dtype: Dtype | null): Promise<Loaded> {
  const request = { dtype, sentences: SENTENCES };
  return await inTransformersJs("embed.ts", folder, request) as Loaded;
}

/** The first output of each of `files` in onnxruntime-web, for a text of these tokens. */
async function runInWeb(files: readonly string[], ids: readonly number[]): Promise<number[][]> {
  const packages = `${TRANSFORMERS_JS}/node_modules/.deno`;
  const [version] = [...Deno.readDirSync(packages)].map(({ name }) => name)
    .filter((name) => name.startsWith("onnxruntime-web@"));
  const library = `${packages}/${version}/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs`;
  const program = `${ROOT}/tests/transformers_js/web.ts`;
  return await ask(
    "deno",
    [
      ...["run", "-q", "--no-prompt", "--no-check", "--no-config", "--allow-env"],
      ...[`--allow-read=${[TRANSFORMERS_JS, program, ...files].join(",")}`, program],
      pathToFileURL(library).href,
    ],
    { files, ids },
    TRANSFORMERS_JS,
  ) as number[][];
}

/** The same in onnxruntime-node. */
async function runInNode(file: string, ids: readonly number[]): Promise<number[]> {
  const runtime = await loadRuntime();
  await using session = await openSession(runtime, file, "cpu");
  const fill: Readonly<Record<string, number | undefined>> = {
    attention_mask: 1,
    token_type_ids: 0,
  };
  const feeds = new Map(session.inputs.map(({ name }) => {
    const data = BigInt64Array.from(ids, (id) => BigInt(fill[name] ?? id));
    return [name, { dtype: "int64", dims: [1, ids.length], data }] as const;
  }));
  const [output] = session.outputs;
  const results = await session.run(feeds, [output!.name]);
  return Array.from(toFloat64(results.get(output!.name)!));
}

function relativeL2(wanted: readonly number[], got: readonly number[]): number {
  assert.equal(got.length, wanted.length);
  const noise = wanted.reduce((sum, value, index) => sum + (value - got[index]!) ** 2, 0);
  return Math.sqrt(noise / wanted.reduce((sum, value) => sum + value ** 2, 0));
}

/** Runs `modelcast convert` on the Hugging Face folder `source`. */
async function convert(source: string, output: string, options: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await run({
    program: "deno",
    args: [
      ...["run", "-q", "--no-prompt", "--frozen", "-P=convert-python"],
      `--allow-run=uv,bwrap,deno,${pythonPath("pytorch")}`,
      ...[`${ROOT}/main.ts`, "convert", "--source", source, "--output", output, "--json"],
      ...["--python", pythonPath("pytorch"), ...options],
    ],
    cwd: ROOT,
    inheritEnv: HANDED_ON,
    install: "Run the tests with: deno task test",
  });
  assert.equal(code, 0, stderr);
  PRINTED.parse(JSON.parse(new TextDecoder().decode(stdout)));
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
  const format = ["--source-format", "pytorch", "--target-format", "onnx", "--task", "base"];
  await convert(ALL_MINILM, model, [...format, "--precision", "float32", "--no-verify"]);
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

  await t.step("onnxruntime-web's WebAssembly computes what onnxruntime-node does", async () => {
    const files = written.models.map(({ conversion }) => conversion.files[0]!.path);
    const ids = [101, 7592, 2088, 2003, 1037, 2307, 2173, 102];
    const web = await runInWeb(files, ids);
    for (const [index, file] of files.entries()) {
      const node = await runInNode(file, ids);
      const distance = relativeL2(node, web[index]!);
      // Two builds add in another order; float16 rounds what they add up differently.
      const bar = DTYPES[written.models[index]!.dtype].suffix.includes("16") ? 1e-2 : 1e-4;
      assert.ok(distance < bar, `${basename(file)}: ${distance}`);
    }
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

Deno.test("transformers.js writes what PyTorch writes, with the decoder's cache", async () => {
  const scratch = await Deno.makeTempDir();
  const source = `${scratch}/gpt2`;
  const [prompt, tokens] = [[5, 17, 80, 3], 16];
  const wanted = await ask(
    pythonPath("pytorch"),
    [`${ROOT}/tests/python/write_on.py`],
    { folder: source, prompt, tokens },
  );
  const output = `${scratch}/decoder`;
  const dtypes: Dtype[] = ["fp32", "fp16", "q8"];
  await convert(source, output, ["--layout", "transformers.js", "--dtypes", dtypes.join()]);
  for (const dtype of dtypes) {
    const got = await inTransformersJs("generate.ts", output, { dtype, prompt, tokens });
    assert.deepEqual(got, wanted, dtype);
  }
});
