/**
 * Runs pairs of models, the second on the WebGPU provider, and prints a JSON list of {difference,
 * misplaced, error}: the largest difference in units of the largest output, and the operators that ran
 * elsewhere. The argument is a JSON file of {model, expected, feeds}.
 */
import { makeProfileFolder } from "../../src/verify/placement.ts";
import { loadRuntime, openSession } from "../../src/verify/runtime.ts";
import type { HostTensor } from "../../src/verify/values.ts";
import type { Feed } from "../encoding_models.ts";

const [list, scratch] = Deno.args;
const runtime = await loadRuntime();
const pairs: { model: string; expected: string; feeds: Feed[] }[] = JSON.parse(
  await Deno.readTextFile(list!),
);
const answers = [];
for (const { model, expected, feeds } of pairs) {
  try {
    const wanted = await compute(expected, "cpu", feeds);
    const got = await compute(model, "webgpu", feeds);
    const largest = Math.max(...wanted.values.map(Math.abs));
    const errors = wanted.values.map((value, i) => Math.abs(value - got.values[i]!));
    answers.push({
      difference: Math.max(...errors) / largest,
      misplaced: got.misplaced,
      error: null,
    });
  } catch (error) {
    answers.push({ difference: null, misplaced: [], error: String(error) });
  }
}
console.log(JSON.stringify(answers));

async function compute(path: string, provider: "cpu" | "webgpu", feeds: readonly Feed[]) {
  await using folder = provider === "webgpu" ? await makeProfileFolder(scratch!) : null;
  const options = { profile: folder?.path ?? null, calm: true };
  await using session = await openSession(runtime, path, provider, options);
  const result = await session.run(new Map(feeds.map((feed) => [feed.name, tensor(feed)])), ["y"]);
  if (folder !== null) session.endProfiling();
  const elsewhere = (await folder?.read(provider))?.elsewhere;
  return {
    values: Array.from(result.get("y")!.data as Float32Array),
    misplaced: (elsewhere ?? []).map((node) => node.op),
  };
}

function tensor({ dtype, dims, values }: Feed): HostTensor {
  if (dtype === "int64") return { dtype, dims, data: BigInt64Array.from(values, BigInt) };
  return { dtype: "float32", dims, data: Float32Array.from(values) };
}
