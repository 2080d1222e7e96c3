/** How far outputs are from those of ONNX Runtime's CPU provider. */
import type { GpuOutput, HostOutput } from "../../src/codegen/module.ts";
import { type HostTensor, toFloat64 } from "../../src/verify/values.ts";

/** The numbers of a module's outputs, by name. */
export function numbersOf(
  outputs: Readonly<Record<string, HostOutput | GpuOutput>>,
): Map<string, Float64Array> {
  return new Map(
    Object.entries(outputs).map(([name, output]) => {
      if (!("data" in output)) throw new Error(`"${name}" stayed on the GPU`);
      return [name, Float64Array.from(output.data, Number)];
    }),
  );
}

/** The numbers of ONNX Runtime's outputs, by name. */
export function numbersOfTensors(
  tensors: ReadonlyMap<string, HostTensor>,
): Map<string, Float64Array> {
  return new Map(
    [...tensors].map(([name, tensor]) => [name, Float64Array.from(toFloat64(tensor))]),
  );
}

/** The worst relative L2 error of an output. */
export function difference(
  ours: ReadonlyMap<string, Float64Array>,
  expected: ReadonlyMap<string, Float64Array>,
): number {
  let worst = 0;
  for (const [name, given] of expected) {
    const output = ours.get(name);
    if (output?.length !== given.length) throw new Error(`"${name}" is not of the same shape`);
    let [errors, squares] = [0, 0];
    given.forEach((value, index) => {
      errors += (output[index]! - value) ** 2;
      squares += value ** 2;
    });
    worst = Math.max(worst, Math.sqrt(errors / Math.max(squares, Number.MIN_VALUE)));
  }
  return worst;
}
