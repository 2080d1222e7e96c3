/** Greedy CTC decoding of the text recognizer's output. */
import assert from "node:assert/strict";
import { decodeCtc, parseKeys } from "../../fixtures/recognize.ts";

const KEYS = ["a", "b", "c"];

/** Probabilities whose likeliest classes are `path`, each with `probability`. */
function steps(path: number[], probability = 0.6): number[] {
  const rest = (1 - probability) / 4;
  return path.flatMap((best) =>
    Array.from({ length: 5 }, (_, index) => index === best ? probability : rest)
  );
}

const decode = (path: number[]) => decodeCtc(steps(path), path.length, 5, KEYS).text;

Deno.test("repeats merge, blanks separate, the last class is a space", () => {
  assert.equal(decode([0, 1, 1, 0, 1, 2, 2, 4, 3, 0]), "aab c");
  assert.equal(decode([0, 0]), "");
  assert.equal(decode([]), "");
});

Deno.test("confidence is the mean over the characters", () => {
  const mixed = [...steps([1], 0.9), ...steps([0], 0.3), ...steps([2], 0.5)];
  assert.ok(Math.abs(decodeCtc(mixed, 3, 5, KEYS).confidence - 0.7) < 1e-12);
  assert.equal(decodeCtc(steps([0]), 1, 5, KEYS).confidence, 0);
});

Deno.test("sizes that do not fit are an error", () => {
  assert.throws(() => decodeCtc(steps([1]), 2, 5, KEYS), RangeError);
  assert.throws(() => decodeCtc(steps([1]), 1, 5, ["a"]), RangeError);
});

Deno.test("a key file has a character a line", () => {
  assert.deepEqual(parseKeys("a\n \nb\n"), ["a", " ", "b"]);
  assert.deepEqual(parseKeys("a\r\nb"), ["a", "b"]);
});
