/** Names are data: pages of models whose every name is an injection run, and nothing else happens. */
import assert from "node:assert/strict";
import { join } from "node:path";
import fc from "fast-check";
import { declarations } from "../../src/codegen/declarations.ts";
import { encodeHtml, encodeJson } from "../../src/codegen/encode.ts";
import { NO_ASSETS, type PageAssets } from "../../src/codegen/page/assets.ts";
import { buildPage } from "../../src/codegen/page/mod.ts";
import { convert } from "../../mod.ts";
import { makeGraph, makeModel, makeNode, makeValueInfo } from "../../src/ir.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import { floats } from "../encoding_models.ts";
import { withFolder } from "../unit/onnx_models.ts";
import {
  closePage,
  openPage,
  takeScreenshot,
  untilReady,
  withBrowser,
  withServeCommand,
} from "./browser.ts";
import { colors, lookup, scaling, wordTokenizer, writeModule } from "./modules.ts";

const NAMES: readonly string[] = [
  `</script><img src=x onerror=alert(1)>`,
  `<!--<script>alert(1)</script>`,
  `"><svg onload=alert(1)>`,
  `';alert(1);//`,
  `\\';alert(1);//`,
  "`${alert(1)}`",
  `*/alert(1);/*`,
  `\n\r\u2028\u2029alert(1)`,
  `__proto__`,
  `constructor`,
  `javascript:alert(1)`,
  `\u0000\u202e\ud800`,
  `]]>&lt;img src=x onerror=alert(1)&gt;`,
  ``,
];

/** A name that a file system takes and an address must encode. */
const FILE = `it's <b>"&\`\${alert(1)}%20#?+;`;

/** What is not there unless something of a name was parsed. */
const PARSED = "img, svg, b, body script, iframe, [onload], [onerror]";

Deno.test("a page whose every name is an injection runs", async () => {
  await withFolder(async (folder) => {
    for (const [index, name] of NAMES.entries()) {
      const file = index === 0 ? FILE : `model ${index}`;
      const dim = name === "" ? "n" : name;
      await writeModule(folder, scaling(file, { input: name, output: name, batch: dim }));
    }
    await withBrowser((browser) =>
      withServeCommand(folder, async (address) => {
        for (const [index, name] of NAMES.entries()) {
          const file = index === 0 ? FILE : `model ${index}`;
          const watched = await openPage(browser, `${address}${encodeURIComponent(file)}.html`);
          const { page } = watched;
          await untilReady(watched);
          assert.equal(await page.title(), file);
          await page.getByRole("button", { name: "Ones", exact: true }).click();
          await page.getByRole("button", { name: "Run", exact: true }).click();
          await page.waitForSelector(".output td", { timeout: 10_000 }).catch(async () => {
            assert.fail(`${JSON.stringify(name)}: ${await page.innerText("main")}`);
          });
          const heading = await page.textContent(".output h3");
          assert.equal(heading?.toWellFormed(), name.toWellFormed());
          const legend = await page.locator("fieldset legend").last().textContent();
          assert.equal(legend?.toWellFormed(), name.toWellFormed());
          const cells = await page.locator(".output tbody td").allInnerTexts();
          assert.deepEqual(cells.slice(0, 3), ["1", "1.125", "1.25"]);
          // The two scripts that the page was made with, and no element of a name.
          assert.equal(await page.locator(PARSED).count(), 2, name);
          if (index === 0) await takeScreenshot(watched, "names");
          await closePage(watched);
        }
      })
    );
  });
});

Deno.test("a conversion's files run under any name", async () => {
  const names = [
    "two words",
    `it's "quoted" <b>`,
    "größe 模型 🙂",
    "a#b?c%20d%&e+f,g;h=i@j",
    "-dash...",
  ];
  const graph = makeGraph("g", {
    nodes: [makeNode("Mul", "", ["x", "w"], ["y"])],
    initializers: [floats("w", [64])],
    inputs: [makeValueInfo("x", "float32", ["batch", 64])],
    outputs: [makeValueInfo("y", "float32", ["batch", 64])],
  });
  await withFolder(async (folder) => {
    const modelPath = join(folder, "model.onnx");
    await writeModel(makeModel(modelPath, 8, new Map([["", 17]]), graph), modelPath);
    for (const name of names) {
      const outputPath = join(folder, `${name}.js`);
      const result = await convert({ modelPath, outputPath, targetFormat: "webgpu" });
      assert.ok(result.success, String(result.error));
    }
    await withBrowser((browser) =>
      withServeCommand(folder, async (address) => {
        const list = await openPage(browser, address);
        const links = await list.page.getByRole("link").all();
        assert.equal(links.length, names.length);
        const hrefs = await Promise.all(links.map((link) => link.getAttribute("href")));
        await closePage(list);
        for (const href of hrefs) {
          const watched = await openPage(browser, new URL(href!, address).href);
          const { page } = watched;
          await untilReady(watched);
          assert.ok(names.includes(await page.title()));
          await page.getByRole("button", { name: "Ones", exact: true }).click();
          await page.getByRole("button", { name: "Run", exact: true }).click();
          await page.waitForSelector(".output td", { timeout: 10_000 });
          await closePage(watched);
        }
      })
    );
  });
});

