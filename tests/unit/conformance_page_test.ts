/** The page of the conformance tests: made from the record, readable as Markdown, and up to date. */
import assert from "node:assert/strict";
import { renderPage } from "../../conformance/page.ts";
import { type Entry, PAGE, readRecord } from "../../conformance/record.ts";
import { summarize } from "../../conformance/summary.ts";
import type { Result } from "../../conformance/run_case.ts";

const result = (name: string, parts: Partial<Result>): Result => ({
  name,
  operator: "Add",
  status: "passed",
  reason: null,
  hostNodes: [],
  relativeL2: null,
  seconds: 1,
  ...parts,
});

const entry = (...results: Result[]): Entry => summarize(results, []);

Deno.test("every test that does not pass stands there with its reason", () => {
  const page = renderPage({
    nodes: {
      lavapipe: entry(
        result("test_add", {}),
        result("test_wrong", { status: "failed", reason: 'output "y" is <b>|`wrong`*' }),
        result("test_host", { operator: "NonZero", hostNodes: ["NonZero"] }),
        result("test_text", { status: "not numeric", reason: 'input "x" is of string' }),
      ),
      swiftshader: entry(
        result("test_add", { status: "unsupported", reason: "it can't be" }),
        result("test_wrong", { status: "failed", reason: "another reason" }),
        result("test_host", { operator: "NonZero", hostNodes: ["NonZero"] }),
      ),
    },
    models: { lavapipe: entry(result("bert.4bit", { relativeL2: 1.26e-5 })) },
  });
  const rows = page.split("\n").filter((line) => line.startsWith("|"))
    .map((line) => line.replace(/ +/g, " "));
  for (
    const row of [
      "| lavapipe | 3 | 2 | 1 | 1 | 0 |",
      "| SwiftShader | 3 | 1 | 0 | 1 | 1 |",
      '| `test_wrong` | lavapipe: output "y" is \\<b\\>\\|\\`wrong\\`\\* |',
      "| `test_wrong` | SwiftShader: another reason |",
      "| `test_add` | SwiftShader: unsupported: it can't be |",
      "| NonZero | 1 | `test_host` |",
      "| Add | 2 | 1 | 1 | 0 | 0 |",
      '| `test_text` | input "x" is of string |',
      "| bert | lavapipe | | | | 1.3e-5 | | |",
    ]
  ) assert.ok(rows.includes(row), `${row} is not among\n${rows.join("\n")}`);
});

Deno.test("the page is what the record says", async () => {
  const record = await readRecord();
  assert.ok(record.nodes?.lavapipe !== undefined, "nothing is recorded");
  assert.equal(
    await Deno.readTextFile(PAGE),
    renderPage(record),
    "write it anew with: deno task conformance ... --record nodes",
  );
});
