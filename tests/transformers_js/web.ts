/**
 * Runs ONNX files in onnxruntime-web's WebAssembly, as transformers.js does in browsers: reads one line
 * of JSON, `{ files, ids }`, feeds `ids` as a text's tokens, and prints for each file its first output.
 * Runs with the `deno.json` of the folder that transformers.js is installed in.
 */

/** A tensor of the library. */
interface Tensor {
  readonly data: ArrayLike<number>;
}

/** What is used of the library. */
interface OnnxRuntimeWeb {
  readonly env: { readonly wasm: { numThreads: number } };
  readonly Tensor: new (type: "int64", data: BigInt64Array, dims: readonly number[]) => Tensor;
  readonly InferenceSession: {
    create(
      bytes: Uint8Array,
      options: { readonly executionProviders: readonly ["wasm"] },
    ): Promise<{
      readonly inputNames: readonly string[];
      readonly outputNames: readonly string[];
      run(feeds: Readonly<Record<string, Tensor>>): Promise<Readonly<Record<string, Tensor>>>;
      release(): Promise<void>;
    }>;
  };
}

/** What to do. */
interface Request {
  readonly files: readonly string[];
  readonly ids: readonly number[];
}

const [line] = (await new Response(Deno.stdin.readable).text()).split("\n");
const { files, ids }: Request = JSON.parse(line!);
// Not a literal: it is a package of transformers.js, not of this program.
const [library] = Deno.args;
const { env, Tensor, InferenceSession }: OnnxRuntimeWeb = await import(library!);
env.wasm.numThreads = 1;
const outputs: number[][] = [];
for (const file of files) {
  const bytes = await Deno.readFile(file);
  const session = await InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  const fill: Readonly<Record<string, number | undefined>> = {
    attention_mask: 1,
    token_type_ids: 0,
  };
  const feeds = Object.fromEntries(session.inputNames.map((name) => {
    const values = BigInt64Array.from(ids, (id) => BigInt(fill[name] ?? id));
    return [name, new Tensor("int64", values, [1, ids.length])];
  }));
  const results = await session.run(feeds);
  outputs.push(Array.from(results[session.outputNames[0]!]!.data));
  await session.release();
}
console.log(JSON.stringify(outputs));
