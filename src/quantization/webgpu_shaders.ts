/**
 * The WGSL of the quantization kernels. Each file in `kernels/quantize` is valid by itself; the
 * emitted module is `arithmetic.wgsl` and then what follows the line `// ---- core` of the kernel's
 * file, whose header only stands in for `arithmetic.wgsl`.
 */
import arithmetic from "../../kernels/quantize/arithmetic.wgsl" with { type: "text" };
import selfTest from "../../kernels/quantize/self_test.wgsl" with { type: "text" };

const CORE = "// ---- core\n";

/** The module of the self-test. */
export const SELF_TEST_SHADER: string = withArithmetic(selfTest);

function withArithmetic(kernel: string): string {
  const core = kernel.indexOf(CORE);
  if (core < 0) throw new Error(`A kernel lacks the line "${CORE.trimEnd()}".`);
  return `${arithmetic}\n${kernel.slice(core + CORE.length)}`;
}
