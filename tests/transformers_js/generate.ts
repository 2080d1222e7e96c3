/**
 * Lets transformers.js write on with a decoder and its cache: reads one line of JSON,
 * `{ models, name, dtype, prompt, tokens }`, and prints the ids of prompt and answer. Runs with the
 * `deno.json` of the folder that transformers.js is installed in.
 */

/** A tensor of the library. */
interface Tensor {
  tolist(): bigint[][];
}

/** What is used of the library. */
interface TransformersJs {
  readonly env: { allowRemoteModels: boolean; localModelPath: string; useFSCache: boolean };
  readonly Tensor: new (type: "int64", data: BigInt64Array, dims: readonly number[]) => Tensor;
  readonly AutoModelForCausalLM: {
    from_pretrained(model: string, options: { readonly dtype: string }): Promise<{
      generate(options: {
        readonly input_ids: Tensor;
        readonly attention_mask: Tensor;
        readonly max_new_tokens: number;
        readonly do_sample: false;
      }): Promise<Tensor>;
      dispose(): Promise<unknown>;
    }>;
  };
}

/** What to do. */
interface Request {
  /** The folder that holds the model's. */
  readonly models: string;
  readonly name: string;
  readonly dtype: string;
  readonly prompt: readonly number[];
  /** How many tokens to write. */
  readonly tokens: number;
}

// Not a literal: the program's own packages have none of this name.
const LIBRARY: string = "@huggingface/transformers";

const [line] = (await new Response(Deno.stdin.readable).text()).split("\n");
const request: Request = JSON.parse(line!);
const { env, Tensor, AutoModelForCausalLM }: TransformersJs = await import(LIBRARY);
env.allowRemoteModels = false;
env.useFSCache = false;
env.localModelPath = request.models;
const model = await AutoModelForCausalLM.from_pretrained(request.name, { dtype: request.dtype });
const row = (values: readonly number[]) =>
  new Tensor("int64", BigInt64Array.from(values.map(BigInt)), [1, values.length]);
const answer = await model.generate({
  input_ids: row(request.prompt),
  attention_mask: row(request.prompt.map(() => 1)),
  max_new_tokens: request.tokens,
  do_sample: false,
});
console.log(JSON.stringify(answer.tolist()[0]!.map(Number)));
await model.dispose();
