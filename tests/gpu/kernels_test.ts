/**
 * The kernel files of `kernels/ops`: each compiles as it stands and gives what plain JavaScript
 * gives, on every software adapter at hand; and the table of them says what the files say.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import {
  applies,
  appliesSource,
  coreOf,
  FAMILIES,
  familyOf,
  groupCount,
  groupCountSource,
  type Variant,
} from "../../src/codegen/kernels.ts";
import { run } from "../../src/process.ts";
import { type Driver, driverEnvironment, drivers } from "./adapters.ts";
import type { Answer } from "./kernels_child.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const { found, missing } = await drivers();

Deno.test({
  name: "both software adapters are at hand for the kernels, on the platform that has them",
  ignore: Deno.build.os !== "linux" || Deno.build.arch !== "x86_64",
  fn: () => assert.deepEqual(missing, []),
});

for (const driver of found) {
  Deno.test(`every kernel file gives the reference's results on ${driver.name}`, async () => {
    const answer = await runCases(driver);
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
  const files = [...Deno.readDirSync(`${ROOT}kernels/ops`)].map(({ name }) => name)
    .filter((name) => !name.startsWith("prelude")).sort();
  const named = new Set(rows().map(({ variant }) => `${variant.file}.wgsl`));
  assert.deepEqual([...named].sort(), files);
  const names = FAMILIES.flatMap(({ variants }) => variants.map(({ name }) => name));
  assert.equal(new Set(names).size, names.length);
});

Deno.test("a core calls the hooks of its row, and nothing else of its header", () => {
  for (const { variant, sizes, stores, constants, functions, more } of rows()) {
    const core = coreOf(variant);
    const header = variant.text.slice(0, variant.text.length - core.length);
    const hooks = new Set([
      ...sizes,
      ...variant.loads,
      ...variant.vectors.map(({ name }) => name),
      ...stores,
      ...functions,
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

Deno.test("the number of workgroups as JavaScript text is the number", () => {
  const groups = { tiles: [["batches", 1], ["rows", 4], ["columns", 3]], share: 64 } as const;
  const source = groupCountSource(groups, (name) => name);
  assert.equal(source, "Math.ceil(batches * Math.ceil(rows / 4) * Math.ceil(columns / 3) / 64)");
  const values: Record<string, number> = { batches: 3, rows: 9, columns: 301, depth: 0 };
  assert.equal(groupCount(groups, (name) => values[name]!), Math.ceil(3 * 3 * 101 / 64));
  assert.equal(groupCount({ tiles: [["depth", 4]], share: 8 }, (name) => values[name]!), 0);
});

Deno.test("the limits of a variant as JavaScript text hold where they hold", () => {
  const limits = [
    { size: "rows", is: "at most", number: 8 },
    { size: "depth", is: "at least", number: 1024 },
  ] as const;
  assert.equal(appliesSource({ limits }, (name) => name), "rows <= 8 && depth >= 1024");
  assert.equal(appliesSource({ limits: [] }, (name) => name), "true");
  const of = (rows: number, depth: number) =>
    applies({ limits }, (name) => name === "rows" ? rows : depth);
  assert.deepEqual([of(8, 1024), of(9, 1024), of(8, 1023)], [true, false, false]);
  // Whatever the sizes, some variant of a family without an alternative applies on any adapter.
  for (const name of ["matmul", "sort", "scan", "attention"]) {
    assert.ok(familyOf(name).variants.some((one) => one.adapter === "any" && !one.limits.length));
  }
});

/** Every variant and first pass with what its family says of it. */
function rows() {
  return FAMILIES.flatMap((family) =>
    family.variants.flatMap((variant) => {
      const { constants, sizes } = family;
      const functions = Object.keys(family.functions);
      const stores = family.stores.map(({ name }) => name);
      const own: Omit<Variant, "limits" | "adapter"> = variant;
      const { after } = variant;
      if (after === undefined) {
        return [{ variant: own, sizes, stores, constants, functions, more: [] as string[] }];
      }
      const all = [...sizes, ...Object.keys(after.sizes)];
      return [
        { variant: own, sizes: all, stores, constants, functions, more: [after.load.name] },
        {
          variant: after.variant,
          sizes: all,
          stores: [after.store.name],
          constants,
          functions,
          more: [],
        },
      ];
    })
  );
}

async function runCases(driver: Driver): Promise<Answer> {
  const { stdout, stderr } = await run({
    program: Deno.execPath(),
    args: [
      ...["run", "--quiet", "--no-prompt", `--allow-read=${ROOT}`, "--allow-env"],
      "tests/gpu/kernels_child.ts",
    ],
    cwd: ROOT,
    inheritEnv: ["HOME", "PATH", "DENO_DIR"],
    env: driverEnvironment(driver),
    install: "See https://deno.com",
    timeoutMs: 300_000,
  });
  const last = new TextDecoder().decode(stdout).trim().split("\n").at(-1) ?? "";
  assert.match(last, /^\{/, stderr);
  return JSON.parse(last) as Answer;
}
