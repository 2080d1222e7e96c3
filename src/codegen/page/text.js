// @ts-check
/// <reference lib="dom" />
/** Panels for models of text: similarity, classes, words at a place, what comes next. */
import { Tokenizer } from "@huggingface/tokenizers";
import { button, element, labelled, ranking, softmaxTop } from "./elements.js";
import { outputViews } from "./outputs.js";
import { countOf, toInput, toNumbers } from "./tensors.js";

/** @typedef {import("./start.js").Page} Page */
/** @typedef {import("./tensors.js").Output} Output */
/**
 * @typedef {object} TextSettings
 * @property {object} tokenizer content of tokenizer.json
 * @property {object} tokenizerConfig content of tokenizer_config.json
 * @property {number} maxLength tokens that the model takes at most
 * @property {number} padId
 * @property {"mean" | "first" | "last"} pooling how token embeddings become one of the sentence
 * @property {string | null} mask the token that stands for a word to guess
 * @property {string[]} labels
 * @property {boolean} multiple whether several labels can hold at once
 */

/** Words that a list of likely ones shows. */
const MOST_WORDS = 10;
/** Tokens that a text is continued by at once. */
const CONTINUED = 20;

/**
 * Inputs of a model of text for one sequence of tokens, padded or cut to the model's length.
 * @param {Page} page
 * @param {TextSettings} settings
 * @param {{ ids: number[], token_type_ids?: number[] }} encoding
 * @param {"begin" | "end"} kept which end of too long a sequence is kept
 */
function tokenInputs(page, settings, encoding, kept) {
  const { inputs } = page.data;
  const [rows, columns] = inputs.find(({ name }) => name === "input_ids")?.dims ?? [];
  const batch = typeof rows === "number" ? rows : 1;
  const most = typeof columns === "number" ? columns : settings.maxLength;
  const from = kept === "end" ? Math.max(0, encoding.ids.length - most) : 0;
  const ids = encoding.ids.slice(from, from + most);
  const last = encoding.ids.at(-1);
  if (kept === "begin" && encoding.ids.length > most && last !== undefined) ids[most - 1] = last;
  const length = typeof columns === "number" ? columns : ids.length;
  /** @type {Record<string, (index: number) => number>} */
  const makers = {
    input_ids: (index) => ids[index] ?? settings.padId,
    attention_mask: (index) => index < ids.length ? 1 : 0,
    token_type_ids: (index) => encoding.token_type_ids?.[from + index] ?? 0,
    position_ids: (index) => index,
  };
  /** @type {Record<string, unknown>} */
  const given = Object.create(null);
  for (const input of inputs) {
    const make = Object.hasOwn(makers, input.name) ? makers[input.name] : undefined;
    // Whatever else there is holds the past, of which there is none.
    const dims = make !== undefined
      ? [batch, length].slice(-input.dims.length)
      : input.dims.map((dim, axis) => typeof dim === "number" ? dim : axis === 0 ? batch : 0);
    const values = new Float64Array(countOf(dims));
    if (make !== undefined) values.forEach((_, index) => values[index] = make(index % length));
    given[input.name] = toInput(input, { dims, values });
  }
  return { given, length: ids.length };
}

/**
 * The output that a panel decodes: the first of `names` that there is, else the first of all.
 * @param {[string, Output][]} outputs
 * @param {...string} names
 */
function pick(outputs, ...names) {
  const named = names.map((name) => outputs.find((entry) => entry[0] === name));
  const found = named.find((entry) => entry !== undefined) ?? outputs[0];
  if (found === undefined) throw new Error("Cannot decode the result: the model has no output.");
  return found[1];
}

/**
 * The row of the last dimension at `position` of the first sequence.
 * @param {Output} output
 * @param {number} position
 */
function rowAt(output, position) {
  const size = output.dims.at(-1) ?? 1;
  return toNumbers(output, position * size, (position + 1) * size);
}

