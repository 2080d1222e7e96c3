/**
 * The kernel files of `kernels/ops`: each compiles below its header and gives what plain JavaScript
 * gives, on every software adapter at hand; and the table of them says what the files say.
 */
import assert from "node:assert/strict";
import { FAMILIES, familyOf } from "../../src/codegen/kernel_families.ts";
import { ROOT } from "../install.ts";
import { drivers } from "./adapters.ts";
import { answerOn } from "./driver_child.ts";
import { headerOf, kernelFiles } from "./kernel_texts.ts";
import type { Answer } from "./kernels_child.ts";

const { found, missing } = await drivers();

Deno.test({
  name: "both software adapters are at hand for the kernels, on the platform that has them",
  ignore: Deno.build.os !== "linux" || Deno.build.arch !== "x86_64",
  fn: () => assert.deepEqual(missing, []),
});

for (const driver of found) {
  Deno.test(`every kernel file gives the reference's results on ${driver.name}`, async () => {
    const { answer } = await answerOn<Answer>(driver, ["tests/gpu/kernels_child.ts"], {
      permissions: ["--allow-env"],
    });
    assert.match(answer.adapter, { lavapipe: /llvmpipe/, swiftshader: /SwiftShader/ }[driver.name]);
    assert.deepEqual(answer.failures, []);
    // What needs a feature is tested where that is; all have it in a browser.
    const everywhere = FAMILIES.flatMap(({ variants }) => variants)
      .filter(({ features = [] }) => features.length === 0);
    assert.ok(answer.compiled >= everywhere.length);
    assert.ok(answer.cases > 2 * answer.compiled);
  });
}

Deno.test("every kernel file is a row of the table, and every row a file", () => {
  const filesIn = (folder: string): string[] =>
    [...Deno.readDirSync(`${ROOT}/kernels/${folder}`)].filter(({ isFile }) => isFile)
      .map(({ name }) => name).filter((name) => !name.startsWith("prelude")).sort();
  const files = kernelFiles();
  const named = new Set(files.map(({ pass }) => `${pass.file}.wgsl`));
  assert.deepEqual([...named].sort(), filesIn("ops"));
  const headers = new Set(files.map(({ header }) => `${header}.wgsl`));
  assert.deepEqual([...headers].sort(), filesIn("ops/headers"));
  const names = FAMILIES.flatMap(({ variants }) => variants.map(({ name }) => name));
  assert.equal(new Set(names).size, names.length);
});

Deno.test("a core calls the hooks of its row, and nothing else of its header", () => {
  for (const file of kernelFiles()) {
    const { pass: variant, sizes, stores, more, family: { constants, functions } } = file;
    const core = variant.text;
    const header = headerOf(file);
    const hooks = new Set([
      ...sizes,
      ...variant.loads,
      ...variant.vectors.map(({ name }) => name),
      ...stores,
      ...Object.keys(functions),
      ...more,
    ]);
    const defined = [...header.matchAll(/^fn (\w+)\(/gm)].map((match) => match[1]!);
    const called = new Set([...core.matchAll(/\b([a-z]\w*)\(/g)].map((match) => match[1]!));
    for (const name of defined.filter((name) => called.has(name))) {
      assert.ok(hooks.has(name), `${variant.name} calls ${name}, which its row doesn't have`);
    }
    for (const name of [...variant.loads, ...variant.vectors.map(({ name }) => name), ...stores]) {
      assert.ok(called.has(name), `${variant.name} never calls ${name}`);
    }
    for (const name of Object.keys(constants)) {
      assert.ok(new RegExp(`^const ${name}: `, "m").test(header), `${variant.name} lacks ${name}`);
    }
    // What a header binds is none of the core's business.
    for (const [, name] of header.matchAll(/^@group.* var(?:<[^>]*>)? (\w+):/gm)) {
      assert.ok(!new RegExp(`\\b${name}(\\[|\\.)`).test(core), `${variant.name} touches ${name}`);
    }
    const own = [...core.matchAll(/^(?:fn|const|override|var(?:<\w+>)?|struct) (\w+)/gm)]
      .map((match) => match[1]!);
    for (const name of own) {
      assert.match(name, /^(main|core_\w+|[A-Z][A-Z0-9_]*)$/, `${variant.name} owns ${name}`);
    }
    const overrides = [...core.matchAll(/^override (\w+): \w+ = (\d+)u?;/gm)];
    assert.deepEqual(overrides.map((match) => match[1]), Object.keys(variant.overrides));
  }
});

Deno.test("some variant of a family without an alternative applies, whatever the sizes", () => {
  for (const name of ["matmul", "sort", "scan", "attention"]) {
    assert.ok(familyOf(name).variants.some((one) => one.adapter === "any" && !one.limits.length));
  }
});
