/**
 * Twenty pairs of sentences, from two that say the same to two that have nothing in common, and the
 * rank correlation by which a sentence encoder's view of them is compared with another's.
 */

/** A pair; the list goes from like to unlike. */
export type SentencePair = readonly [string, string];

/** The pairs. */
export const SENTENCE_PAIRS: readonly SentencePair[] = [
  [
    "The ferry leaves the harbour at noon.",
    "At twelve o'clock the ferry departs from the harbour.",
  ],
  ["She is learning to play the cello.", "She takes lessons to learn the cello."],
  ["The bakery sells fresh bread every morning.", "Each morning you can buy fresh bread there."],
  ["Heavy rain flooded the cellar last night.", "The basement was under water after the storm."],
  ["He repaired the old clock by himself.", "The broken clock was fixed by him alone."],
  ["The company hired forty engineers this year.", "Forty new engineers joined the firm."],
  ["Our train was two hours late.", "Because of the delay we arrived much later than planned."],
  ["The doctor told him to drink more water.", "A physician advised the patient to stay hydrated."],
  ["A fox crossed the road in front of our car.", "We saw a wild animal on the street tonight."],
  ["The orchestra rehearsed the symphony twice.", "Musicians practised before the concert."],
  ["Wheat prices rose after the dry summer.", "The farmers had a poor harvest."],
  ["The satellite sends pictures of the clouds.", "Weather forecasts rely on many instruments."],
  ["My grandmother grows tomatoes on her balcony.", "The market has cheap vegetables today."],
  ["The goalkeeper saved the penalty.", "Thousands of people watched the match on television."],
  ["The museum opens a new wing for sculpture.", "A painter needs good light to work."],
  ["The bridge will be closed for repairs.", "He walked along the river in the evening."],
  ["The recipe needs three eggs and some butter.", "The kitchen was painted green last week."],
  ["The court postponed its decision until May.", "Spring is the best season to travel."],
  ["The programmer found a bug in the parser.", "The cat slept on the warm windowsill."],
  ["Glaciers are shrinking faster than before.", "Please return the keys to the front desk."],
];

/** All sentences, the two of a pair beside each other. */
export const SENTENCES: readonly string[] = SENTENCE_PAIRS.flat();

/** The cosine of each pair's vectors; `vectors` has one for each of {@link SENTENCES}. */
export function pairCosines(vectors: readonly (readonly number[])[]): number[] {
  if (vectors.length !== SENTENCES.length) throw new RangeError(`${vectors.length} vectors`);
  return SENTENCE_PAIRS.map((_, pair) => cosine(vectors[2 * pair]!, vectors[2 * pair + 1]!));
}

function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) =>
    x.reduce((sum, value, index) => sum + value * y[index]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

/** Spearman's rank correlation of two lists of numbers; equal values share their mean rank. */
export function rankCorrelation(a: readonly number[], b: readonly number[]): number {
  const x = ranks(a);
  const y = ranks(b);
  const mean = (a.length - 1) / 2;
  const sum = (term: (index: number) => number) =>
    x.reduce((total, _, index) => total + term(index), 0);
  const covariance = sum((index) => (x[index]! - mean) * (y[index]! - mean));
  const spread = (values: readonly number[]) => sum((index) => (values[index]! - mean) ** 2);
  return covariance / Math.sqrt(spread(x) * spread(y));
}

function ranks(values: readonly number[]): number[] {
  return values.map((value) => {
    const below = values.filter((other) => other < value).length;
    const equal = values.filter((other) => other === value).length;
    return below + (equal - 1) / 2;
  });
}
