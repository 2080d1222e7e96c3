/**
 * The parts of a model that transformers.js loads from files of their own, what it calls these files
 * (its `MODEL_SESSION_CONFIG`, as of 4.3), and what it needs of their inputs.
 */
import { InputError } from "../error.ts";
import type { Model } from "../ir.ts";

/** What a model file is within the whole. */
export type ModelRole = "model" | "encoder" | "decoder";

/** Name of the file of each part, without dtype and extension. */
export const ROLE_FILES: Readonly<Record<ModelRole, string>> = {
  model: "model",
  encoder: "encoder_model",
  // The name comes from decoders with and without a cache merged by an If; one that takes an empty
  // cache at the first step does the same.
  decoder: "decoder_model_merged",
};

/** The parts that belong together: one of these sets makes a model. */
const SETS: readonly (readonly ModelRole[])[] = [["model"], ["encoder", "decoder"]];

const CACHE = "past_key_values.";

/** Checks that `roles` make a model, each once. */
export function checkRoles(roles: readonly ModelRole[]): void {
  const fits = SETS.some((set) =>
    set.length === roles.length && set.every((role) => roles.includes(role))
  );
  if (fits) return;
  throw new InputError(
    `Cannot lay out the parts ${roles.join(", ") || "(none)"} for transformers.js: it takes ` +
      `${SETS.map((set) => set.join(" and ")).join(", or ")}. Give these.`,
  );
}

/** Whether models of the architecture `name` write text, without an encoder before them. */
export function writesText(name: string): boolean {
  return /(ForCausalLM|LMHeadModel)$/.test(name);
}

/** The error that the decoder of `path` takes no cache. */
export function withoutCache(path: string, role: ModelRole): InputError {
  const remedy = role === "model"
    ? "Export it with --task causal-lm-with-past."
    : "Give a decoder that takes its cache; modelcast exports encoder-decoder models without one.";
  return new InputError(
    `Cannot lay "${path}" out for transformers.js: it has no input ${CACHE}0..., and transformers.js ` +
      `hands a model that writes text only the newest token at each step. ${remedy}`,
  );
}

/**
 * Checks that transformers.js can run `model` as `role`. It hands a decoder that writes text only the
 * newest token at each step and expects the rest in a cache, and it makes the empty cache of the first
 * step from the inputs' extents, where the extent `batch_size` is the number of texts and every other
 * name means 0.
 *
 * @throws InputError where it would load and compute nonsense.
 */
export function checkDecoder(
  path: string,
  model: Model,
  role: ModelRole,
  architectures: readonly string[],
): void {
  const writes = role === "decoder" || (role === "model" && architectures.some(writesText));
  if (!writes) return;
  const caches = model.graph.inputs.filter(({ name }) => name.startsWith(CACHE));
  if (caches.length === 0) throw withoutCache(path, role);
  const wrong = caches.find(({ shape }) => shape?.[0] !== "batch_size" && shape?.[0] !== 1);
  if (wrong === undefined) return;
  throw new InputError(
    `Cannot lay "${path}" out for transformers.js: the first extent of the input "${wrong.name}" is ` +
      'not called "batch_size", and transformers.js would make an empty batch of it. Rename the extent.',
  );
}
