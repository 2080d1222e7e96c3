/** The engines that benchmarks open by name. */
import type { Engine } from "../../src/quantization/engine.ts";
import { createWasmEngine } from "../../src/quantization/wasm.ts";

/** Opens the engine `name`. */
export async function openEngine(name: "wasm"): Promise<Engine> {
  switch (name) {
    case "wasm":
      return await createWasmEngine();
    default:
      return name satisfies never;
  }
}
