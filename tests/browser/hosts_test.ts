/**
 * Modules where people use them: under a strict policy, in a worker, built by Vite, imported where there
 * is no WebGPU; and what TypeScript makes of their declarations.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { declarations } from "../../src/codegen/declarations.ts";
import { VITE } from "../install.ts";
import { withFolder } from "../unit/onnx_models.ts";
import { closePage, openPage, type WatchedPage, withBrowser, withPolicy } from "./browser.ts";
import { scaling, writeModule } from "./modules.ts";

/** What a page needs to use a module, and nothing else. */
const STRICT = "default-src 'none'; script-src 'self'; connect-src 'self'; worker-src 'self'";

/** A script that runs the module on ones and tells the sum, in a page or in a worker. */
const USE = `import { load } from "./scale.js";
const model = await load();
const data = new Float32Array(128).fill(1);
const { y } = await model.run({ x: { data, dims: [2, 64] } });
const sum = y.data.reduce((sum, value) => sum + value, 0);
const buffers = model.stats().buffers;
model.dispose();
`;
/** Of 2 rows of i / 8 + 1 for i to 63. */
const SUM = 2 * (64 * 63 / 2 / 8 + 64);

const IN_PAGE = `${USE}
document.getElementById("page").textContent = \`\${sum} \${buffers > 0}\`;
`;
const IN_WORKER = `${USE}
postMessage(\`\${sum} \${buffers > 0} \${typeof document}\`);
`;
const MAIN = `import "./in_page.js";
const worker = new Worker(new URL("./in_worker.js", import.meta.url), { type: "module" });
worker.addEventListener("message", ({ data }) => {
  document.getElementById("worker").textContent = data;
});
`;
const HTML = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>A person's page</title>
<link rel="icon" href="data:,">
<output id="page"></output>
<output id="worker"></output>
<script type="module" src="./main.js"></script>
</html>
`;

/** Writes a page of a person's own that uses a module itself and in a worker. */
async function writeProject(folder: string): Promise<void> {
  await writeModule(folder, scaling("scale"));
  const files = { "in_page.js": IN_PAGE, "in_worker.js": IN_WORKER, "main.js": MAIN };
  for (const [name, text] of Object.entries(files)) {
    await Deno.writeTextFile(join(folder, name), text);
  }
  await Deno.writeTextFile(join(folder, "index.html"), HTML);
}

async function checkResults(watched: WatchedPage): Promise<void> {
  const text = async (id: string) => {
    await watched.page.waitForSelector(`#${id}:not(:empty)`, { timeout: 30_000 }).catch(() => {
      assert.fail(`no result in the ${id}: ${watched.complaints.join("; ")}`);
    });
    return await watched.page.innerText(`#${id}`);
  };
  assert.equal(await text("page"), `${SUM} true`);
  assert.equal(await text("worker"), `${SUM} true undefined`);
  // Nothing here asked for isolation.
  assert.equal(await watched.page.evaluate("crossOriginIsolated"), false);
}

Deno.test("a module runs in a page and in a worker under a strict policy", async () => {
  await withFolder(async (folder) => {
    await writeProject(folder);
    await withBrowser((browser) =>
      withPolicy(folder, `${STRICT}; img-src data:`, async (address) => {
        const watched = await openPage(browser, address);
        await checkResults(watched);
        await closePage(watched);
      })
    );
  });
});

Deno.test("a policy that forbids them is seen to forbid", async () => {
  await withFolder(async (folder) => {
    await writeProject(folder);
    await withBrowser((browser) =>
      withPolicy(folder, "default-src 'none'; script-src 'self'", async (address) => {
        const { page, complaints } = await openPage(browser, address);
        await page.waitForTimeout(2000);
        assert.equal(await page.innerText("#page"), "");
        assert.match(complaints.join("\n"), /Content Security Policy|connect-src/);
        await page.context().close();
      })
    );
  });
});

Deno.test("a module built by Vite runs in a page and in a worker", async () => {
  await withFolder(async (outer) => {
    const folder = join(outer, "project");
    await Deno.mkdir(folder);
    await writeProject(folder);
    await Deno.writeTextFile(
      join(folder, "vite.config.js"),
      `export default { base: "./", worker: { format: "es" }, build: { assetsInlineLimit: 0 } };`,
    );
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-all", "--quiet", `${VITE}/node_modules/vite/bin/vite.js`]
        .concat("build", folder, "--logLevel", "warn"),
      cwd: VITE,
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    const built = [...Deno.readDirSync(join(folder, "dist", "assets"))].map(({ name }) => name);
    assert.ok(built.some((name) => name.endsWith(".safetensors")), built.join(", "));
    await withBrowser((browser) =>
      withPolicy(join(folder, "dist"), `${STRICT}; img-src data:`, async (address) => {
        const watched = await openPage(browser, address);
        await checkResults(watched);
        await closePage(watched);
      })
    );
  });
});

