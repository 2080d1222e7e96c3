/**
 * Verification on the WebGPU provider of ONNX Runtime, on SwiftShader in a child process: nodes that
 * ran on the CPU are named, and a machine without an adapter is a missing tool.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { chain, op, value, WEIGHTS, write } from "../ort/verify_small_models.ts";
import { driverEnvironment, drivers } from "./adapters.ts";

const ROOT = Deno.cwd();

/** Verifies the model at `path` against itself in a child that sees only the given drivers. */
async function verifyIn(
  folder: string,
  path: string,
  env: Record<string, string>,
): Promise<{ error?: string; report?: Record<string, unknown> }> {
  const script = join(folder, "verify.ts");
  await Deno.writeTextFile(
    script,
    `import { verifyModels } from ${JSON.stringify(`file://${ROOT}/src/verify.ts`)};
     const path = ${JSON.stringify(path)};
     try {
       const report = await verifyModels({ original: path, result: path, provider: "webgpu", runs: 1 });
       console.log(JSON.stringify({ report }));
     } catch (error) {
       console.log(JSON.stringify({ error: error.name + ": " + error.message }));
     }`,
  );
  const { stdout } = await new Deno.Command("deno", {
    args: [
      "run",
      "--no-prompt",
      "--config",
      "deno.json",
      `--allow-read=${ROOT},${folder}`,
      `--allow-write=${folder}`,
      "--allow-run=deno",
      "--allow-env=PATH,HOME,DENO_DIR,VK_DRIVER_FILES,VK_ICD_FILENAMES",
      script,
    ],
    env: { ...env, TMPDIR: folder },
    stderr: "null",
  }).output();
  return JSON.parse(new TextDecoder().decode(stdout));
}

Deno.test("a report on webgpu counts its nodes and names those that ran on the CPU", async () => {
  const { found } = await drivers();
  const driver = found.find(({ name }) => name === "swiftshader");
  assert.ok(driver !== undefined, "SwiftShader is needed");
  const folder = await Deno.makeTempDir();
  try {
    const parts = chain(WEIGHTS, WEIGHTS);
    parts.nodes.push(op("NonZero", ["y"], "places"));
    parts.outputs.push(value("places", "int64", 2, "count"));
    const path = await write(folder, "model.onnx", parts);
    const { report, error } = await verifyIn(folder, path, driverEnvironment(driver));
    assert.equal(error, undefined);
    const { provider, placement, warnings, passed } = report as {
      provider: string;
      placement: { result: { nodes: number; elsewhere: { op: string; provider: string }[] } };
      warnings: string[];
      passed: boolean;
    };
    assert.equal(provider, "webgpu");
    assert.ok(passed);
    const { nodes, elsewhere } = placement.result;
    assert.deepEqual(
      elsewhere.filter((node) => node.op === "NonZero").map((node) => node.provider),
      ["CPUExecutionProvider"],
    );
    assert.ok(elsewhere.length < nodes, `${elsewhere.length} of ${nodes}`);
    assert.match(warnings.join(), /of the result did not run on "webgpu" but on CPUExecution/);
    // The profile that told it is gone, and no telemetry has left anything.
    const left = [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
    assert.deepEqual(left, ["model.onnx", "verify.ts"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("without a driver the provider is a missing tool, not a CPU pass", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = await write(folder, "model.onnx", chain(WEIGHTS, WEIGHTS));
    const { error } = await verifyIn(folder, path, {
      VK_DRIVER_FILES: "/nonexistent.json",
      VK_ICD_FILENAMES: "/nonexistent.json",
    });
    assert.match(error ?? "no error", /^MissingToolError: Cannot verify on provider "webgpu"/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
