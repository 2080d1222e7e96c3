/**
 * The shader check by naga: good shaders pass, bad ones are told with their place, extensions count
 * only where they are enabled, and nothing that it is given ends the process or leaves it broken.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { checkShader, shaderChecker } from "../../src/codegen/shader_check.ts";
import { kernelFiles, textOf } from "../gpu/kernel_texts.ts";

const GOOD = "@compute @workgroup_size(1) fn main() {}";

/** Wraps a body in a kernel that writes floats. */
function kernel(body: string, directives = ""): string {
  return `${directives}
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3u) { ${body} }`;
}

/** Fails unless the shader has a problem in words that match, in line `line`, on the text `marked`. */
async function refused(code: string, words: RegExp, line: number, marked: string): Promise<void> {
  const problem = await checkShader(code);
  assert.ok(problem !== null, "it was accepted");
  assert.match(problem.message, words);
  assert.equal(problem.line, line);
  const begin = problem.column - 1;
  assert.equal(code.split("\n")[line - 1]!.slice(begin, begin + problem.length), marked);
}

Deno.test("naga is built and is the one who checks", async () => {
  assert.equal(await shaderChecker(), "naga", "deno task build:shader-check");
});

Deno.test("every kernel file and the prelude pass", async () => {
  for (const { pass } of kernelFiles()) {
    assert.equal(await checkShader(textOf(pass)), null, pass.name);
  }
  const folder = new URL("../../kernels/ops/", import.meta.url);
  const text = (name: string) => Deno.readTextFile(new URL(name, folder));
  // Each calls functions of those before it.
  let prelude = "";
  for (const name of ["prelude_bits.wgsl", "prelude.wgsl", "prelude_small_floats.wgsl"]) {
    prelude += await text(name);
    assert.equal(await checkShader(prelude), null, name);
  }
});

Deno.test("core WebGPU passes, and what an extension adds where it is enabled", async () => {
  const codes = [
    GOOD,
    kernel("y[id.x] = unpack2x16float(pack2x16float(vec2f(1.5, 2)) ).x;"),
    kernel("y[id.x] = f32(dot4I8Packed(id.x, 3u)); workgroupBarrier();"),
    kernel("y[id.x] = bitcast<f32>(0x7f800000u);"),
    kernel("y[id.x] = f32(f16(y[id.x]));", "enable f16;"),
    kernel("y[id.x] = subgroupAdd(y[id.x]);", "enable subgroups;"),
    ...["f16, subgroups", "subgroups, f16", "f16, subgroups,", "subgroups, f16,"].map((names) =>
      kernel(
        "y[id.x] = subgroupShuffleXor(f32(f16(y[id.x])), 1u);",
        `// enable nothing;\n/* a /* nested */ one */ enable ${names};\n`,
      )
    ),
    kernel("y[id.x] = f32(f16(subgroupMax(y[id.x])));", "enable f16;\nenable subgroups;"),
  ];
  for (const code of codes) assert.equal(await checkShader(code), null, code);
});

Deno.test("an extension that is not enabled is a problem", async () => {
  await refused(kernel("y[0] = f32(f16(1));"), /`f16`/, 4, "f16");
  const sum = kernel("y[0] = subgroupAdd(y[0]);");
  await refused(sum, /SUBGROUP/, 4, "subgroupAdd");
  await refused(
    `/* enable subgroups; */ // enable subgroups;${sum}`,
    /SUBGROUP/,
    4,
    "subgroupAdd",
  );
  await refused("requires subgroups;", /subgroups/, 1, "subgroups");
  assert.notEqual(await checkShader("enable f16 subgroups;" + GOOD), null);
  assert.notEqual(await checkShader("enable subgroups f16;" + GOOD), null);
  await refused("enable wgpu_mesh_shader;", /wgpu_mesh_shader/, 1, "wgpu_mesh_shader");
  await refused(kernel("y[0] = f32(i64(id.x));"), /./, 4, "i64(id.x)");
});

Deno.test("a problem has its line, its column and its length", async () => {
  await refused("fn f() {\n  let a = b;\n}", /`b`/, 2, "b");
  await refused("fn f() -> f32 {\r\n\treturn 1e40f;\r\n}", /1e40f/, 2, "1e40f");
  // Columns count UTF-16 units: one for é, two for the clef.
  await refused("fn f() {\n  /* é𝄞 */ let a = β𝄞;\n}", /./, 2, "𝄞");
  assert.equal((await checkShader("fn f() {\n  /* é𝄞 */ let a = β𝄞;\n}"))?.column, 22);
  await refused("enable f16, subgroups;\nfn f() {\n  let a = missing;\n}", /missing/, 3, "missing");
  await refused("fn f() -> i32 { return 1 / 0; }", /./, 1, "1 / 0");
  await refused(kernel("y[id.x] = id.x;"), /`u32` to `f32`/, 4, "y[id.x]");
  await refused("fn f(", /./, 1, "");
});

Deno.test("hostile shaders are problems, and the next shader is checked as ever", async () => {
  const nested = (before: string, open: string, middle: string, close: string, count: number) =>
    before + open.repeat(count) + middle + close.repeat(count);
  const codes = [
    nested("fn f() { let a = ", "(", "1", ")", 1e6),
    nested("fn f() { let a = ", "!", "true;", "", 1e6),
    nested("fn f() { let a = ", "- ", "1;", "", 1e5),
    nested("fn f() { let a = ", "b[", "1", "]", 1e6),
    nested("fn f() { let a = ", "vec2<", "f32", ">", 1e6),
    nested("fn f() { let a = ", "abs(", "1", ")", 1e5),
    nested("fn f() ", "{", "", "}", 1e6),
    nested("fn f() { ", "if true {", "", "}", 1e5),
    `fn f() { if true {} ${"else if true {}".repeat(1e5)} }`,
    `fn f(a: f32) -> f32 { return a${"+a".repeat(1e5)}; }`,
    nested("", "/*", "", "", 1e6),
    "fn f() { let a = 1" + "0".repeat(1e6) + "; }",
    "a".repeat(1e6),
    "enable " + "subgroups,".repeat(1e5),
    "enable",
    "/",
    "/*",
    "\u0000\ud800\uffff",
  ];
  for (const code of codes) {
    const problem = await checkShader(code);
    assert.ok(problem !== null && problem.message !== "", code.slice(0, 40));
    assert.equal(await checkShader(GOOD), null);
  }
});

Deno.test("what is no shader is a problem and never an exception", async () => {
  const piece = fc.constantFrom(
    ...[
      "enable ",
      "subgroups",
      "f16",
      ",",
      ";",
      "/*",
      "*/",
      "//",
      "\n",
      "fn f() ",
      "{",
      "}",
      "(",
      ")",
    ],
    ...[
      "array<f32, ",
      ">",
      "4",
      "const a = ",
      "vec4f",
      "let ",
      "é",
      "𝄞",
      "@",
      "1.5e",
      "&",
      "*",
      "=",
    ],
  );
  const text = fc.oneof(fc.string({ unit: "binary" }), fc.array(piece).map((all) => all.join("")));
  await fc.assert(
    fc.asyncProperty(text, async (code) => {
      const problem = await checkShader(code);
      if (problem === null) return;
      const { line, column, length } = problem;
      const lines = code.split("\n");
      assert.ok(line >= 0 && line <= lines.length);
      if (line > 0) assert.ok(column >= 1 && column <= lines[line - 1]!.length + 1);
      assert.ok(length >= 0 && length <= code.length);
    }),
    { numRuns: 3000 },
  );
});
