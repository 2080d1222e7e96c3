/** The rows of what goes through steps of time; `kernel_family.ts` says what they mean. */
import gru from "../../kernels/ops/gru.wgsl" with { type: "text" };
import lstm from "../../kernels/ops/lstm.wgsl" with { type: "text" };
import rnn from "../../kernels/ops/rnn.wgsl" with { type: "text" };
import type { Family, Hook } from "./kernel_family.ts";

/** What recurrent layers have in common; `loads` and `stores` are those that only `name` has. */
function recurrent(
  name: string,
  text: string,
  own: {
    readonly loads?: readonly Hook[];
    readonly stores?: readonly Hook[];
    readonly constants?: Family["constants"];
    readonly functions: Family["functions"];
    /** Arrays of HIDDEN elements in workgroup memory. */
    readonly arrays: number;
  },
): Family {
  const loads: readonly Hook[] = [
    { name: "gates", indices: ["direction", "time", "batch", "row"] },
    { name: "r", indices: ["direction", "row", "k"] },
    { name: "initial_h", indices: ["direction", "batch", "unit"] },
    { name: "sequence_length", type: "i32", indices: ["batch"] },
    ...own.loads ?? [],
  ];
  return {
    name,
    sizes: ["directions", "batches", "steps"],
    loads,
    stores: [
      { name: "store_y", indices: ["time", "direction", "batch", "unit"] },
      { name: "store_h", indices: ["direction", "batch", "unit"] },
      ...own.stores ?? [],
    ],
    constants: { HIDDEN: "i32", REVERSE: "i32", ...own.constants },
    functions: own.functions,
    extents: { direction: "directions", batch: "batches", time: "steps" },
    variants: [{
      name,
      file: name,
      text,
      loads: loads.map((hook) => hook.name),
      vectors: [{ name: "r4", of: "r", along: 2 }],
      overrides: { THREADS: 64 },
      groups: { tiles: [["directions", 1], ["batches", 1]], share: 1 },
      // 16 KiB of workgroup memory are on every device.
      limits: [{ size: "HIDDEN", is: "at most", number: Math.floor(4096 / own.arrays) }],
      adapter: "any",
      workgroupBytes: 16384,
    }],
  };
}

/**
 * Recurrent layers as https://onnx.ai/onnx/operators/onnx__LSTM.html and its neighbours define them.
 * `gates` is what the inputs contribute: a matmul of all steps, and the biases. A clip belongs into
 * the activations. A store hook whose result nobody wants does nothing.
 */
export const LSTM = recurrent("lstm", lstm, {
  loads: [
    { name: "initial_c", indices: ["direction", "batch", "unit"] },
    { name: "peephole", indices: ["direction", "gate", "unit"] },
  ],
  stores: [{ name: "store_c", indices: ["direction", "batch", "unit"] }],
  constants: { COUPLED: "i32", ROUNDED: "i32" },
  functions: { activation_f: 1, activation_g: 1, activation_h: 1 },
  arrays: 3,
});
export const GRU = recurrent("gru", gru, {
  loads: [{ name: "recurrent_bias", indices: ["direction", "unit"] }],
  constants: { LINEAR_BEFORE_RESET: "i32" },
  functions: { activation_f: 1, activation_g: 1 },
  arrays: 4,
});
export const RNN = recurrent("rnn", rnn, { functions: { activation_f: 1 }, arrays: 2 });
