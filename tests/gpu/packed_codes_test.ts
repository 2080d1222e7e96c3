/**
 * Products with weights of 8, 4, 3 and 2 bits that lie packed along what is summed over: shaders take
 * 4 codes out of a word at a time where the extents allow it, and give what the unpacked weights give,
 * whatever the block, the last block's length, the kind of the scales, and where codes begin.
 */
import assert from "node:assert/strict";
import { compileInto } from "../../conformance/compile.ts";
import { openWebGpu } from "../../conformance/webgpu.ts";
import type { Value } from "../../conformance/values.ts";
import type { DType } from "../../src/dtype.ts";
import {
  int,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Node,
  type Tensor,
} from "../../src/ir.ts";
import { randomFrom } from "./random_jobs.ts";

const COLUMNS = 7;
const BLOCKS = [16, 32, 64, 128, 256] as const;
/** Multiples of a block and not, of 8 and not, of 4 and not. */
const DEPTHS = [256, 300, 36, 33, 520, 16] as const;
const ROWS = [5, 1, 2] as const;

/** One product: its node, constants, input and what it has to give. */
interface Product {
  readonly label: string;
  readonly node: Node;
  readonly constants: readonly Tensor[];
  readonly input: { readonly name: string; readonly value: Value };
  readonly expected: Float32Array;
  /** Sums of what is added up, signs aside. */
  readonly sizes: Float32Array;
}

/** `codes` of `bits` bits each, the lowest bits first; each of `rows` rows from a byte of its own. */
function packed(codes: readonly number[], bits: number, rows: number): Uint8Array<ArrayBuffer> {
  const each = codes.length / rows;
  const stride = Math.ceil((each * bits) / 8);
  const bytes = new Uint8Array(rows * stride);
  codes.forEach((code, i) => {
    const bit = (i % each) * bits;
    const at = Math.floor(i / each) * stride + (bit >> 3);
    bytes[at]! |= code << (bit & 7);
  });
  return bytes;
}

/** Blocks of 3-bit codes as planes L0, L1 and H: `src/ops/packed_codes.ts` says how they lie. */
function planes(codes: readonly number[], block: number): Uint8Array<ArrayBuffer>[] {
  const quarter = block / 4;
  const [low0, low1, high] = [0, 1, 2].map(() => new Uint8Array(codes.length / 8)) as [
    Uint8Array<ArrayBuffer>,
    Uint8Array<ArrayBuffer>,
    Uint8Array<ArrayBuffer>,
  ];
  codes.forEach((code, i) => {
    const s = Math.floor((i % block) / quarter);
    const r = i % quarter;
    const at = Math.floor(i / block) * (block / 8) + (r >> 1);
    const nibble = 4 * (r & 1);
    (s < 2 ? low0 : low1)[at]! |= (code & 3) << (nibble + 2 * (s & 1));
    high[at]! |= (code >> 2) << (nibble + s);
  });
  return [low0, low1, high];
}

