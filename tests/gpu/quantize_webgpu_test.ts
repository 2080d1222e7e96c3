/**
 * The WebGPU engine against the reference engine, byte by byte, on every software adapter at hand:
 * random matrices of every format, method, order and type of weights, and the shared edge cases. The
 * whole comparison, 10,000 matrices on each, is `deno task bench quantize`.
 */
import assert from "node:assert/strict";
import { drivers } from "./adapters.ts";
import { answerOn } from "./driver_child.ts";

const { found, missing } = await drivers();

/** What tests/gpu/identical.ts prints at its end. */
interface Answer {
  readonly adapter: string;
  readonly count: number;
  readonly counts: Readonly<Record<string, number>>;
}

const COMPARISONS = [
  // One job of every combination, on an adapter that compiles and runs fast.
  { driver: "lavapipe", what: "everything", flags: ["--count=2304", "--edges=7"] },
  { driver: "swiftshader", what: "a share", flags: ["--count=700", "--seed=3", "--edges=37"] },
  // What hardware runs: each job compiles kernels of its own, which takes half a second.
  { driver: "lavapipe", what: "staged kernels", flags: ["--count=36", "--access=staged"] },
] as const;

Deno.test({
  name: "both software adapters are at hand, on the platform that has them",
  ignore: Deno.build.os !== "linux" || Deno.build.arch !== "x86_64",
  fn: () => assert.deepEqual(missing, []),
});

for (const { driver: name, what, flags } of COMPARISONS) {
  const driver = found.find((entry) => entry.name === name);
  Deno.test({
    name: `webgpu on ${name} gives the reference's bytes: ${what}`,
    ignore: driver === undefined,
    fn: async () => {
      const { answer, stderr } = await answerOn<Answer>(
        driver!,
        ["tests/gpu/identical.ts", "--engines=webgpu", ...flags],
        { permissions: ["--allow-env"], timeoutMs: 600_000 },
      );
      if (Object.values(answer.counts).some((count) => count > 0)) console.log(stderr);
      const pattern = { lavapipe: /llvmpipe/, swiftshader: /SwiftShader/ }[name];
      assert.match(answer.adapter, pattern);
      assert.deepEqual(answer.counts, { webgpu: 0 });
      assert.ok(answer.count >= Number(flags[0].slice("--count=".length)));
    },
  });
}
