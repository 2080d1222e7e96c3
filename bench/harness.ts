/**
 * What every benchmark shares: rows, interleaved pairs, and the printed table. A speed is only ever
 * stated as a ratio to a named rival that ran in turns with it, in the same run.
 */

/** One line of a benchmark. */
export interface Row {
  readonly name: string;
  /** Our figure and the rival's, in `unit`; null where there is none. */
  readonly ours: number | null;
  readonly rival: number | null;
  readonly unit: string;
  /** What `bar` limits: how many times better than the rival, or the figure itself. */
  readonly ratio: number | null;
  /** The bar in words, such as "at least 12"; empty where a figure is only reported. */
  readonly bar: string;
  /** Null where nothing was measured, or where there is no bar. */
  readonly pass: boolean | null;
  /** What was compared with what, and how. */
  readonly note: string;
}

/** A part of a benchmark: gives its rows when it is run. */
export interface Part {
  /** Name to choose it by, with `--only`. */
  readonly name: string;
  run(options: Options): Promise<Row[]>;
}

/** What the command line may ask of every part. */
export interface Options {
  /** Whether to measure on a software adapter too, to try out what is meant for a GPU. */
  readonly anyAdapter: boolean;
}

/** Median times of two contestants that ran in turns. */
export interface Pair {
  /** Median seconds. */
  readonly ours: number;
  readonly rival: number;
  /** Median over the turns of rival seconds / our seconds: above 1 we are faster. */
  readonly ratio: number;
}

/** The middle value; the mean of the two middle ones for an even count. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/**
 * Runs `ours` and `rival` in turns, each leading every other turn, after one turn that does not
 * count. Both return the seconds that they took.
 */
export async function inTurns(
  turns: number,
  ours: () => Promise<number>,
  rival: () => Promise<number>,
): Promise<Pair> {
  const times: { ours: number; rival: number }[] = [];
  for (let turn = 0; turn <= turns; turn++) {
    const first = turn % 2 === 0 ? await ours() : await rival();
    const second = turn % 2 === 0 ? await rival() : await ours();
    const time = turn % 2 === 0 ? { ours: first, rival: second } : { ours: second, rival: first };
    if (turn > 0) times.push(time);
  }
  return {
    ours: median(times.map((time) => time.ours)),
    rival: median(times.map((time) => time.rival)),
    ratio: median(times.map((time) => time.rival / time.ours)),
  };
}

/** Seconds that `action` takes. */
export async function timed(action: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await action();
  return (performance.now() - begin) / 1000;
}

/** A row for a speed: `bytes` of work in `pair`, which must be at least `bar` times the rival's. */
export function speedRow(name: string, pair: Pair, bytes: number, bar: number, note: string): Row {
  return {
    name,
    ours: bytes / pair.ours / 1e9,
    rival: bytes / pair.rival / 1e9,
    unit: "GB/s",
    ratio: pair.ratio,
    bar: `at least ${bar}x`,
    pass: pair.ratio >= bar,
    note,
  };
}

/** A row for a difference (ours - rival), which must be at least `bar`. */
export function differenceRow(
  name: string,
  values: { ours: number; rival: number; unit: string },
  bar: number,
  note: string,
): Row {
  const difference = values.ours - values.rival;
  return {
    name,
    ...values,
    ratio: difference,
    bar: `${bar < 0 ? "no more than" : "at least"} ${Math.abs(bar)} ${values.unit} ${
      bar < 0 ? "below" : "above"
    }`,
    pass: difference >= bar,
    note,
  };
}

/** A row for something that could not be measured here. */
export function notMeasured(name: string, bar: string, note: string): Row {
  return { name, ours: null, rival: null, unit: "", ratio: null, bar, pass: null, note };
}

/** Prints a row as it becomes known. */
export function printRow(row: Row): void {
  const verdict = row.pass === null ? "  --" : row.pass ? "pass" : "FAIL";
  const figure = (value: number | null): string =>
    value === null ? "-" : Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
  console.log(
    `${verdict}  ${row.name}: ${figure(row.ours)} against ${figure(row.rival)} ${row.unit}` +
      `, ${figure(row.ratio)}${row.bar === "" ? "" : ` (bar: ${row.bar})`}`,
  );
  if (row.note !== "") console.log(`      ${row.note}`);
}
