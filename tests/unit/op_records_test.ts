/** The table of op records: every op once, of a version that models are raised to, and findable. */
import assert from "node:assert/strict";
import { HIGHEST_OPSET } from "../../src/onnx/upgrade/table.ts";
import { opRecord, opRecords } from "../../src/ops/mod.ts";

Deno.test("no op has two records, and each is found by its name", () => {
  const seen = new Set<string>();
  for (const record of opRecords()) {
    const key = `${record.domain}:${record.name}`;
    assert.ok(!seen.has(key), `${key} is recorded twice`);
    seen.add(key);
    assert.equal(opRecord(record.domain, record.name), record);
  }
  assert.ok(seen.size > 150);
});

Deno.test("records are of versions that models are raised to", () => {
  for (const { domain, name, since } of opRecords()) {
    assert.ok(Number.isInteger(since) && since >= 1, name);
    if (domain === "") assert.ok(since <= HIGHEST_OPSET, name);
  }
});

Deno.test("an op of another domain is another op", () => {
  assert.notEqual(opRecord("", "Gelu"), opRecord("com.microsoft", "Gelu"));
  assert.equal(opRecord("own", "Gelu"), undefined);
});
