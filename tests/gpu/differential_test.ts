/**
 * Random calls of every operator that ONNX Runtime's CPU provider has, from fixed seeds: what their
 * modules compute is what ONNX Runtime computes. `tests/differential` draws the calls.
 */
import assert from "node:assert/strict";
import { compileInto } from "../../conformance/compile.ts";
import { openOnnx } from "../../conformance/onnx.ts";
import { openWebGpu } from "../../conformance/webgpu.ts";
import { Draw } from "../differential/draw.ts";
import { ELEMENTWISE, type Generators } from "../differential/elementwise.ts";
import { HALF } from "../differential/half.ts";
import { LAYERS } from "../differential/layers.ts";
import { MICROSOFT } from "../differential/microsoft.ts";
import { MICROSOFT_ATTENTION } from "../differential/microsoft_attention.ts";
import { MOVEMENT } from "../differential/movement.ts";
import { QUANTIZED } from "../differential/quantized.ts";
import { QUANTIZED_LAYERS } from "../differential/quantized_layers.ts";
import { RECENT } from "../differential/recent.ts";
import { describeCall, runCall } from "../differential/run.ts";
import { SIGNALS } from "../differential/signals.ts";
import { SPECIAL } from "../differential/special.ts";
import { SUMMING } from "../differential/sums.ts";

const folder = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
const onnx = await openOnnx();
const webgpu = await openWebGpu(compileInto(folder));

/** Calls of each operator, by what they are about. */
const CALLS: readonly (readonly [Generators, number])[] = [
  [ELEMENTWISE, 2],
  [MOVEMENT, 3],
  [SUMMING, 3],
  [LAYERS, 3],
  [SIGNALS, 3],
  [MICROSOFT, 6],
  [MICROSOFT_ATTENTION, 6],
  [QUANTIZED, 4],
  [QUANTIZED_LAYERS, 4],
  [SPECIAL, 1],
  [HALF, 3],
  [RECENT, 3],
];

for (const [generators, count] of CALLS) {
  for (const [name, generate] of Object.entries(generators)) {
    Deno.test(`random calls of ${name}`, async () => {
      let equal = 0;
      for (let i = 0; i < count; i++) {
        const draw = new Draw(`${name} ${i}`);
        const call = generate(draw);
        const outcome = await runCall(call, draw, folder, onnx, webgpu);
        if (outcome.kind === "invalid") continue;
        assert.equal(
          outcome.kind,
          "equal",
          `${describeCall(call)}: ${"reason" in outcome ? outcome.reason : ""}`,
        );
        equal++;
      }
      assert.ok(equal > 0, "ONNX Runtime ran none of the calls");
    });
  }
}
