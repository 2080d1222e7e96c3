/**
 * The WGSL of the quantization kernels. A module is a list of files of `kernels/quantize`, each of
 * which builds on those before it, so that whatever they share is declared once. There is no other
 * text: kernels vary by the files of the list and by override constants.
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

/** Kernels for blocks that a thread takes whole, and for blocks that are rows of any length. */
export type BlockKind = "short" | "long";

/** How the kernels read weights: by way of workgroup memory, or straight from the buffer. */
export type Access = "staged" | "direct";

const ACCESS: Readonly<Record<Access, string>> = { staged, direct };

const SEARCH: Readonly<Record<Method, readonly string[]>> = { rtn: [], mse: [mse], hqq: [hqq] };

const DRIVERS: Readonly<Record<BlockKind, Readonly<Record<Method, readonly string[]>>>> = {
  short: { rtn: [shortRtn, short], mse: [shortMse, short], hqq: [shortHqq, short] },
  long: { rtn: [long], mse: [long, longMse], hqq: [long, longHqq] },
};

/** The files of the self-test. */
export const SELF_TEST_FILES: readonly string[] = [arithmetic, selfTest];

/** The files of the kernels for a kind of blocks and a method. Each is valid after those before it. */
export function kernelFiles(access: Access, kind: BlockKind, method: Method): readonly string[] {
  return [
    arithmetic,
    matrix,
    ACCESS[access],
    choice,
    ...SEARCH[method],
    ...DRIVERS[kind][method],
  ];
}

/** The module that `files` make. */
export function shaderOf(files: readonly string[]): string {
  return files.join("\n");
}
