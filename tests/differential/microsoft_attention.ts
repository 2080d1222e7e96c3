/** Random calls of com.microsoft's attention operators, and of what stands in for attention. */
import { int, ints } from "../../src/ir.ts";
import { type Draw, float, type Given, given, text } from "./draw.ts";
import type { Generators } from "./elementwise.ts";

const DOMAIN = "com.microsoft";
const SUMS = { rtol: 2e-3, atol: 2e-4 } as const;

/** Numbers of samples, positions, heads and elements of a head. */
function sizes(draw: Draw): { batch: number; length: number; heads: number; size: number } {
  return {
    batch: draw.between(1, 3),
    length: draw.pick([1, 1, 2, 3, 5, 7]),
    heads: draw.between(1, 4),
    size: draw.pick([4, 8, 16]),
  };
}

/** The forms that a mask of keys has; `total` keys, of which `length` are of the call itself. */
export function mask(draw: Draw, batch: number, length: number, total: number): Given {
  const ends = Array.from({ length: batch }, () => draw.between(1, total));
  const form = draw.between(1, 5);
  if (form === 1) return given("int32", [batch], ends);
  if (form === 5) {
    // Lengths, then where the queries and the keys of each sample begin among all.
    const begins = ends.map((_, i) => i * length);
    const all = [...begins, batch * length];
    return given("int32", [3 * batch + 2], [...ends, ...all, ...all]);
  }
  if (form === 2) {
    const starts = ends.map((end) => draw.between(0, end - 1));
    return given("int32", [2 * batch], [...ends, ...starts]);
  }
  const dims = form === 3 ? [batch, total] : [batch, length, total];
  const made = draw.tensor("int32", dims, 0, 1);
  // A query that may see no key sees all of them alike.
  return made;
}

const rotary = (draw: Draw, positions: number, pairs: number): [Given, Given] => [
  draw.maybeFixed(draw.tensor("float32", [positions, pairs], -1, 1)),
  draw.maybeFixed(draw.tensor("float32", [positions, pairs], -1, 1)),
];

