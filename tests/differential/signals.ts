/** Random calls of transforms, windows, n-grams and what else is no layer. */
import { int, ints } from "../../src/ir.ts";
import { fixed, floats, given, text } from "./draw.ts";
import type { Generators } from "./elementwise.ts";

const SUMS = { rtol: 2e-3, atol: 1e-4 } as const;

/** Everything of this kind. */
export const SIGNALS: Generators = {
  Det: (draw) => {
    const n = draw.between(1, 4);
    return {
      op: "Det",
      operands: [draw.tensor("float32", [...draw.shape(0, 2, false), n, n])],
      outputs: ["float32"],
      ...SUMS,
    };
  },
  DFT: (draw) => {
    const inverse = draw.between(0, 1);
    const dims = [draw.between(1, 2), draw.between(2, 9), draw.between(1, 3)];
    return {
      op: "DFT",
      operands: [
        { ...draw.tensor("float32", [...dims, draw.pick([1, 2])]), static: true },
        null,
        fixed(given("int64", [], [draw.pick([1, 2, -2, -3])])),
      ],
      outputs: ["float32"],
      attributes: [int("inverse", inverse)],
      opset: 20,
      ...SUMS,
    };
  },
  STFT: (draw) => {
    const length = draw.between(3, 8);
    const window = draw.maybe(() => draw.tensor("float32", [length]));
    return {
      op: "STFT",
      operands: [
        draw.tensor("float32", [draw.between(1, 2), draw.between(9, 20), 1]),
        fixed(given("int64", [], [draw.between(1, 4)])),
        window,
        fixed(given("int64", [], [length])),
      ],
      outputs: ["float32"],
      attributes: [int("onesided", draw.between(0, 1))],
      ...SUMS,
    };
  },
  HannWindow: (draw) => ({
    op: "HannWindow",
    operands: [{ ...draw.integer(draw.between(2, 9)), dims: [] }],
    outputs: ["float32"],
    attributes: [int("periodic", draw.between(0, 1))],
  }),
  HammingWindow: (draw) => ({
    op: "HammingWindow",
    operands: [{ ...draw.integer(draw.between(2, 9)), dims: [] }],
    outputs: ["float32"],
    attributes: [int("periodic", draw.between(0, 1))],
  }),
  BlackmanWindow: (draw) => ({
    op: "BlackmanWindow",
    operands: [{ ...draw.integer(draw.between(2, 9)), dims: [] }],
    outputs: ["float32"],
    attributes: [int("periodic", draw.between(0, 1))],
  }),
  TfIdfVectorizer: (draw) => {
    const most = draw.between(1, 3);
    const counts: number[] = [];
    const pool: number[] = [];
    const grams = new Set<string>();
    let total = 0;
    for (let length = 1; length <= most; length++) {
      counts.push(pool.length);
      for (let i = draw.between(length === most ? 1 : 0, 4); i > 0; i--) {
        const gram = Array.from({ length }, () => draw.between(0, 3));
        if (grams.has(gram.join())) continue;
        grams.add(gram.join());
        pool.push(...gram);
        total++;
      }
    }
    const least = draw.between(1, most);
    return {
      op: "TfIdfVectorizer",
      operands: [draw.tensor(draw.pick(["int32", "int64"]), draw.shape(1, 2, false), 0, 3)],
      outputs: ["float32"],
      attributes: [
        text("mode", draw.pick(["TF", "IDF", "TFIDF"])),
        int("min_gram_length", least),
        int("max_gram_length", most),
        int("max_skip_count", draw.between(0, 3)),
        ints("ngram_counts", counts),
        ints("ngram_indexes", draw.shuffled(Array.from({ length: total }, (_, i) => i))),
        ints("pool_int64s", pool),
        floats("weights", Array.from({ length: total }, () => draw.number(0.5, 2))),
      ],
    };
  },
  NonMaxSuppression: (draw) => {
    const boxes = draw.between(1, 9);
    const corners = Array.from({ length: boxes }, () => {
      const [y, x] = [draw.number(0, 5), draw.number(0, 5)];
      return [y, x, y + draw.number(0.5, 4), x + draw.number(0.5, 4)];
    });
    return {
      op: "NonMaxSuppression",
      operands: [
        given("float32", [1, boxes, 4], corners.flat()),
        draw.tensor("float32", [1, draw.between(1, 3), boxes], 0, 1),
        fixed(given("int64", [1], [draw.between(0, 5)])),
        fixed(given("float32", [1], [draw.number(0.1, 0.9)])),
        draw.maybe(() => fixed(given("float32", [1], [draw.number(0, 0.5)]))),
      ],
      outputs: ["int64"],
    };
  },
};
