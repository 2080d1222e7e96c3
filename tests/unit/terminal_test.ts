/** What the progress display says. */
import assert from "node:assert/strict";
import { formatRate } from "../../src/cli/terminal.ts";

Deno.test("a rate has the unit that shows it, and none is made up at the start", () => {
  assert.equal(formatRate(" | ", 5e9, 2000), " | 2.50 GB/s");
  assert.equal(formatRate(", ", 3e6, 500), ", 6.00 MB/s");
  assert.equal(formatRate(", ", 2000, 1500), ", 1.33 kB/s");
  assert.equal(formatRate(", ", 1, 4000), ", 0 B/s");
  assert.equal(formatRate(", ", 5e9, 0), "");
  assert.equal(formatRate(", ", 0, 5000), "");
});
