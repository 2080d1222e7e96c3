/**
 * What a model is for, in the words of transformers.js and of the Hugging Face Hub (`pipeline_tag`),
 * from its architecture's name and its inputs.
 */

/** Ends of architectures' names, and what such a model is for when it reads text. */
const TASKS: readonly (readonly [RegExp, string])[] = [
  [/ForSequenceClassification$/, "text-classification"],
  [/ForTokenClassification$/, "token-classification"],
  [/ForQuestionAnswering$/, "question-answering"],
  [/ForMaskedLM$/, "fill-mask"],
  [/(ForCausalLM|LMHeadModel)$/, "text-generation"],
  [/(ForConditionalGeneration|ForSeq2SeqLM|MarianMTModel)$/, "text2text-generation"],
  [/For(Speech2Text|SpeechSeq2Seq|CTC)$/, "automatic-speech-recognition"],
  [/For(AudioFrame|Audio)Classification$/, "audio-classification"],
  [/ForImageClassification(WithTeacher)?$/, "image-classification"],
  [/ForObjectDetection$/, "object-detection"],
  [/For(Semantic|Instance|Universal)Segmentation$/, "image-segmentation"],
  [/ForDepthEstimation$/, "depth-estimation"],
  [/ForImageSuperResolution$/, "image-to-image"],
  [/^VisionEncoderDecoderModel$/, "image-to-text"],
];

/** The same tasks where the input is sound. */
const OF_SOUND: Readonly<Record<string, string>> = {
  "text-classification": "audio-classification",
  "text2text-generation": "automatic-speech-recognition",
};

/** The same tasks where the input is a picture. */
const OF_PICTURES: Readonly<Record<string, string>> = {
  "text-classification": "image-classification",
  "text2text-generation": "image-to-text",
};

/** The task of a model with these architectures and these inputs of its first part. */
export function taskOf(architectures: readonly string[], inputs: readonly string[]): string {
  const sound = inputs.some((name) => name === "input_values" || name === "input_features");
  const pictures = inputs.includes("pixel_values");
  for (const architecture of architectures) {
    const task = TASKS.find(([end]) => end.test(architecture))?.[1];
    if (task === undefined) continue;
    return (sound ? OF_SOUND : pictures ? OF_PICTURES : {})[task] ?? task;
  }
  if (pictures) {
    return inputs.includes("input_ids")
      ? "zero-shot-image-classification"
      : "image-feature-extraction";
  }
  return "feature-extraction";
}

/** How the vectors of a sentence encoder are made of those of its tokens. */
export interface Pooling {
  readonly pooling: "mean" | "cls" | "none";
  readonly normalize: boolean;
}

/**
 * How sentence-transformers pools the vectors, from its `1_Pooling/config.json` and `modules.json`;
 * null where these are absent or ask for what transformers.js can't do.
 */
export function poolingOf(
  pooling: Readonly<Record<string, unknown>> | null,
  modules: string | null,
): Pooling | null {
  if (pooling === null) return null;
  const modes = Object.entries(pooling)
    .filter(([key, value]) => key.startsWith("pooling_mode_") && value === true)
    .map(([key]) => key);
  if (modes.length !== 1) return null;
  const normalize = modules !== null && /sentence_transformers\.models\.Normalize/.test(modules);
  if (modes[0] === "pooling_mode_mean_tokens") return { pooling: "mean", normalize };
  if (modes[0] === "pooling_mode_cls_token") return { pooling: "cls", normalize };
  return null;
}
