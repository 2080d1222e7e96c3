/**
 * LSTM, GRU and RNN with drawn activations, directions, clips, coupled gates, peepholes, lengths and
 * initial states give what ONNX Runtime gives.
 */
import {
  type Attribute,
  int,
  makeTensor,
  type Model,
  NOTHING_CARRIED,
  type Tensor,
} from "../../src/ir.ts";
import { noise } from "../encoding_models.ts";
import { compareRuns, floats, modelOf, node } from "./both_sides.ts";

const attribute = (name: string, value: Attribute["value"]): Attribute => ({
  name,
  value,
  carried: NOTHING_CARRIED,
});
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Activations that keep values small, with alpha and beta where they have them. */
const ACTIVATIONS: Readonly<Record<string, readonly [alpha?: number, beta?: number]>> = {
  Sigmoid: [],
  Tanh: [],
  HardSigmoid: [0.3, 0.4],
  Softsign: [],
  ScaledTanh: [0.9, 0.6],
  LeakyRelu: [0.1],
  Softplus: [],
  Elu: [0.8],
  ThresholdedRelu: [0.2],
  Relu: [],
};

const LAYERS = [["LSTM", 4, 3], ["GRU", 3, 2], ["RNN", 1, 1]] as const;

/** A layer with everything about it drawn by `draw`, which gives numbers from 0 to below 1. */
function drawnLayer(draw: () => number): { readonly model: Model; readonly dims: number[] } {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(draw() * list.length)]!;
  const happens = (chance: number): boolean => draw() < chance;
  const [op, gates, functions] = pick([LAYERS[0], ...LAYERS]);
  const direction = pick(["forward", "reverse", "bidirectional"]);
  const directions = direction === "bidirectional" ? 2 : 1;
  const [steps, batch, inputs] = [pick([1, 3, 4]), pick([1, 3]), pick([1, 5, 6])];
  const units = pick([1, 3, 8, 10, 70]);
  const attributes = [
    int("hidden_size", units),
    attribute("direction", { type: "string", value: bytes(direction) }),
  ];
  if (happens(0.8)) {
    const names = Array.from(
      { length: functions * directions },
      () => pick(Object.keys(ACTIVATIONS)),
    );
    attributes.push(attribute("activations", { type: "strings", value: names.map(bytes) }));
    for (const [i, name] of (["activation_alpha", "activation_beta"] as const).entries()) {
      const value = names.flatMap((activation) => ACTIVATIONS[activation]![i] ?? []);
      if (value.length > 0) attributes.push(attribute(name, { type: "floats", value }));
    }
  }
  if (happens(0.4)) attributes.push(attribute("clip", { type: "float", value: 0.5 }));
  if (op === "LSTM" && happens(0.4)) attributes.push(int("input_forget", 1));
  if (op === "GRU" && happens(0.5)) attributes.push(int("linear_before_reset", 1));
  const tensors: Tensor[] = [];
  const names = ["x"];
  const add = (name: string, dims: readonly number[], isGiven: boolean): void => {
    names.push(isGiven ? name : "");
    if (!isGiven) return;
    const count = dims.reduce((a, b) => a * b, 1);
    const data = name === "lengths"
      ? Int32Array.from({ length: count }, () => 1 + Math.floor(draw() * steps))
      : Float32Array.from(noise(count + tensors.length, count));
    const dtype = name === "lengths" ? "int32" : "float32";
    tensors.push(
      makeTensor(name, dtype, dims, { kind: "memory", bytes: new Uint8Array(data.buffer) }),
    );
  };
  add("w", [directions, gates * units, inputs], true);
  add("r", [directions, gates * units, units], true);
  add("b", [directions, 2 * gates * units], happens(0.7));
  add("lengths", [batch], happens(0.5));
  add("h", [directions, batch, units], happens(0.5));
  if (op === "LSTM") {
    add("c", [directions, batch, units], happens(0.5));
    add("p", [directions, 3 * units], happens(0.4));
  }
  const outputs = op === "LSTM" ? ["y", "y_h", "y_c"] : ["y", "y_h"];
  const model = modelOf(
    [node(op, names, outputs, attributes)],
    { x: ["float32", ["s", "n", inputs]] },
    Object.fromEntries(outputs.map((name) => [name, "float32"])),
    tensors,
  );
  return { model, dims: [steps, batch, inputs] };
}

Deno.test("drawn recurrent layers give what ONNX Runtime gives", async () => {
  const numbers = noise(3, 2000);
  let next = 0;
  for (let i = 0; i < 9; i++) {
    const { model, dims } = drawnLayer(() => (numbers[next++]! + 1) / 2 % 1);
    await compareRuns(model, [{ inputs: { x: floats(...dims) } }]);
  }
});

Deno.test("a tanh behind hard sigmoids, in lanes that differ", async () => {
  const units = 10;
  const weights = (name: string, dims: readonly number[]): Tensor => {
    const count = dims.reduce((a, b) => a * b, 1);
    const data = Float32Array.from(noise(count, count));
    return makeTensor(name, "float32", dims, {
      kind: "memory",
      bytes: new Uint8Array(data.buffer),
    });
  };
  const names = ["HardSigmoid", "Softplus", "Tanh"];
  const model = modelOf(
    [
      node("LSTM", ["x", "w", "r", "", "", "", "c"], ["y", "h"], [
        int("hidden_size", units),
        int("input_forget", 1),
        attribute("clip", { type: "float", value: 0.5 }),
        attribute("activations", { type: "strings", value: names.map(bytes) }),
        attribute("activation_alpha", { type: "floats", value: [0.3] }),
        attribute("activation_beta", { type: "floats", value: [0.4] }),
      ]),
    ],
    { x: ["float32", ["s", "n", 6]] },
    { y: "float32", h: "float32" },
    [weights("w", [1, 40, 6]), weights("r", [1, 40, units]), weights("c", [1, 3, units])],
  );
  await compareRuns(model, [{ inputs: { x: floats(4, 3, 6) } }]);
});
