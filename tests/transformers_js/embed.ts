/**
 * Loads a folder with transformers.js and prints the vectors of sentences: reads one line of JSON,
 * `{ models, name, dtype, sentences }`, and prints `{ vectors, sessions }`, where the sessions tell
 * which dtype was loaded on which device. Runs with the `deno.json` of the folder that transformers.js
 * is installed in.
 */

/** What is used of the library. */
interface TransformersJs {
  readonly env: { allowRemoteModels: boolean; localModelPath: string; useFSCache: boolean };
  pipeline(
    task: "feature-extraction",
    model: string,
    options: { readonly dtype?: string },
  ): Promise<Extractor>;
}

interface Extractor {
  (
    texts: readonly string[],
    options: { readonly pooling: "mean"; readonly normalize: boolean },
  ): Promise<{ tolist(): number[][] }>;
  readonly model: { readonly sessions: Readonly<Record<string, { readonly config: unknown }>> };
  dispose(): Promise<unknown>;
}

/** What to do. */
interface Request {
  /** The folder that holds the model's. */
  readonly models: string;
  readonly name: string;
  /** Null to name none. */
  readonly dtype: string | null;
  readonly sentences: readonly string[];
}

// Not a literal: the program's own packages have none of this name.
const LIBRARY: string = "@huggingface/transformers";

const [line] = (await new Response(Deno.stdin.readable).text()).split("\n");
const request: Request = JSON.parse(line!);
const library: TransformersJs = await import(LIBRARY);
library.env.allowRemoteModels = false;
library.env.useFSCache = false;
library.env.localModelPath = request.models;
const extractor = await library.pipeline("feature-extraction", request.name, {
  ...(request.dtype === null ? {} : { dtype: request.dtype }),
});
const answer = await extractor(request.sentences, { pooling: "mean", normalize: true });
const sessions = Object.values(extractor.model.sessions).map(({ config }) => config);
console.log(JSON.stringify({ vectors: answer.tolist(), sessions }));
await extractor.dispose();