/** Everything of this kind. */
export const MICROSOFT_ATTENTION: Generators = {
  RotaryEmbedding: (draw) => {
    const { batch, length, heads, size } = sizes(draw);
    const packed = draw.chance(0.5);
    const partial = draw.chance(0.4) ? size / 2 : 0;
    const first = draw.chance(0.5);
    const most = 16;
    return {
      op: "RotaryEmbedding",
      domain: DOMAIN,
      operands: [
        draw.tensor(
          "float32",
          packed ? [batch, length, heads * size] : [batch, heads, length, size],
        ),
        first
          ? given("int64", [1], [draw.between(0, most - length)])
          : draw.tensor("int64", [batch, length], 0, most - 1),
        ...rotary(draw, most, (partial || size) / 2),
      ],
      outputs: ["float32"],
      attributes: [
        int("interleaved", draw.between(0, 1)),
        ...(partial > 0 ? [int("rotary_embedding_dim", partial), int("num_heads", heads)] : []),
      ],
    };
  },
  Attention: (draw) => {
    const { batch, length, heads, size } = sizes(draw);
    const past = draw.chance(0.4) ? draw.between(1, 4) : 0;
    const [hidden, depth] = [heads * size, draw.between(2, 9)];
    const valueSize = past === 0 && draw.chance(0.3) ? 2 * size : size;
    const width = 2 * hidden + heads * valueSize;
    const total = past + length;
    return {
      op: "Attention",
      domain: DOMAIN,
      operands: [
        draw.tensor("float32", [batch, length, depth]),
        draw.maybeFixed(draw.tensor("float32", [depth, width], -0.5, 0.5)),
        // Without it ONNX Runtime ends its process.
        draw.maybeFixed(draw.tensor("float32", [width])),
        draw.maybe(() => mask(draw, batch, length, total)),
        past > 0 ? draw.tensor("float32", [2, batch, heads, past, size]) : null,
        ...(draw.chance(0.4)
          ? [draw.tensor("float32", [draw.pick([1, batch]), draw.pick([1, heads]), length, total])]
          : []),
      ],
      outputs: ["float32", past > 0 || valueSize === size ? "float32" : null],
      attributes: [
        int("num_heads", heads),
        int("unidirectional", draw.between(0, 1)),
        ...(valueSize !== size
          ? [ints("qkv_hidden_sizes", [hidden, hidden, heads * valueSize])]
          : []),
        ...(draw.chance(0.3) ? [float("scale", 0.4)] : []),
        ...(draw.chance(0.3) ? [float("mask_filter_value", -50)] : []),
      ],
      ...SUMS,
    };
  },
  MultiHeadAttention: (draw) => {
    const { batch, length, heads, size } = sizes(draw);
    const hidden = heads * size;
    // The CPU takes no packed queries, keys and values.
    const form = draw.pick(["separate", "heads", "past"]);
    const keys = form === "past" ? length : draw.between(1, 7);
    const past = form === "past" ? draw.between(1, 4) : 0;
    const total = past + keys;
    const valueSize = form === "separate" && draw.chance(0.3) ? 2 * size : size;
    const tensor = (...dims: number[]): Given => draw.tensor("float32", dims);
    const biased = form !== "heads" && draw.chance(0.4);
    const operands: (Given | null)[] = form === "heads"
      ? [
        tensor(batch, length, hidden),
        tensor(batch, heads, keys, size),
        tensor(batch, heads, keys, size),
      ]
      : [
        tensor(batch, length, hidden),
        tensor(batch, keys, hidden),
        tensor(batch, keys, heads * valueSize),
      ];
    const padding = draw.chance(0.5)
      ? draw.pick([
        () => given("int32", [batch], Array.from({ length: batch }, () => draw.between(1, total))),
        () => draw.tensor("int32", [batch, total], 0, 1),
        () => draw.tensor("int32", [batch, length, total], 0, 1),
      ])()
      : null;
    operands.push(
      biased ? draw.maybeFixed(tensor(2 * hidden + heads * valueSize)) : null,
      padding,
      draw.chance(0.4) ? tensor(draw.pick([1, batch]), draw.pick([1, heads]), length, total) : null,
    );
    if (past > 0) {
      operands.push(tensor(batch, heads, past, size), tensor(batch, heads, past, size));
    }
    const cached = past > 0 || (form === "separate" && draw.chance(0.4));
    return {
      op: "MultiHeadAttention",
      domain: DOMAIN,
      operands,
      outputs: ["float32", ...(cached ? ["float32", "float32"] as const : [])],
      attributes: [
        int("num_heads", heads),
        ...(draw.chance(0.3) && keys === length ? [int("unidirectional", 1)] : []),
        ...(draw.chance(0.3) ? [float("scale", 0.4)] : []),
        ...(draw.chance(0.3) ? [float("mask_filter_value", -50)] : []),
      ],
      ...SUMS,
    };
  },
  CausalConvWithState: (draw) => {
    const [batch, channels] = [draw.between(1, 2), draw.between(1, 5)];
    const [length, size] = [draw.between(1, 6), draw.between(1, 4)];
    return {
      op: "CausalConvWithState",
      domain: DOMAIN,
      operands: [
        draw.tensor("float32", [batch, channels, length]),
        draw.maybeFixed(draw.tensor("float32", [channels, 1, size])),
        draw.maybe(() => draw.tensor("float32", [channels])),
        draw.chance(0.5) ? draw.tensor("float32", [batch, channels, size - 1]) : null,
      ],
      outputs: ["float32", "float32"],
      attributes: [text("activation", draw.pick(["none", "silu", "swish"]))],
      ...SUMS,
    };
  },
  LinearAttention: (draw) => {
    const { batch, length, size } = sizes(draw);
    const groups = draw.between(1, 2);
    const heads = groups * draw.between(1, 2);
    const width = draw.pick([4, 8]);
    const rule = draw.pick(["linear", "gated", "delta", "gated_delta"]);
    const tensor = (last: number, least = -0.5, most = 0.5): Given => ({
      ...draw.tensor("float32", [batch, length, last], least, most),
      static: true,
    });
    return {
      op: "LinearAttention",
      domain: DOMAIN,
      operands: [
        tensor(heads * size),
        tensor(groups * size),
        tensor(groups * width),
        draw.chance(0.5) ? draw.tensor("float32", [batch, groups, size, width]) : null,
        rule.startsWith("gated") ? tensor(draw.pick([groups, groups * size]), -1, 0) : null,
        rule.endsWith("delta") ? tensor(draw.pick([1, groups]), 0, 1) : null,
      ],
      outputs: ["float32", "float32"],
      attributes: [
        int("q_num_heads", heads),
        int("kv_num_heads", groups),
        text("update_rule", rule),
        ...(draw.chance(0.5) ? [float("scale", 0.3)] : []),
      ],
      ...SUMS,
    };
  },
  GroupQueryAttention: (draw) => {
    const [batch, size] = [draw.between(1, 3), draw.pick([8, 16])];
    const groups = draw.between(1, 2);
    const heads = groups * draw.between(1, 3);
    const decoding = draw.chance(0.6);
    const length = decoding ? 1 : draw.between(2, 6);
    const before = decoding ? draw.between(1, 6) : 0;
    const total = before + length;
    // A cache grows, or is as long as it ever gets from the beginning.
    const capacity = draw.chance(0.4) ? 12 : before;
    const packed = draw.chance(0.4);
    const turned = size >= 16 && draw.chance(0.6);
    const lengths = Array.from(
      { length: batch },
      (_, i) => i === 0 || !decoding ? total - 1 : draw.between(1, total - 1),
    );
    const tensor = (...dims: number[]): Given => draw.tensor("float32", dims);
    const sink = draw.chance(0.3);
    const biased = draw.chance(0.3);
    const positions = draw.chance(0.3) && turned;
    const operands: (Given | null)[] = [
      tensor(batch, length, (packed ? heads + 2 * groups : heads) * size),
      packed ? null : tensor(batch, length, groups * size),
      packed ? null : tensor(batch, length, groups * size),
      capacity > 0 ? tensor(batch, groups, capacity, size) : null,
      capacity > 0 ? tensor(batch, groups, capacity, size) : null,
      given("int32", [batch], lengths),
      { ...given("int32", [1], [total]), constant: draw.chance(0.3), static: true },
      ...(turned ? rotary(draw, 16, size / 2) : [null, null]),
      positions
        ? given(
          "int64",
          [batch, length],
          lengths.flatMap((last) => Array.from({ length }, (_, i) => last + 1 - length + i)),
        )
        : null,
      biased ? tensor(draw.pick([1, batch]), draw.pick([1, heads]), length, total) : null,
      sink ? tensor(heads) : null,
    ];
    while (operands.at(-1) === null) operands.pop();
    return {
      op: "GroupQueryAttention",
      domain: DOMAIN,
      operands,
      outputs: ["float32", "float32", "float32"],
      attributes: [
        int("num_heads", heads),
        int("kv_num_heads", groups),
        ...(turned ? [int("do_rotary", 1), int("rotary_interleaved", draw.between(0, 1))] : []),
        ...(draw.chance(0.3) ? [float("softcap", 3)] : []),
        ...(draw.chance(0.3) ? [int("local_window_size", draw.between(1, 4))] : []),
        ...(draw.chance(0.3) ? [float("scale", 0.4)] : []),
        ...(!sink && draw.chance(0.2) ? [int("smooth_softmax", 1)] : []),
      ],
      ...SUMS,
    };
  },
};
