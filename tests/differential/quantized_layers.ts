/** Random calls of layers whose weights are codes. */
import { int, ints } from "../../src/ir.ts";
import { BYTES, DOMAIN, packed, scale, scales, zero } from "./codes.ts";
import { fixed, float, type Given, text } from "./draw.ts";
import type { Generators } from "./elementwise.ts";
import { mask } from "./microsoft_attention.ts";

/** Everything of this kind. */
export const QUANTIZED_LAYERS: Generators = {
  MatMulNBits: (draw) => {
    const bits = draw.pick([2, 4, 4, 8]);
    const block = draw.pick([16, 32]);
    const [N, K] = [draw.between(1, 9), draw.pick([16, 17, 32, 40, 64, 95])];
    const blocks = Math.ceil(K / block);
    const zeros = draw.pick(["none", "packed", "float"]);
    const zeroPoints = zeros === "packed"
      ? fixed(draw.tensor("uint8", [N, Math.ceil((blocks * bits) / 8)]))
      : zeros === "float"
      ? fixed(draw.tensor("float32", [N, blocks], 0, 2 ** bits))
      : null;
    const bias = draw.maybe(() => fixed(draw.tensor("float32", [N])));
    // With groups of its own choice ONNX Runtime passes over zero points, and misreads other codes.
    const grouped = bits === 4 && zeros === "none" && draw.chance(0.5);
    const operands = [
      draw.tensor("float32", [...draw.shape(1, 2, false), K]),
      fixed(draw.tensor("uint8", [N, blocks, (block * bits) / 8])),
      scales(draw, [N, blocks]),
      zeroPoints,
      grouped ? fixed(draw.tensor("int32", [blocks * block], 0, blocks - 1)) : null,
      bias,
    ];
    while (operands.at(-1) === null) operands.pop();
    return {
      op: "MatMulNBits",
      domain: DOMAIN,
      operands,
      outputs: ["float32"],
      attributes: [int("K", K), int("N", N), int("bits", bits), int("block_size", block)],
      rtol: 2e-3,
      atol: 2e-3,
    };
  },
  MatMulBnb4: (draw) => {
    const [N, K] = [draw.between(1, 9), draw.pick([16, 18, 33, 64])];
    const block = draw.pick([16, 32]);
    return {
      op: "MatMulBnb4",
      domain: DOMAIN,
      operands: [
        draw.tensor("float32", [...draw.shape(1, 2, false), K]),
        fixed(draw.tensor("uint8", [Math.ceil((N * K) / 2)])),
        scales(draw, [Math.ceil((N * K) / block)], 1),
      ],
      outputs: ["float32"],
      attributes: [
        int("K", K),
        int("N", N),
        int("block_size", block),
        int("quant_type", draw.between(0, 1)),
      ],
      rtol: 2e-3,
      atol: 1e-3,
    };
  },
  QEmbedLayerNormalization: (draw) => {
    const [b, s, h] = [draw.between(1, 3), draw.between(1, 6), draw.between(2, 9)];
    const segments = draw.chance(0.5);
    const table = (rows: number): Given => fixed(draw.tensor("uint8", [rows, h]));
    const ids = (end: number): Given => draw.tensor("int32", [b, s], 0, end - 1);
    return {
      op: "QEmbedLayerNormalization",
      domain: DOMAIN,
      operands: [
        ids(9),
        segments ? ids(2) : null,
        table(9),
        table(8),
        segments ? table(2) : null,
        fixed(draw.tensor("uint8", [h])),
        fixed(draw.tensor("uint8", [h])),
        draw.chance(0.5) ? ids(2) : null,
        ...[0, 1, 2, 3, 4].map((i) => i === 2 && !segments ? null : scale(draw, 0.03)),
        ...[0, 1, 2, 3, 4].map((i) => i === 2 && !segments ? null : zero(draw, "uint8")),
      ],
      outputs: ["float32", "int32"],
      attributes: [float("epsilon", 1e-5)],
      rtol: 2e-3,
      atol: 1e-3,
    };
  },
  GatherBlockQuantized: (draw) => {
    const inBytes = draw.chance(0.5);
    const block = 16;
    const [rows, blocks] = [draw.between(1, 7), draw.between(1, 3)];
    const width = blocks * block - (draw.chance(0.3) && !inBytes ? draw.between(1, 15) : 0);
    const indices = draw.tensor(
      draw.pick(["int32", "int64"]),
      draw.shape(0, 2, false),
      -rows,
      rows - 1,
    );
    const bits = inBytes ? draw.pick([2, 4, 8]) : 4;
    const dtype = draw.pick(["uint4", "int4"] as const);
    const zeros = draw.chance(0.5);
    return {
      op: "GatherBlockQuantized",
      domain: DOMAIN,
      operands: [
        inBytes
          ? fixed(draw.tensor("uint8", [rows, (width * bits) / 8]))
          : packed(draw, dtype, [rows, width]),
        draw.maybeFixed(indices),
        scales(draw, [rows, blocks]),
        ...(zeros
          ? [
            inBytes
              ? fixed(draw.tensor("uint8", [rows, Math.ceil((blocks * bits) / 8)]))
              : packed(draw, dtype, [rows, blocks]),
          ]
          : []),
      ],
      outputs: ["float32"],
      attributes: [
        int("block_size", block),
        int("gather_axis", 0),
        int("quantize_axis", 1),
        ...(inBytes ? [int("bits", bits)] : []),
      ],
    };
  },
  QAttention: (draw) => {
    const [batch, length, heads, size] = [2, 5, 3, 8].map((most) => draw.between(1, most)) as [
      number,
      number,
      number,
      number,
    ];
    const [depth, hidden] = [draw.between(1, 20), heads * size];
    const columns = draw.chance(0.5) ? [3 * hidden] : [];
    const past = draw.chance(0.4) ? draw.between(1, 3) : 0;
    const [types, by] = ["uint8", draw.pick(BYTES)] as const;
    const tail = past > 0 ? [draw.tensor("float32", [2, batch, heads, past, size])] : [];
    return {
      op: "QAttention",
      domain: DOMAIN,
      operands: [
        draw.tensor(types, [batch, length, depth]),
        fixed(draw.tensor(by, [depth, 3 * hidden])),
        fixed(draw.tensor("float32", [3 * hidden])),
        scale(draw, 0.03),
        scales(draw, columns, 0.03),
        draw.maybe(() => mask(draw, batch, length, past + length)),
        zero(draw, types),
        fixed(draw.tensor(by, columns, 0, 9)),
        ...tail,
      ],
      outputs: past > 0 ? ["float32", "float32"] : ["float32"],
      attributes: [int("num_heads", heads), int("unidirectional", draw.between(0, 1))],
      rtol: 2e-3,
      atol: 1e-3,
    };
  },
  NhwcMaxPool: (draw) => {
    const dtype = draw.pick(BYTES);
    return {
      op: "NhwcMaxPool",
      domain: DOMAIN,
      operands: [
        draw.tensor(dtype, [1, draw.between(3, 8), draw.between(3, 8), draw.between(1, 4)]),
      ],
      outputs: [dtype],
      attributes: [
        ints("kernel_shape", [2, 3]),
        ints("strides", [draw.between(1, 2), draw.between(1, 2)]),
        ints("pads", [0, 1, 1, 1]),
        int("ceil_mode", draw.between(0, 1)),
      ],
    };
  },
  DynamicQuantizeLSTM: (draw) => {
    const direction = draw.pick(["forward", "reverse", "bidirectional"]);
    const directions = direction === "bidirectional" ? 2 : 1;
    const [steps, batch, size, hidden] = [5, 3, 4, 5].map((most) => draw.between(1, most)) as [
      number,
      number,
      number,
      number,
    ];
    const dtype = draw.pick(BYTES);
    const isUnsigned = dtype === "uint8";
    // The CPU takes unsigned codes with one scale and without peepholes...
    const channels = draw.chance(0.5) && !isUnsigned ? [directions, 4 * hidden] : [directions];
    const state = (): Given => draw.tensor("float32", [directions, batch, hidden], -1, 1);
    const zeros = (): Given =>
      fixed(draw.tensor(dtype, channels, dtype === "int8" ? 0 : 100, dtype === "int8" ? 0 : 140));
    return {
      op: "DynamicQuantizeLSTM",
      domain: DOMAIN,
      operands: [
        draw.tensor("float32", [steps, batch, size]),
        fixed(draw.tensor(dtype, [directions, size, 4 * hidden])),
        fixed(draw.tensor(dtype, [directions, hidden, 4 * hidden])),
        draw.maybe(() => fixed(draw.tensor("float32", [directions, 8 * hidden]))),
        draw.maybe(() => draw.tensor("int32", [batch], 1, steps)),
        draw.maybe(state),
        draw.maybe(state),
        draw.maybe(() => fixed(draw.tensor("float32", [directions, 3 * hidden]))),
        scales(draw, channels, 0.02),
        zeros(),
        scales(draw, channels, 0.02),
        zeros(),
      ],
      outputs: ["float32", "float32", "float32"],
      attributes: [int("hidden_size", hidden), text("direction", direction)],
      rtol: 2e-3,
      // Samples that share a thread of ONNX Runtime share a range.
      atol: batch > 1 ? 2e-2 : 2e-3,
    };
  },
};
