/** What the progress display says. */
import assert from "node:assert/strict";
import { formatLeft, formatRate, workClock } from "../../src/cli/terminal.ts";

Deno.test("a rate has the unit that shows it, and none is made up at the start", () => {
  assert.equal(formatRate(" | ", 5e9, 2000), " | 2.50 GB/s");
  assert.equal(formatRate(", ", 3e6, 500), ", 6.00 MB/s");
  assert.equal(formatRate(", ", 2000, 1500), ", 1.33 kB/s");
  assert.equal(formatRate(", ", 1, 4000), ", 0 B/s");
  assert.equal(formatRate(", ", 5e9, 0), "");
  assert.equal(formatRate(", ", 0, 5000), "");
});

Deno.test("the time left is not told before there is a rate", () => {
  assert.equal(formatLeft(" | ", 5e9, 20e9, 100), "");
  assert.equal(formatLeft(" | ", 0, 20e9, 5000), "");
  assert.equal(formatLeft(" | ", 5e9, 20e9, 2000), " | 6 s left");
  assert.equal(formatLeft(", ", 1e9, 20e9, 20_000), ", 6 min left");
  assert.equal(formatLeft(", ", 20e9, 20e9, 20_000), ", 0 s left");
});

Deno.test("what is left is reckoned from when its own work began", async () => {
  const clock = workClock();
  const wait = () => new Promise((resolve) => setTimeout(resolve, 5));
  const first = clock(0, 100);
  await wait();
  assert.equal(clock(50, 100), first);
  await wait();
  const second = clock(10, 200);
  assert.ok(second > first);
  await wait();
  assert.equal(clock(20, 200), second);
  await wait();
  assert.ok(clock(1, 200) > second);
});
