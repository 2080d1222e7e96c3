/** The upgrade table against the versions of every operator that `onnx.defs` knows. */
import assert from "node:assert/strict";
import { irVersionOf } from "../../src/onnx/upgrade.ts";
import { HIGHEST_OPSET, LOWEST_OPSET, ROWS, SINCE_FIRST } from "../../src/onnx/upgrade/table.ts";
import known from "./operator_versions.json" with { type: "json" };

const VERSIONS: Readonly<Record<string, readonly number[]>> = known.operators;

Deno.test("the table has a row for every change of every operator, and no other", () => {
  const expected = Object.entries(VERSIONS).flatMap(([op, versions]) =>
    versions
      .filter((version, index) => index > 0 && version > LOWEST_OPSET)
      .map((version) => `${op} ${version}`)
  );
  const rows = ROWS.map(({ op, since }) => `${op} ${since}`);
  assert.equal(new Set(rows).size, rows.length, "two rows for one change");
  assert.deepEqual(new Set(rows), new Set(expected));
});

Deno.test("the ops that have been the same since opset 1 are known", () => {
  const expected = Object.entries(VERSIONS).filter(([, versions]) =>
    versions.includes(1) && !versions.some((version) => version > 1 && version <= LOWEST_OPSET)
  );
  assert.deepEqual(SINCE_FIRST, new Set(expected.map(([op]) => op)));
});

Deno.test("a row that changes nothing says why", () => {
  for (const { op, since, change } of ROWS) {
    if (typeof change === "string") assert.match(change, /^[a-z].{10,}[^.]$/, `${op} ${since}`);
  }
});

Deno.test("the newest opset is the one that the operators were taken from", () => {
  assert.equal(HIGHEST_OPSET, Math.max(...Object.values(VERSIONS).flat()));
});

Deno.test("IR versions are those of ONNX's releases", () => {
  for (const [opset, irVersion] of Object.entries(known.irVersions)) {
    assert.equal(irVersionOf(Number(opset)), irVersion, `opset ${opset}`);
  }
});
