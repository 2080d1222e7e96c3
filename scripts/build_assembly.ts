/**
 * Compiles the AssemblyScript kernels in `assembly/` to `build/quantize.wasm`. Run it as
 * `deno task build:assembly`; programs that need the file call {@link buildAssembly} themselves.
 */
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import asc from "assemblyscript/asc";

const SOURCES = new URL("../assembly/", import.meta.url);
const TARGET = new URL("../build/quantize.wasm", import.meta.url);

/** Speed, no run-time library, memory given by the engine and shared by its workers. */
const OPTIONS = [
  "-Ospeed",
  "--noAssert",
  "--uncheckedBehavior=always",
  "--runtime=stub",
  "--importMemory",
  "--noExportMemory",
  "--initialMemory=1",
  "--maximumMemory=65536",
  "--sharedMemory",
  "--enable=simd",
  "--enable=threads",
  // Pointers are 32 bits here and stay so; vectors never leave the module.
  "--disableWarning=201",
  "--disableWarning=112",
];

/** Compiles the kernels and returns where they lie. Throws with the compiler's words. */
export async function buildAssembly(): Promise<URL> {
  const sources = new Map<string, string>();
  for (const name of await readdir(SOURCES)) {
    if (name.endsWith(".ts")) sources.set(name, await readFile(new URL(name, SOURCES), "utf8"));
  }
  let compiled: Uint8Array | null = null;
  const { error, stderr } = await asc.main(["index.ts", "--outFile=quantize.wasm", ...OPTIONS], {
    readFile: (name: string) => sources.get(name.replace(/^\.\//, "")) ?? null,
    writeFile: (_name: string, contents: Uint8Array | string) => {
      if (typeof contents !== "string") compiled = contents;
    },
    listFiles: () => [],
  });
  if (error || compiled === null) {
    throw new Error(`Cannot compile "assembly/index.ts": ${error?.message ?? ""}\n${stderr}`);
  }
  await mkdir(new URL(".", TARGET), { recursive: true });
  const temporary = new URL(`quantize.wasm.${crypto.randomUUID()}.tmp`, TARGET);
  await writeFile(temporary, compiled);
  await rename(temporary, TARGET);
  return TARGET;
}

if (import.meta.main) {
  await buildAssembly();
  console.log("build/quantize.wasm");
}
