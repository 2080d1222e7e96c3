/**
 * Checks shaders before they are written into a module: with naga where `deno task
 * build:shader-check` has built it, else with the compiler of a WebGPU adapter, else not at all,
 * which the report of a conversion says.
 */
import { withRuntimeFolder } from "../hardware.ts";

/** What is wrong with a shader. */
export interface ShaderProblem {
  readonly message: string;
  /** Line from 1; 0 where the problem has no place. */
  readonly line: number;
  /** Column from 1, in UTF-16 units; 0 where the problem has no place. */
  readonly column: number;
  /** Length in UTF-16 units. */
  readonly length: number;
}

/** Who checks shaders on this machine. */
export type ShaderChecker = "naga" | "adapter" | "none";

/** A way to check. */
interface Checker {
  readonly name: ShaderChecker;
  /** Whether it knows what a feature adds to the language. */
  knows(feature: string): boolean;
  check(code: string): ShaderProblem | null | Promise<ShaderProblem | null>;
}

/** What wasm-bindgen exports for the crate `shader-check`. */
interface Glue {
  check(code: string): (ShaderProblem & { free(): void }) | undefined;
  __wbg_set_wasm(exports: WebAssembly.Exports): void;
}

const FOLDER = new URL("../../build/shader-check/", import.meta.url);
const GLUE = "shader_check_bg.js";
const WEBASSEMBLY = "shader_check_bg.wasm";
/** What an adapter may offer and a shader enable. */
const FEATURES = ["shader-f16", "subgroups"] as const;

let checker: Promise<Checker> | null = null;

/** Who checks shaders: the first call looks, which starts naga or asks for an adapter. */
export async function shaderChecker(): Promise<ShaderChecker> {
  return (await findChecker()).name;
}

/** Whether shaders that enable these features can be checked: an adapter knows its own alone. */
export async function canCheck(features: readonly string[]): Promise<boolean> {
  const { knows } = await findChecker();
  return features.every((feature) => knows(feature));
}

/**
 * The first problem of a shader, null where there is none or where nobody can check. A shader that
 * the checker can't cope with is a problem too, never an exception.
 *
 * naga does not see barriers outside of uniform control flow. An adapter refuses what it lacks
 * (`f16`, `subgroups`), with a message that says so.
 */
export async function checkShader(code: string): Promise<ShaderProblem | null> {
  return await (await findChecker()).check(code);
}

function findChecker(): Promise<Checker> {
  checker ??= loadNaga()
    .then(async (naga) =>
      naga ?? await openAdapter() ??
        { name: "none", knows: () => false, check: () => null }
    );
  return checker;
}

/** The built naga; null where it was not built. */
async function loadNaga(): Promise<Checker | null> {
  let module: WebAssembly.Module;
  try {
    module = await WebAssembly.compile(await Deno.readFile(new URL(WEBASSEMBLY, FOLDER)));
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
  let instances = 0;
  const start = async (): Promise<Glue> => {
    // The glue holds an instance and views of its memory, so that each instance has its own.
    const glue: Glue = await import(`${new URL(GLUE, FOLDER)}?instance=${instances++}`);
    const imports = glue as unknown as WebAssembly.ModuleImports;
    const { exports } = await WebAssembly.instantiate(module, { [`./${GLUE}`]: imports });
    glue.__wbg_set_wasm(exports);
    const { __wbindgen_start: begin } = exports;
    if (typeof begin === "function") begin();
    return glue;
  };
  let current = await start();
  return {
    name: "naga",
    knows: () => true,
    async check(code) {
      try {
        const found = current.check(code);
        if (found === undefined) return null;
        const { message, line, column, length } = found;
        found.free();
        return { message, line, column, length };
      } catch (error) {
        // A stack overflow, for one. What is left of the instance can't be trusted.
        current = await start();
        const message = `The checker gave up: ${error instanceof Error ? error.message : error}`;
        return { message, line: 0, column: 0, length: 0 };
      }
    },
  };
}

/** Whether reading failed because there is no such file, or because it may not be read. */
function isAbsent(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable;
}

/** The compiler of a WebGPU adapter; null where there is no adapter. */
async function openAdapter(): Promise<Checker | null> {
  let device: GPUDevice | null = null;
  const open = async (): Promise<GPUDevice | null> => {
    const adapter = await withRuntimeFolder(async () =>
      await navigator.gpu?.requestAdapter() ?? null
    );
    if (adapter === null) return null;
    const requiredFeatures = FEATURES.filter((feature) => adapter.features.has(feature));
    device = await adapter.requestDevice({ requiredFeatures });
    device.lost.then(() => device = null, () => device = null);
    return device;
  };
  const first = await open().catch(() => null);
  if (first === null) return null;
  const features = new Set<string>(first.features);
  return {
    name: "adapter",
    knows: (feature) => features.has(feature),
    async check(code) {
      const using = device ?? await open();
      if (using === null) {
        return { message: "The adapter was lost.", line: 0, column: 0, length: 0 };
      }
      // Taken from the scope, so that it doesn't reach the device's listeners.
      using.pushErrorScope("validation");
      const info = await using.createShaderModule({ code }).getCompilationInfo();
      const error = await using.popErrorScope();
      const found = info.messages.find(({ type }) => type === "error");
      if (found !== undefined) {
        const { message, lineNum, linePos, length } = found;
        return { message, line: lineNum, column: linePos, length };
      }
      if (error === null) return null;
      return { message: error.message, line: 0, column: 0, length: 0 };
    },
  };
}
