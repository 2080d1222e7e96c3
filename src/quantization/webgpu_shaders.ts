/**
 * The WGSL of the quantization kernels. Each file in `kernels/quantize` is valid by itself; what
 * follows its line `// ---- core` is a piece of a module, and the header before that only stands in
 * for the pieces that come earlier in the module.
 */
import arithmetic from "../../kernels/quantize/arithmetic.wgsl" with { type: "text" };
import choice from "../../kernels/quantize/choice.wgsl" with { type: "text" };
import direct from "../../kernels/quantize/direct.wgsl" with { type: "text" };
import hqq from "../../kernels/quantize/hqq.wgsl" with { type: "text" };
import long from "../../kernels/quantize/long.wgsl" with { type: "text" };
import longHqq from "../../kernels/quantize/long_hqq.wgsl" with { type: "text" };
import longMse from "../../kernels/quantize/long_mse.wgsl" with { type: "text" };
import matrix from "../../kernels/quantize/matrix.wgsl" with { type: "text" };
import mse from "../../kernels/quantize/mse.wgsl" with { type: "text" };
import selfTest from "../../kernels/quantize/self_test.wgsl" with { type: "text" };
import short from "../../kernels/quantize/short.wgsl" with { type: "text" };
import shortHqq from "../../kernels/quantize/short_hqq.wgsl" with { type: "text" };
import shortMse from "../../kernels/quantize/short_mse.wgsl" with { type: "text" };
import shortRtn from "../../kernels/quantize/short_rtn.wgsl" with { type: "text" };
import staged from "../../kernels/quantize/staged.wgsl" with { type: "text" };
import type { Method } from "./engine.ts";

/** The line of a file after which its piece begins. */
const CORE = "// ---- core\n";

/** Kernels for blocks that a thread takes whole, and for blocks that are rows of any length. */
export type BlockKind = "short" | "long";

/** The module of the self-test. */
export const SELF_TEST_SHADER: string = module(selfTest);

/** How the kernels read weights: by way of workgroup memory, or straight from the buffer. */
export type Access = "staged" | "direct";

const ACCESS: Readonly<Record<Access, string>> = { staged, direct };

/** The module of the kernels for a kind of blocks and a method. */
export function kernelShader(access: Access, kind: BlockKind, method: Method): string {
  const search: Readonly<Record<Method, readonly string[]>> = { rtn: [], mse: [mse], hqq: [hqq] };
  return module(matrix, ACCESS[access], choice, ...search[method], ...DRIVERS[kind][method]);
}

const DRIVERS: Readonly<Record<BlockKind, Readonly<Record<Method, readonly string[]>>>> = {
  short: { rtn: [shortRtn, short], mse: [shortMse, short], hqq: [shortHqq, short] },
  long: { rtn: [long], mse: [long, longMse], hqq: [long, longHqq] },
};

/** The exact arithmetic and then the cores of `files`. */
function module(...files: string[]): string {
  return [arithmetic, ...files.map(coreOf)].join("\n");
}

function coreOf(file: string): string {
  const start = file.indexOf(CORE);
  if (start < 0) throw new Error(`A kernel lacks the line "${CORE.trimEnd()}".`);
  return file.slice(start + CORE.length);
}