Deno.test("labels and words are data too", async () => {
  const json = (entries: Record<string, unknown>): PageAssets => ({
    json: new Map(Object.entries(entries)),
    keys: null,
  });
  const [script, image] = [NAMES[0]!, NAMES[2]!];
  const labels = json({
    "config.json": { id2label: { 0: script, 1: image, 2: "__proto__" } },
    "preprocessor_config.json": { size: 16 },
  });
  const words = json({
    "tokenizer.json": wordTokenizer([script.toLowerCase(), "__proto__", "</script>"]),
    "config.json": { architectures: ["TinyForCausalLM"] },
  });
  // Long labels lie in a file beside the page.
  const long = json({
    "config.json": { id2label: { 0: script, 1: image, 2: "</script>".repeat(10_000) } },
    "preprocessor_config.json": { size: 16 },
  });
  await withFolder(async (folder) => {
    await writeModule(folder, colors("labels", labels));
    await writeModule(folder, colors("long", long));
    await writeModule(folder, lookup("words", { rows: 5, columns: 5, output: "logits" }, words));
    assert.ok(Deno.statSync(join(folder, "long.page.json")).size > 90_000);
    assert.ok(Deno.statSync(join(folder, "long.html")).size < 90_000);
    await withBrowser((browser) =>
      withServeCommand(folder, async (address) => {
        for (const name of ["labels", "long", "words"]) {
          const watched = await openPage(browser, `${address}${name}.html`);
          const { page } = watched;
          await untilReady(watched);
          if (name === "words") {
            await page.getByLabel("Text").fill("x");
            await page.getByRole("button", { name: "Next token" }).click();
          } else await page.setInputFiles(".drop input", join("fixtures", "line.png"));
          await page.locator(".ranking").waitFor();
          const shown = await page.locator(".ranking .name").allTextContents();
          const wanted = name === "words" ? JSON.stringify(script.toLowerCase()) : script;
          assert.ok(shown.includes(wanted), shown.join("\n").slice(0, 500));
          assert.equal(await page.locator(PARSED).count(), 2);
          await closePage(watched);
        }
      })
    );
  });
});

Deno.test("whatever is encoded is read back, and ends nothing around it", async () => {
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom(...NAMES),
    fc.string({ unit: fc.constantFrom(..."<>/*!-&\"'`${}\\\u2028scriptu".split("")) }),
  );
  fc.assert(
    fc.property(text, (name) => {
      const encoded = encodeJson({ name, list: [name] });
      assert.deepEqual(JSON.parse(encoded), { name, list: [name] });
      assert.deepEqual(new Function(`return (${encoded});`)(), { name, list: [name] });
      assert.doesNotMatch(encoded, /[<>&`$\u2028\u2029]|\*\//);
      assert.doesNotMatch(encodeHtml(name), /[<>"'`]|&(?!#\d+;)/);
    }),
    { numRuns: 2000 },
  );
  const value = (name: string) => ({ name, dtype: "float32", dims: [name, 4] } as const);
  const pageOf = async (name: string) => {
    const values = [value(name)];
    return (await buildPage({ name, inputs: values, outputs: values, assets: NO_ASSETS })).html;
  };
  // An element and a comment begin in a page only where its maker began one.
  const marks = (html: string) => html.match(/<[/!a-z]/gi)!.join();
  const plain = marks(await pageOf("x"));
  await fc.assert(
    fc.asyncProperty(text, async (name) => assert.equal(marks(await pageOf(name)), plain)),
    { numRuns: 200 },
  );
  await withFolder(async (folder) => {
    const names = [...new Set([...NAMES, ...fc.sample(text, { numRuns: 50, seed: 7 })])];
    const path = join(folder, "model.d.ts");
    await Deno.writeTextFile(path, declarations(names.map(value), names.map(value)));
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["check", "--quiet", path],
      cwd: folder,
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
  });
});
