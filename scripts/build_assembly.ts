/**
 * Compiles the AssemblyScript kernels in `assembly/` to `build/quantize.wasm`, unless that file is
 * newer than all that it is made of. Run it as `deno task build:assembly`.
 */
import { mkdir, readdir, readFile, rename, stat, writeFile } from "node:fs/promises";

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
  // Static data comes first: src/quantization/shared_memory.ts leaves 1024 bytes for it.
  "--memoryBase=64",
  "--sharedMemory",
  "--enable=simd",
  "--enable=relaxed-simd",
  "--enable=threads",
  // Pointers are 32 bits here and stay so; vectors never leave the module.
  "--disableWarning=201",
  "--disableWarning=112",
];

/** Whether the compiled kernels are newer than their sources and than this script. */
async function isFresh(): Promise<boolean> {
  const changed = async (url: URL) => (await stat(url)).mtimeMs;
  const built = await changed(TARGET).catch(() => -Infinity);
  const names = (await readdir(SOURCES)).filter((name) => name.endsWith(".ts"));
  const sources = [new URL(import.meta.url), ...names.map((name) => new URL(name, SOURCES))];
  const times = await Promise.all(sources.map(changed));
  return times.every((time) => time < built);
}

/** Compiles the kernels. Throws with the compiler's words. */
async function build(): Promise<void> {
  const sources = new Map<string, string>();
  for (const name of await readdir(SOURCES)) {
    if (name.endsWith(".ts")) sources.set(name, await readFile(new URL(name, SOURCES), "utf8"));
  }
  let compiled: Uint8Array | null = null;
  // Loaded late: it takes a second, which a fresh file needs not.
  const { default: asc } = await import("assemblyscript/asc");
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
}

if (!(await isFresh())) {
  await build();
  console.log("Compiled assembly/ to build/quantize.wasm");
}
