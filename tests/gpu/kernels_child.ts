/** Runs the cases of `kernel_cases.ts` on the adapter at hand and prints what became of them. */
import { type Expectation, kernelCases } from "./kernel_cases.ts";
import { KernelRunner } from "./kernel_runner.ts";
import { kernelFiles, textOf } from "./kernel_texts.ts";

/** The line of JSON that this prints. */
export interface Answer {
  readonly adapter: string;
  /** Files compiled and cases run. */
  readonly compiled: number;
  readonly cases: number;
  readonly failures: readonly string[];
}

/** What is wrong with the results, or null. */
export function fault(given: Expectation, results: readonly Float32Array[]): string | null {
  for (const [output, expected] of given.expected.entries()) {
    const found = results[output]!;
    const scales = given.tolerance.scales[output]!;
    for (const [i, value] of expected.entries()) {
      const bound = given.tolerance.ulps * scales[i]! * 2 ** -24;
      const same = Object.is(found[i], value) || found[i] === value ||
        (Number.isNaN(value) && Number.isNaN(found[i]));
      if (!same && !(Math.abs(found[i]! - value) <= bound)) {
        return `${given.label}: output ${output}, element ${i} is ${found[i]}, not ${value}`;
      }
    }
  }
  return null;
}

if (import.meta.main) {
  const only = Deno.args[0] ?? "";
  const runner = await KernelRunner.open();
  const failures: string[] = [];
  let compiled = 0;
  const features: ReadonlySet<string> = new Set(runner.device.features);
  const isAble = (needed: readonly string[] = []): boolean =>
    needed.every((name) => features.has(name));
  for (const { pass } of kernelFiles()) {
    const { name, overrides, features: needed } = pass;
    if (!name.includes(only) || !isAble(needed)) continue;
    compiled++;
    try {
      await runner.pipeline(textOf(pass), overrides);
    } catch (error) {
      failures.push(`${name}: ${error instanceof Error ? error.message : error}`);
    }
  }
  let cases = 0;
  if (failures.length === 0) {
    for (const given of kernelCases()) {
      if (!given.label.includes(only) || !isAble(given.features)) continue;
      cases++;
      const wrong = fault(given, await runner.run(given));
      if (wrong !== null) failures.push(wrong);
    }
  }
  const answer: Answer = { adapter: runner.adapter, compiled, cases, failures };
  console.log(JSON.stringify(answer));
}
