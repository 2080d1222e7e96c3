/**
 * The functions that printed shaders call, on every software adapter at hand, against JavaScript: the
 * values that functions go wrong on, random ones of every magnitude, and every code of small floats.
 */
import assert from "node:assert/strict";
import { drivers } from "./adapters.ts";
import { answerOn } from "./driver_child.ts";
import {
  declarations,
  pointsOf,
  preludeFunctions,
  referenceOf,
  TOLERATED,
} from "./prelude_cases.ts";
import type { Answer } from "./prelude_child.ts";

const { found } = await drivers();
const FUNCTIONS = preludeFunctions();

Deno.test("every function of the prelude has a namesake in JavaScript and is tried", () => {
  assert.ok(FUNCTIONS.length > 60);
  for (const one of FUNCTIONS) {
    assert.equal(referenceOf(one.name).length, one.parameters.length, one.name);
    const counts = new Set(pointsOf(one).map((values) => values.length));
    assert.ok(counts.size === Math.min(one.parameters.length, 1), one.name);
    for (const count of counts) assert.ok(count >= 256, one.name);
  }
  const names = FUNCTIONS.map(({ name }) => name);
  assert.deepEqual(TOLERATED.filter((name) => !names.includes(name)), []);
});

Deno.test("a function calls no other but those above it, and none has a literal of infinity", () => {
  const above = new Set<string>();
  for (const [name, text] of declarations()) {
    const body = text.slice(text.indexOf("{"));
    for (const [word] of body.matchAll(/\w+(?=\()/g)) {
      assert.ok(!declarations().has(word) || above.has(word), `${name} calls ${word}`);
    }
    assert.doesNotMatch(body, /bitcast<f32>\(0x[0-9a-f]+u\)/, name);
    above.add(name);
  }
});

for (const driver of found) {
  Deno.test(`every function of the prelude is near enough on ${driver.name}`, async () => {
    const { answer } = await answerOn<Answer>(driver, ["tests/gpu/prelude_child.ts"]);
    const { adapter, outcomes } = answer;
    assert.match(adapter, { lavapipe: /llvmpipe/, swiftshader: /SwiftShader/ }[driver.name]);
    assert.deepEqual(outcomes.flatMap(({ failures }) => failures), []);
    assert.deepEqual(outcomes.map(({ name }) => name), FUNCTIONS.map(({ name }) => name));
  });
}