Deno.test("an import alone touches nothing, and without WebGPU loading says what is missing", async () => {
  await withFolder(async (folder) => {
    await writeModule(folder, scaling("scale"));
    const script = join(folder, "render.js");
    await Deno.writeTextFile(
      script,
      `// Every look at the machine is an error: what runs on a server has no GPU, page or network.
const before = Object.getOwnPropertyNames(globalThis).sort().join();
const touched = [];
for (const name of ["navigator", "fetch", "caches", "document", "crypto", "Worker", "setTimeout"]) {
  Object.defineProperty(globalThis, name, {
    configurable: true,
    get() { touched.push(name); return undefined; },
  });
}
const names = Object.getOwnPropertyNames(globalThis).sort().join();
const { load } = await import("./scale.js");
const added = Object.getOwnPropertyNames(globalThis).sort().join() !== names;
const after = touched.join();
let message = "";
try { await load(); } catch (error) { message = error.message; }
console.log(JSON.stringify({ kind: typeof load, added, after, message, before: before.length > 0 }));
`,
    );
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", "--no-config", script],
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    const { message, ...told } = JSON.parse(new TextDecoder().decode(stdout));
    assert.deepEqual(told, { kind: "function", added: false, after: "", before: true });
    assert.match(message, /WebGPU/);
  });
});

Deno.test("declarations name inputs, dtypes and fixed dimensions", async () => {
  await withFolder(async (folder) => {
    await Deno.writeTextFile(
      join(folder, "model.d.ts"),
      declarations([
        { name: "input_ids", dtype: "int64", dims: ["batch", 4] },
        { name: "it's \"*/ `${x}`", dtype: "float16", dims: [] },
      ], [
        { name: "logits", dtype: "float32", dims: ["batch", null, 2] },
        { name: "__proto__", dtype: "bool", dims: ["batch"] },
      ]),
    );
    await Deno.writeTextFile(join(folder, "model.js"), "export const load = null;\n");
    /** A program that must type-check, but for the lines that end in "// wrong". */
    const program = `// @ts-types="./model.d.ts"
import { load, type Model } from "./model.js";
const half = 'it\\'s "*/ \`\${x}\`';
const controller = new AbortController();
const model: Model = await load({
  weights: new URL("https://example.invalid/w"),
  cache: true,
  signal: controller.signal,
  onProgress: ({ stage, loaded, total }) => console.log(stage === "weights", loaded / total),
});
const first: "input_ids" = model.inputs[0].name;
const dims: readonly ["batch", 4] = model.inputs[0].dims;
const ids = { data: new BigInt64Array(4), dims: [1, 4] } as const;
const outputs = await model.run({ input_ids: ids, [half]: 1 } as const);
const data: Float32Array = outputs.logits.data;
const two: 2 = outputs.logits.dims[2];
const bits: Uint8Array = outputs["__proto__"].data;
const kept = await model.run({ input_ids: [[1n, 2n, 3n, 4n]], [half]: 0.5 } as const, {
  gpuOutputs: ["logits"],
});
const again = { input_ids: { buffer: kept.logits.buffer, dims: [1, 4] }, [half]: 1 } as const;
await model.run(again, { signal: controller.signal });
kept.logits.dispose();
console.log(first, dims, data, two, bits, kept["__proto__"].data, model.stats().times.total);
model.dispose();
model.run({ input_id: ids, [half]: 1 } as const); // wrong
model.run({ input_ids: { data: new Float32Array(4), dims: [1, 4] }, [half]: 1 } as const); // wrong
model.run({ input_ids: { data: new BigInt64Array(4), dims: [1, 5] }, [half]: 1 } as const); // wrong
model.run({ input_ids: ids, [half]: 1 } as const, { gpuOutputs: ["logit"] }); // wrong
kept.logits.data; // wrong
outputs.nothing; // wrong
`;
    const path = join(folder, "program.ts");
    await Deno.writeTextFile(path, program);
    await Deno.writeTextFile(
      join(folder, "deno.json"),
      JSON.stringify({ compilerOptions: { strict: true, exactOptionalPropertyTypes: true } }),
    );
    const check = async () => {
      const { success, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["check", "--quiet", path],
        env: { NO_COLOR: "1" },
        cwd: folder,
      }).output();
      return { success, text: new TextDecoder().decode(stderr) };
    };
    const wrong = await check();
    assert.equal(wrong.success, false);
    const lines = program.split("\n");
    const expected = lines.flatMap((line, index) => line.endsWith("// wrong") ? [index + 1] : []);
    const found = [...wrong.text.matchAll(/program\.ts:(\d+):\d+/g)].map(([, line]) =>
      Number(line)
    );
    assert.deepEqual([...new Set(found)].sort((a, b) => a - b), expected, wrong.text);
    await Deno.writeTextFile(path, lines.filter((line) => !line.endsWith("// wrong")).join("\n"));
    const right = await check();
    assert.ok(right.success, right.text);
  });
});
