/** What a person reads at the end of a conversion from ONNX to ONNX. */
import assert from "node:assert/strict";
import type { ConvertedWeight, VerifiedConversion } from "../../src/converters/conversion.ts";
import type { Precision } from "../../src/converters/options.ts";
import { formatStep } from "../../src/report.ts";

/** A weight of 64 x 64; the one numbered `index` loses `index` dB more than the first. */
function weight(index: number, op = "MatMul", form = "4-bit matmulnbits"): ConvertedWeight {
  return {
    name: `layer.${index}.${op}`,
    ops: [op],
    role: "quantized",
    dims: [64, 64],
    form,
    bytesBefore: 16384,
    bytesAfter: 2304,
    bitsPerWeight: 4.5,
    memoryBytes: 2304,
    sqnr: 200 - index,
    cosine: 0.99,
  };
}

function conversion(
  weights: readonly ConvertedWeight[],
  precision: Precision = "4bit",
): VerifiedConversion {
  return {
    modelcast: "0",
    source: { path: "a.onnx", sha256: "" },
    precision,
    options: "{}",
    files: [{ path: `b.${precision}.onnx`, byteLength: 1000, sha256: null }],
    dryRun: false,
    engine: null,
    seconds: 1,
    weights,
    skipped: [],
    totals: {
      fileBytesBefore: 4000,
      fileBytesAfter: 1000,
      weightBytesBefore: 3000,
      weightBytesAfter: 500,
      bitsPerWeight: 4.5,
      nominalReduction: 87.5,
      weightReduction: 83.3,
      fileReduction: 75,
      memoryBytes: 500,
      sqnr: 21,
      convertedShare: 100,
    },
    warnings: [],
    verification: null,
  };
}

function linesOf(conversions: readonly VerifiedConversion[], everyWeight = false): string[] {
  return formatStep({ kind: "onnx", outputPath: "b.onnx", conversions }, [], everyWeight);
}

/** Lines that name a weight of {@link weight}. */
const rowsIn = (lines: readonly string[]) => lines.filter((line) => line.startsWith("layer."));

Deno.test("each weight has a row while they fit on a screen, or where that is asked for", () => {
  const few = Array.from({ length: 64 }, (_, index) => weight(index));
  assert.equal(rowsIn(linesOf([conversion(few)])).length, 64);
  const many = [...few, weight(64)];
  assert.equal(rowsIn(linesOf([conversion(many)])).length, 0);
  assert.equal(rowsIn(linesOf([conversion(many)], true)).length, 65);
  // It is the step that has to fit: of several precisions together.
  assert.equal(rowsIn(linesOf([conversion(few), conversion(few, "2bit")])).length, 0);
});

Deno.test("many weights are told by op and form, with the one that lost most", () => {
  const many = [
    ...Array.from({ length: 150 }, (_, index) => weight(index)),
    ...Array.from({ length: 20 }, (_, index) => weight(index, "Conv", "4-bit arithmetic")),
  ];
  const [head, products, convolutions, remark] = linesOf([conversion(many)]).map((line) =>
    line.split(/ {2,}/)
  );
  assert.deepEqual(head, [
    ...["op", "form", "worst weight", "weights", "bits", "before", "after"],
    ...["its SQNR", "its cosine"],
  ]);
  assert.deepEqual(products, [
    ...["MatMul", "4-bit matmulnbits", "layer.149.MatMul", "150", "4.50", "2.46 MB", "345.6 kB"],
    ...["51.00 dB", "0.990000"],
  ]);
  assert.deepEqual(convolutions, [
    ...["Conv", "4-bit arithmetic", "layer.19.Conv", "20", "4.50", "327.7 kB", "46.1 kB"],
    ...["181.00 dB", "0.990000"],
  ]);
  assert.match(remark!.join(" "), /--list-weights, or --json/);
});

Deno.test("what was left alone is told by reason, with the pattern that excluded it", () => {
  const skipped = [
    ...["a", "b", "c", "d"].map((name) => ({ name, bytes: 8, reason: `op "${name}" takes none` })),
    { name: "e", bytes: 4, reason: 'excluded by "e*"' },
  ];
  const lines = linesOf([{ ...conversion([]), skipped }]);
  assert.deepEqual(lines.slice(0, 3), [
    "left alone:",
    "  4 (32 B): op takes none: a, b, c and 1 more",
    '  1 (4 B): excluded by "e*": e',
  ]);
});

Deno.test("several precisions end in a table that compares them", () => {
  const lines = linesOf([conversion([weight(0)]), conversion([weight(0)], "2bit")]);
  assert.deepEqual(lines.slice(-3).map((line) => line.split(/ {2,}/)), [
    ["precision", "files", "change", "bits per weight", "SQNR", "worst output"],
    ["4bit", "1.00 kB", "75.0 % smaller", "4.500", "21.00 dB", "-"],
    ["2bit", "1.00 kB", "75.0 % smaller", "4.500", "21.00 dB", "-"],
  ]);
  assert.ok(!linesOf([conversion([weight(0)])]).some((line) => line.startsWith("precision")));
});