/** @param {TextSettings} settings */
function tokenizerOf(settings) {
  return new Tokenizer(settings.tokenizer, settings.tokenizerConfig);
}

/**
 * @param {Page} page
 * @param {TextSettings} settings
 * @param {string} text
 * @param {"begin" | "end"} kept
 */
async function runText(page, settings, text, kept = "begin") {
  const tokenizer = tokenizerOf(settings);
  const encoding = tokenizer.encode(text, { return_token_type_ids: true });
  if (encoding.ids.length === 0) throw new Error("Cannot run: the text is empty. Type some.");
  const { given, length } = tokenInputs(page, settings, encoding, kept);
  return { tokenizer, encoding, length, outputs: await page.run(given) };
}

/**
 * @param {string} name
 * @param {string} value
 */
function textArea(name, value) {
  const area = element("textarea", { rows: 3, value });
  return { area, view: labelled(name, area) };
}

/**
 * Two sentences, and how alike the model finds them: the cosine of their embeddings.
 * @param {Page} page
 * @param {TextSettings} settings
 */
export function similarityPanel(page, settings) {
  const first = textArea("First sentence", "A cat sits on the mat.");
  const second = textArea("Second sentence", "A kitten is resting on a rug.");
  const result = element("div", { className: "results" });
  const run = button("Compare", async () => {
    const texts = [first.area.value, second.area.value];
    const embeddings = [];
    for (const text of texts) embeddings.push(await embed(page, settings, text));
    const [a, b] = embeddings;
    const cosine = a === undefined || b === undefined ? NaN : dot(a, b);
    result.replaceChildren(
      element(
        "p",
        { className: "figure" },
        "Similarity ",
        element("output", { id: "similarity" }, cosine.toFixed(4)),
      ),
      element("meter", {
        min: -1,
        max: 1,
        value: cosine,
        ariaLabel: "Similarity from -1 to 1",
      }),
      ...embeddings.map((data, index) =>
        element(
          "details",
          {},
          element("summary", {}, `Embedding of the ${index === 0 ? "first" : "second"} sentence`),
          ...outputViews([["embedding", { dtype: "float32", dims: [data.length], data }]]),
        )
      ),
    );
  }, page.failed);
  run.className = "primary";
  return element("div", {}, first.view, second.view, element("p", {}, run), result);
}

/**
 * The embedding of a text, of length 1.
 * @param {Page} page
 * @param {TextSettings} settings
 * @param {string} text
 */
async function embed(page, settings, text) {
  const { outputs, length } = await runText(page, settings, text);
  const output = pick(outputs, "sentence_embedding", "last_hidden_state", "token_embeddings");
  const size = output.dims.at(-1) ?? 1;
  const sum = new Float32Array(size);
  const positions = output.dims.length < 3 || settings.pooling === "first"
    ? [0]
    : settings.pooling === "last"
    ? [length - 1]
    : Array.from({ length }, (_, index) => index);
  for (const position of positions) {
    rowAt(output, position).forEach((value, index) => sum[index] = (sum[index] ?? 0) + value);
  }
  const norm = Math.sqrt(dot(sum, sum)) || 1;
  return sum.map((value) => value / norm);
}

/**
 * @param {Float32Array} a
 * @param {Float32Array} b
 */
function dot(a, b) {
  return a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);
}

/**
 * A text and the classes that it belongs to, whole or token by token.
 * @param {Page} page
 * @param {TextSettings} settings
 */
