/**
 * Quantized weights keep their bits in modules: those of other tools' DequantizeLinear, and those of
 * modelcast's own forms for ONNX Runtime, which take codes apart or join them with stock operators.
 */
import assert from "node:assert/strict";
import { compileModel } from "../../src/codegen/mod.ts";
import type { DType } from "../../src/dtype.ts";
import {
  allGraphs,
  elementCount,
  int,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Model,
  type Tensor,
} from "../../src/ir.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { upgradeModel } from "../../src/onnx/upgrade.ts";
import { check } from "../../src/passes/check.ts";
import { runPasses } from "../../src/passes/mod.ts";
import { convertCase, QUANTIZATION } from "../encoding_conversion.ts";
import { ENCODING_CASES } from "../encoding_models.ts";

const random = (name: string, dtype: DType, dims: readonly number[], width: number): Tensor => {
  const seed = name.length * 7;
  const bytes = Uint8Array.from(
    { length: elementCount(dims) * width },
    (_, i) => width === 4 ? [0, 0, 128, 61][i % 4]! : (i * seed + (i >> 3)) % 100,
  );
  return makeTensor(name, dtype, dims, { kind: "memory", bytes });
};

/** A product and a convolution as quantizers write them: activations and weights by QDQ pairs. */
function qdqModel(): Model {
  const quantized = (name: string, scale: string, zero: string) => [
    makeNode("QuantizeLinear", "", [name, scale, zero], [`${name}.q`]),
    makeNode("DequantizeLinear", "", [`${name}.q`, scale, zero], [`${name}.dq`]),
  ];
  const graph = makeGraph("qdq", {
    nodes: [
      ...quantized("x", "s", "z"),
      makeNode("DequantizeLinear", "", ["kernel", "ks", "kz"], ["k"], [int("axis", 0)]),
      makeNode("Conv", "", ["x.dq", "k"], ["c"]),
      ...quantized("c", "s", "z"),
      makeNode("Flatten", "", ["c.dq"], ["f"]),
      makeNode("DequantizeLinear", "", ["w", "ws", "wz"], ["wf"], [int("axis", 1)]),
      makeNode("MatMul", "", ["f", "wf"], ["y"]),
    ],
    initializers: [
      random("s", "float32", [], 4),
      random("z", "int8", [], 1),
      random("kernel", "int8", [32, 64, 3, 3], 1),
      random("ks", "float32", [32], 4),
      random("kz", "int8", [32], 1),
      random("w", "int8", [32 * 16, 100], 1),
      random("ws", "float32", [100], 4),
      random("wz", "int8", [100], 1),
    ],
    inputs: [makeValueInfo("x", "float32", ["batch", 64, 6, 6])],
    outputs: [makeValueInfo("y", "float32", ["batch", 100])],
  });
  return makeModel("qdq.onnx", 10, new Map([["", 21]]), graph);
}

Deno.test("a model that other tools quantized keeps its bytes", async () => {
  const { weights, hostNodes } = await compileModel(qdqModel());
  const bytes = weights.reduce((sum, weight) => sum + weight.bytes, 0);
  const codes = 32 * 64 * 9 + 512 * 100;
  assert.ok(bytes >= codes && bytes <= codes + 4 * (32 + 100) + 256, `${bytes} of ${codes}`);
  assert.deepEqual(hostNodes, []);
});

const OPTIONS = { ...QUANTIZATION, runtimes: ["onnxruntime-1.22"] };

Deno.test("codes that modelcast packs become one op each, and take their own bits", async () => {
  const folder = await Deno.makeTempDir();
  const seen = new Set<string>();
  try {
    for (const entry of ENCODING_CASES) {
      if (!/matmul of whole blocks|gather|conv/i.test(entry.name)) continue;
      for (
        const [bits, encoding] of [[3, "auto"], [3, "qdq"], [2, "auto"]] as const
      ) {
        const name = `${entry.name.replaceAll(/\W/g, "_")}.${bits}.${encoding}`;
        const options = { ...OPTIONS, bits, encoding } as const;
        const { path, weights } = await convertCase(entry.build, options, folder, name);
        if (weights.length === 0) continue;
        const model = await readModel(path);
        upgradeModel(model, { opset: 28 });
        await runPasses(model, { after: (_, now) => check(now) });
        const ops = [...allGraphs(model.graph)].flatMap((graph) =>
          graph.nodes.map((node) => node.opType)
        );
        for (const op of ops) seen.add(op);
        assert.ok(
          ops.some((op) => /^(MatMul(Two|Three)Bits|PackedCodes|ThreeBitCodes)$/.test(op)),
          `${name}: ${ops}`,
        );
        assert.ok(!ops.includes("BitShift") && !ops.includes("ReduceSum"), `${name}: ${ops}`);
        const compiled = await compileModel(await readModel(path));
        const bytes = compiled.weights.reduce((sum, weight) => sum + weight.bytes, 0);
        const stored = model.graph.initializers.reduce(
          (sum, { dims, dtype }) =>
            sum + elementCount(dims) * ({ uint8: 1, float16: 2 }[dtype as string] ?? 4),
          0,
        );
        assert.ok(bytes <= stored + 1024, `${name}: ${bytes} of ${stored}`);
      }
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  for (const op of ["MatMulThreeBits", "MatMulTwoBits", "PackedCodes", "ThreeBitCodes"]) {
    assert.ok(seen.has(op), op);
  }
});
