/** The page of the ops: up to date, and complete: every op of ONNX is compiled, replaced or refused. */
import assert from "node:assert/strict";
import {
  CONTROL_FLOW,
  OPS_PAGE,
  PARTLY,
  REFUSED,
  renderOps,
  REPLACED,
} from "../../conformance/ops_page.ts";
import { readRecord } from "../../conformance/record.ts";
import { opRecord } from "../../src/ops/mod.ts";
import versions from "./operator_versions.json" with { type: "json" };

Deno.test("the page of the ops is what the records say", async () => {
  assert.equal(
    await Deno.readTextFile(OPS_PAGE),
    renderOps(await readRecord()),
    "write it anew with: deno task docs:ops",
  );
});

Deno.test("every op of ONNX is compiled, replaced, or refused with a reason, and only one of these", () => {
  for (const name of Object.keys(versions.operators)) {
    const ways = [
      opRecord("", name) !== undefined,
      name in CONTROL_FLOW,
      name in REPLACED,
      name in REFUSED,
    ];
    assert.equal(ways.filter((way) => way).length, 1, name);
  }
});

Deno.test("an op of which forms are refused is compiled", () => {
  for (const name of Object.keys(PARTLY)) {
    assert.ok(["", "com.microsoft"].some((domain) => opRecord(domain, name) !== undefined), name);
  }
});

Deno.test("the page says which types of numbers each op takes", async () => {
  const page = await Deno.readTextFile(OPS_PAGE);
  const rows = page.split("\n").filter((line) =>
    /^\| \w+ +\| (ai\.onnx|com\.microsoft) +\|/.test(line)
  );
  assert.ok(rows.length > 200);
  for (const row of rows) {
    const types = row.split("|")[4]!.trim().split(", ");
    assert.match(types.join(), /floats|integers|float32|bool|int/, row);
  }
});

Deno.test("the page tells what was passed, and what the host computes", () => {
  const page = renderOps({
    nodes: {
      lavapipe: {
        passed: 2,
        failed: 1,
        unsupported: 0,
        hostNodes: 1,
        failures: [],
        notNumeric: [],
        hosts: [{ name: "test_unique", nodes: ["Unique 3"] }],
        operators: { Abs: { tests: 3, passed: 2, onTarget: 2 } },
      },
    },
  });
  const rows = page.split("\n").map((line) => line.replace(/ +/g, " "));
  assert.ok(rows.includes("| Abs | ai.onnx | 13 | integers, floats | yes | 2 of 3 |"));
  assert.ok(
    rows.some((row) => /^\| Unique \| ai.onnx \| \d+ \| [^|]+ \| host function \|/.test(row)),
  );
});
