/**
 * The five real models at every precision, for every runtime: what the command accepts for a runtime
 * loads and runs there, and what it refuses it refuses with the reason; and the error falls as the
 * bits rise.
 */
import assert from "node:assert/strict";
import type { Conversion } from "../../src/converters/conversion.ts";
import { run } from "../../src/process.ts";
import type { PythonEnvironment } from "../install.ts";
import { conversionsIn } from "../command.ts";
import { ROOT } from "../install.ts";
import { REAL_MODELS } from "../real_models.ts";
import { startRuntime } from "./runtimes.ts";

const PRECISIONS = ["2bit", "3bit", "4bit", "8bit", "float16"] as const;
const INPUTS = 32;

/** The runtime that results are measured in, and those that they are only loaded and run in. */
const MEASURED = { environment: "main", name: "onnxruntime-1.32" } as const;
const OTHERS: readonly { environment: PythonEnvironment; name: string }[] = [
  { environment: "onnxruntime-1.22", name: "onnxruntime-1.22" },
  { environment: "onnxruntime-1.24", name: "onnxruntime-1.24" },
  { environment: "openvino-2026.4", name: "openvino-2026.4" },
];

/** What the command said: its report, or why it refused. */
type Answer = { readonly report: Conversion } | { readonly refusal: string };

/** Converts by the command line, with the permissions that it is documented with. */
async function convert(
  source: string,
  output: string,
  options: readonly string[],
): Promise<Answer> {
  const { code, stdout, stderr } = await run({
    program: "deno",
    args: [
      ...["run", "-q", "--no-prompt", "-P=convert", `${ROOT}/main.ts`, "convert", "--json"],
      ...["--source", source, "--output", output, "--engine", "wasm", ...options],
    ],
    cwd: ROOT,
    inheritEnv: ["HOME", "PATH", "DENO_DIR"],
    install: "See https://deno.com",
  });
  if (code === 2) return { refusal: stderr };
  assert.equal(code, 0, stderr);
  return { report: conversionsIn(new TextDecoder().decode(stdout))[0]! };
}

for (const { label, path } of REAL_MODELS) {
  Deno.test(`${label}: the error falls as the bits rise`, async () => {
    const folder = await Deno.makeTempDir();
    await using runtime = startRuntime(MEASURED.environment);
    try {
      assert.equal(await runtime.original(path, INPUTS), null);
      const errors = new Map<string, number>();
      let weightSqnr = -Infinity;
      for (const precision of PRECISIONS) {
        const output = `${folder}/${precision}.onnx`;
        const options = ["--precision", precision, "--runtime", MEASURED.name];
        const answer = await convert(path, output, options);
        assert.ok("report" in answer, `${precision}: ${JSON.stringify(answer)}`);
        const { totals } = answer.report;
        assert.ok(totals.convertedShare >= 95, `${precision}: ${totals.convertedShare} %`);
        if (totals.sqnr !== null) {
          assert.ok(totals.sqnr > weightSqnr, `${precision}: ${totals.sqnr} dB`);
          weightSqnr = totals.sqnr;
        }
        const compared = await runtime.compare(output, INPUTS);
        assert.equal(compared.error, null, precision);
        assert.ok(compared.finite, `${precision}: not finite`);
        errors.set(precision, compared.relativeL2);
        if (precision === "8bit" || precision === "float16") {
          assert.ok(compared.integersEqual, `${precision}: integer outputs differ`);
        }
      }
      const falling = ["2bit", "4bit", "8bit", "float16"].map((name) => errors.get(name)!);
      assert.deepEqual(falling, falling.toSorted((a, b) => b - a), [...errors].join("  "));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });

  for (const { environment, name } of OTHERS) {
    Deno.test(`${label}: ${name} computes what ${MEASURED.name} computes`, async () => {
      const folder = await Deno.makeTempDir();
      await using runtime = startRuntime(environment);
      await using measured = startRuntime(MEASURED.environment);
      try {
        const unable = await runtime.original(path, 1);
        // See runtimes_test.ts: OpenVINO can't load this model as it came.
        assert.equal(unable !== null, name.startsWith("openvino") && label === "silero");
        if (unable !== null) return;
        assert.equal(await measured.original(path, 1), null);
        let loaded = 0;
        for (const precision of PRECISIONS) {
          const output = `${folder}/${precision}.onnx`;
          const options = ["--precision", precision, "--method", "rtn", "--runtime", name];
          const answer = await convert(path, output, options);
          if ("refusal" in answer) {
            assert.match(answer.refusal, /^error: Cannot /);
            assert.ok(answer.refusal.includes(name), answer.refusal);
            assert.deepEqual([...Deno.readDirSync(folder)].map((entry) => entry.name), []);
            continue;
          }
          const here = await runtime.compare(output, 1);
          assert.equal(here.error, null, precision);
          const there = await measured.compare(output, 1);
          assert.equal(there.error, null, precision);
          // Both errors are of the same weights; runtimes only sum in another order.
          assert.ok(
            Math.abs(here.relativeL2 - there.relativeL2) < 0.02 + 0.1 * there.relativeL2,
            `${precision}: ${here.relativeL2}, in ${MEASURED.name} ${there.relativeL2}`,
          );
          loaded++;
          await Deno.remove(output);
        }
        assert.ok(loaded >= 2, `${name} took only ${loaded} precisions`);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    });
  }
}
