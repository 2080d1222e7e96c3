/**
 * Prints rows, as a JSON line: from opening a page to its first result, in Chromium on SwiftShader: a page with a module against
 * one with onnxruntime-web's WebGPU provider, the same model and the same inputs, in turns. Nothing
 * is cached: each page has a context of its own.
 */
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import { encodeJson } from "../../src/codegen/encode.ts";
import { FolderServer } from "../../src/cli/serve_files.ts";
import type { HostTensor } from "../../src/verify/values.ts";
import { loadRuntime, openSession } from "../../src/verify/runtime.ts";
import { CHROMIUM, ensureChromium, ROOT } from "../../tests/install.ts";
import { REAL_MODELS } from "../../tests/real_models.ts";
import { inTurns, notMeasured, type Row } from "../harness.ts";
import { compileInto } from "./compiled.ts";
import { measuredInputs } from "./inputs.ts";

const BAR = 0.4;
const TURNS = 3;
const TIMEOUT = 180_000;
const MEASURED = ["minilm", "classifier"] as const;
const VERSION = "1.30.0";
const RIVAL =
  `${ROOT}/node_modules/.deno/onnxruntime-web@${VERSION}/node_modules/onnxruntime-web/dist`;
/** What a page with onnxruntime-web's WebGPU provider fetches. */
const RIVAL_FILES = [
  "ort.webgpu.min.mjs",
  "ort-wasm-simd-threaded.asyncify.mjs",
  "ort-wasm-simd-threaded.asyncify.wasm",
] as const;

/** Script of a page that says how long its first result took since its opening, or what failed. */
function page(script: string): string {
  return `<!doctype html><meta charset="utf-8"><title>first result</title><script type="module">
try {
${script}
  document.title = JSON.stringify({ milliseconds: performance.now() });
} catch (error) {
  document.title = JSON.stringify({ failure: String(error) });
}
</script>`;
}

/** Statements that make `inputs`: data and dims by name, in typed arrays. */
function inputStatements(feeds: ReadonlyMap<string, HostTensor>): string {
  return [...feeds].map(([name, { dtype, dims, data }]) => {
    const [array, values] = dtype === "int64"
      ? ["BigInt64Array", `${encodeJson([...data].map(String))}.map(BigInt)`]
      : ["Float32Array", encodeJson([...data].map(Number))];
    return `inputs[${encodeJson(name)}] = { dtype: "${dtype}", dims: ${encodeJson(dims)}, ` +
      `data: ${array}.from(${values}) };`;
  }).join("\n");
}

/** Writes both pages and what they load into `folder`. */
async function writePages(
  folder: string,
  path: string,
  feeds: ReadonlyMap<string, HostTensor>,
): Promise<void> {
  await compileInto(path, folder);
  await Deno.copyFile(path, join(folder, "model.onnx"));
  for (const name of RIVAL_FILES) await Deno.copyFile(join(RIVAL, name), join(folder, name));
  const inputs = `const inputs = {};\n${inputStatements(feeds)}`;
  await Deno.writeTextFile(
    join(folder, "ours.html"),
    page(`  const { load } = await import("./model.js");
${inputs}
  const model = await load();
  await model.run(inputs);`),
  );
  await Deno.writeTextFile(
    join(folder, "rival.html"),
    page(`  const ort = await import("./ort.webgpu.min.mjs");
${inputs}
  ort.env.wasm.numThreads = 1;
  const options = { executionProviders: ["webgpu"] };
  const session = await ort.InferenceSession.create("model.onnx", options);
  const feeds = {};
  for (const [name, { dtype, dims, data }] of Object.entries(inputs)) {
    feeds[name] = new ort.Tensor(dtype, data, dims);
  }
  const results = await session.run(feeds);
  for (const result of Object.values(results)) await result.getData();`),
  );
}

/** Seconds from opening `address` to its first result. */
async function firstResult(browser: Browser, address: string): Promise<number> {
  const context = await browser.newContext();
  try {
    const opened = await context.newPage();
    await opened.goto(address);
    await opened.waitForFunction('document.title.startsWith("{")', null, { timeout: TIMEOUT });
    const answer: { milliseconds?: number; failure?: string } = JSON.parse(await opened.title());
    if (answer.milliseconds === undefined) throw new Error(answer.failure);
    return answer.milliseconds / 1000;
  } finally {
    await context.close();
  }
}

async function rowOf(browser: Browser, label: typeof MEASURED[number]): Promise<Row> {
  const name = `from opening a page to its first result, ${label}, against onnxruntime-web`;
  const bar = `at most ${BAR} of its time`;
  const { path } = REAL_MODELS.find((real) => real.label === label)!;
  const folder = `${ROOT}/.cache/bench/webgpu-page-${label}`;
  await Deno.mkdir(folder, { recursive: true });
  let feeds: ReadonlyMap<string, HostTensor>;
  {
    await using session = await openSession(await loadRuntime(), path, "cpu");
    feeds = await measuredInputs({ label, path }, session);
  }
  await writePages(folder, path, feeds);
  const files = new FolderServer(folder, "127.0.0.1");
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      const response = await files.answer(request);
      response.headers.delete("content-security-policy");
      return response;
    },
  );
  try {
    const address = (file: string) => `http://127.0.0.1:${server.addr.port}/${file}`;
    const pair = await inTurns(
      TURNS,
      () => firstResult(browser, address("ours.html")),
      () => firstResult(browser, address("rival.html")),
    );
    const ratio = 1 / pair.ratio;
    return {
      name,
      ours: pair.ours,
      rival: pair.rival,
      unit: "s",
      ratio,
      bar,
      pass: ratio <= BAR,
      note: `Chromium, onnxruntime-web ${VERSION}'s WebGPU provider, the loopback; ${TURNS} turns`,
    };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { ...notMeasured(name, bar, reason), pass: false };
  } finally {
    await server.shutdown();
    await Deno.remove(folder, { recursive: true });
  }
}

await ensureChromium();
const browser = await chromium.launch({
  executablePath: CHROMIUM,
  headless: true,
  args: ["--enable-unsafe-webgpu", "--no-sandbox"],
});
const rows: Row[] = [];
try {
  for (const label of MEASURED) rows.push(await rowOf(browser, label));
} finally {
  await browser.close();
}
console.log(JSON.stringify(rows));