export function classesPanel(page, settings) {
  const text = textArea("Text", "This was a wonderful surprise.");
  const result = element("div", { className: "results" });
  /** @param {number} index */
  const label = (index) => settings.labels[index] ?? `Class ${index}`;
  const run = button("Classify", async () => {
    const { encoding, outputs, length } = await runText(page, settings, text.area.value);
    const output = pick(outputs, "logits");
    if (output.dims.length < 3) {
      const logits = rowAt(output, 0);
      const shares = settings.multiple
        ? Array.from(logits, (value, index) => ({ index, share: 1 / (1 + Math.exp(-value)) }))
          .sort((a, b) => b.share - a.share).slice(0, MOST_WORDS)
        : softmaxTop(logits, MOST_WORDS);
      result.replaceChildren(
        ranking(shares.map(({ index, share }) => ({ name: label(index), share }))),
      );
      return;
    }
    const tokens = encoding.tokens.slice(0, length).map((token, position) => {
      const [best] = softmaxTop(rowAt(output, position), 1);
      return { name: `${token}: ${label(best?.index ?? 0)}`, share: best?.share ?? 0 };
    });
    result.replaceChildren(ranking(tokens));
  }, page.failed);
  run.className = "primary";
  return element("div", {}, text.view, element("p", {}, run), result);
}

/**
 * A text with a gap, and the words that the model would fill in.
 * @param {Page} page
 * @param {TextSettings} settings
 */
export function gapPanel(page, settings) {
  const mask = settings.mask ?? "[MASK]";
  const text = textArea(`Text with ${mask}`, `Paris is the capital of ${mask}.`);
  const result = element("div", { className: "results" });
  const run = button("Fill the gap", async () => {
    const { tokenizer, encoding, outputs } = await runText(page, settings, text.area.value);
    const id = tokenizer.token_to_id(mask);
    const position = encoding.ids.findIndex((one) => one === id);
    if (position < 0) throw new Error(`Cannot fill the gap: the text has no ${mask}.`);
    result.replaceChildren(words(tokenizer, rowAt(pick(outputs, "logits"), position)));
  }, page.failed);
  run.className = "primary";
  return element("div", {}, text.view, element("p", {}, run), result);
}

/**
 * @param {Tokenizer} tokenizer
 * @param {Float64Array} logits
 */
function words(tokenizer, logits) {
  return ranking(
    softmaxTop(logits, MOST_WORDS).map(({ index, share }) => ({
      name: JSON.stringify(tokenizer.decode([index], { clean_up_tokenization_spaces: false })),
      share,
    })),
  );
}

/**
 * What a token adds to the text of others: tokens of some kinds have their spaces between them only.
 * Special tokens, which end a text, add nothing.
 * @param {Tokenizer} tokenizer
 * @param {number[]} ids
 * @param {number} next
 */
function added(tokenizer, ids, next) {
  const options = { skip_special_tokens: true, clean_up_tokenization_spaces: false };
  const before = tokenizer.decode(ids, options);
  const after = tokenizer.decode([...ids, next], options);
  return after.startsWith(before) ? after.slice(before.length) : tokenizer.decode([next], options);
}

/**
 * A text, the likeliest tokens after it, and its continuation by the likeliest ones.
 * @param {Page} page
 * @param {TextSettings} settings
 */
export function continuationPanel(page, settings) {
  const text = textArea("Text", "Once upon a time");
  const result = element("div", { className: "results" });
  let going = false;
  const step = async () => {
    const { tokenizer, encoding, outputs, length } = await runText(
      page,
      settings,
      text.area.value,
      "end",
    );
    const logits = rowAt(pick(outputs, "logits"), length - 1);
    result.replaceChildren(words(tokenizer, logits));
    const [best] = softmaxTop(logits, 1);
    return best === undefined ? "" : added(tokenizer, encoding.ids, best.index);
  };
  const next = button("Next token", step, page.failed);
  next.className = "primary";
  const go = button(`Continue by ${CONTINUED} tokens`, async () => {
    if (going) return void (going = false);
    going = true;
    go.textContent = "Stop";
    try {
      for (let count = 0; going && count < CONTINUED; count++) {
        const more = await step();
        if (more === "") break;
        text.area.value += more;
      }
    } finally {
      going = false;
      go.textContent = `Continue by ${CONTINUED} tokens`;
    }
  }, page.failed);
  return element("div", {}, text.view, element("p", { className: "buttons" }, next, go), result);
}