function product(index: number, bits: number, block: number, symmetric: boolean, scale: DType) {
  const random = randomFrom(index + 1);
  const [depth, rows] = [DEPTHS[index % DEPTHS.length]!, ROWS[index % ROWS.length]!];
  const blocks = Math.ceil(depth / block);
  const draw = (count: number, below: number): number[] =>
    Array.from({ length: count }, () => Math.floor(random() * below));
  const codes = draw(COLUMNS * blocks * block, 2 ** bits);
  const zeros = draw(COLUMNS * blocks, 2 ** bits);
  // Of so few bits that float16 holds them.
  const scales = draw(COLUMNS * blocks, 64).map((value) => (value + 1) / 256);
  const a = Float32Array.from({ length: rows * depth }, () => 2 * random() - 1);
  const expected = new Float32Array(rows * COLUMNS);
  const sizes = new Float32Array(rows * COLUMNS);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < COLUMNS; column++) {
      let [sum, size] = [0, 0];
      for (let k = 0; k < depth; k++) {
        const group = column * blocks + Math.floor(k / block);
        // The 3-bit form stores the zero points of a 4-bit one.
        const middle = bits === 3 ? 8 : 2 ** (bits - 1);
        const zero = symmetric ? middle : zeros[group]!;
        const part = a[row * depth + k]! * (codes[column * blocks * block + k]! - zero) *
          scales[group]!;
        sum += part;
        size += Math.abs(part);
      }
      expected[row * COLUMNS + column] = sum;
      sizes[row * COLUMNS + column] = size;
    }
  }
  const constants: Tensor[] = [];
  const constant = (dtype: DType, dims: number[], bytes: Uint8Array<ArrayBuffer>): string => {
    const name = `c${index}_${constants.length}`;
    constants.push(makeTensor(name, dtype, dims, { kind: "memory", bytes }));
    return name;
  };
  const weights = bits === 3
    ? planes(codes, block).map((plane) => constant("uint8", [COLUMNS, blocks, block / 8], plane))
    : [constant("uint8", [COLUMNS, blocks, block * bits / 8], packed(codes, bits, COLUMNS))];
  const values = scale === "float16" ? Float16Array.from(scales) : Float32Array.from(scales);
  const scaleName = constant(scale, [COLUMNS, blocks], new Uint8Array(values.buffer));
  const zeroBytes = packed(zeros, bits === 3 ? 4 : bits, COLUMNS);
  const zeroName = symmetric ? [] : [constant("uint8", [zeroBytes.length], zeroBytes)];
  const attributes = [
    int("K", depth),
    int("N", COLUMNS),
    int("block_size", block),
    ...bits === 3 ? [] : [int("bits", bits)],
  ];
  const node = makeNode(
    bits === 3 ? "MatMulThreeBits" : "MatMulNBits",
    bits === 3 ? "modelcast" : "com.microsoft",
    [`a${index}`, ...weights, scaleName, ...zeroName],
    [`y${index}`],
    attributes,
  );
  const input = {
    name: `a${index}`,
    value: { dtype: "float32", dims: [rows, depth], data: a } as const,
  };
  const kind = symmetric ? "symmetric" : "asymmetric";
  const label = `${bits} bits, blocks of ${block}, ${kind}, ${scale} scales, ${rows} x ${depth}`;
  return { label, node, constants, input, expected, sizes } satisfies Product;
}

function* products(bits: number): Generator<Product> {
  for (const [i, block] of BLOCKS.entries()) {
    yield product(2 * i, bits, block, true, i % 2 === 0 ? "float16" : "float32");
    yield product(2 * i + 1, bits, block, false, i % 2 === 0 ? "float32" : "float16");
  }
}

for (const bits of [8, 4, 3, 2]) {
  Deno.test(`products with packed codes of ${bits} bits give what unpacked ones give`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      const all = [...products(bits)];
      const graph = makeGraph("products", {
        nodes: all.map(({ node }) => node),
        initializers: all.flatMap(({ constants }) => constants),
        inputs: all.map(({ input: { name, value } }) =>
          makeValueInfo(name, "float32", [...value.dims])
        ),
        outputs: all.map(({ node }) => makeValueInfo(node.outputs[0]!, null, null)),
      });
      const opsets = new Map([["", 21], ["com.microsoft", 1], ["modelcast", 1]]);
      const model = makeModel("products.onnx", 10, opsets, graph);
      const webgpu = await openWebGpu(compileInto(folder));
      await using module = await webgpu.prepare(model);
      const got = await module.run(new Map(all.map(({ input }) => [input.name, input.value])));
      for (const { label, node, input, expected, sizes } of all) {
        const found = got.get(node.outputs[0]!)!.data;
        assert.equal(found.length, expected.length, label);
        const depth = input.value.dims[1]!;
        expected.forEach((value, i) => {
          // Each sum rounds, and each product twice.
          const bound = (depth + 3) * 2 ** -24 * sizes[i]!;
          assert.ok(Math.abs(Number(found[i]) - value) <= bound, `${label}: ${found[i]}, ${value}`);
        });
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
