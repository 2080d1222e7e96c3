/** The matrix that engines are timed on. */

/** Its rows and its columns. */
export const SIZE = 4096;

/** Weights of a triangular distribution, the same on every run. */
export function randomMatrix(): Float32Array<ArrayBuffer> {
  const values = new Float32Array(SIZE * SIZE);
  let state = 1;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state / 2 ** 31;
  };
  for (let i = 0; i < values.length; i++) values[i] = 0.02 * (next() + next());
  return values;
}
