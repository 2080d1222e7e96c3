/**
 * How a command speaks while it works: a progress bar on a terminal, plain lines when piped,
 * nothing but errors when quiet. Progress and warnings go to stderr, so that stdout holds the
 * report alone.
 */
import { formatBytes, printable } from "../report.ts";
import { printAside, printResult } from "./streams.ts";

/** Where a command reports to. */
export interface Reporter {
  /** A line of the result, on stdout. */
  line(text: string): void;
  /** A line about the work, on stderr. */
  note(text: string): void;
  /** Something the person should know, on stderr; not shown when quiet. */
  warn(text: string): void;
  /** `done` of `total` bytes are converted. */
  progress(done: number, total: number): void;
  /** What is being done now, and how far it is (0 to 1) where that is known. */
  stage(name: string, fraction: number | null): void;
  /** Ends the progress display, so that other lines can follow. */
  endProgress(): void;
}

/** The reporter that fits the options and the terminal. */
export async function makeReporter(
  options: { readonly quiet: boolean; readonly json: boolean },
): Promise<Reporter> {
  const progress = options.quiet || options.json
    ? { update: () => {}, end: () => {} }
    : Deno.stderr.isTerminal()
    ? await progressBar()
    : progressLines();
  return {
    line: (text) => options.quiet || printResult(printable(text)),
    note: (text) => options.quiet || options.json || printAside(printable(text)),
    warn: (text) => options.quiet || printAside(printable(`warning: ${text}`)),
    progress: progress.update,
    stage: stages((text) => options.quiet || options.json || printAside(printable(text))),
    endProgress: progress.end,
  };
}

/** Says the name of each stage once, when it begins. */
function stages(say: (text: string) => void): Reporter["stage"] {
  let last = "";
  return (name) => {
    if (name !== last) say(`${name} ...`);
    last = name;
  };
}

interface ProgressDisplay {
  update(done: number, total: number): void;
  end(): void;
}

/** Tells when the work began that is at `done` of `total`: other work may have gone before it. */
export function workClock(): (done: number, total: number) => number {
  let started = 0;
  let last = { done: Infinity, total: NaN };
  return (done, total) => {
    if (done < last.done || total !== last.total) started = performance.now();
    last = { done, total };
    return started;
  };
}

/** A bar with bytes, their rate and the time left. */
async function progressBar(): Promise<ProgressDisplay> {
  const { default: { SingleBar } } = await import("cli-progress");
  const bar = new SingleBar({
    format: "[{bar}] {percentage} % | {doneBytes} of {totalBytes}{rate}{left}",
    barCompleteChar: "#",
    barIncompleteChar: "-",
    hideCursor: true,
    clearOnComplete: true,
    gracefulExit: false,
    stream: (await import("node:process")).stderr,
  });
  const clock = workClock();
  let active = false;
  return {
    update(done, total) {
      const started = clock(done, total);
      const payload = {
        doneBytes: formatBytes(done),
        totalBytes: formatBytes(total),
        rate: formatRate(" | ", done, performance.now() - started),
        left: formatLeft(" | ", done, total, performance.now() - started),
      };
      if (active && bar.getTotal() === total) bar.update(done, payload);
      else {
        if (active) bar.stop();
        bar.start(total, done, payload);
      }
      active = true;
    },
    end() {
      if (active) bar.stop();
      active = false;
    },
  };
}

/** A line every tenth of the work, and never more than one a second. */
function progressLines(): ProgressDisplay {
  const clock = workClock();
  let begun = 0;
  let lastTenth = 0;
  let lastTime = 0;
  return {
    update(done, total) {
      const tenth = Math.floor((10 * done) / Math.max(1, total));
      const started = clock(done, total);
      if (started !== begun) [begun, lastTenth, lastTime] = [started, 0, started];
      const now = performance.now();
      if (tenth === lastTenth || now - lastTime < 1000) return;
      lastTenth = tenth;
      lastTime = now;
      printAside(
        `converted ${formatBytes(done)} of ${formatBytes(total)}` +
          formatRate(", ", done, now - started) + formatLeft(", ", done, total, now - started),
      );
    },
    end() {},
  };
}

/** Milliseconds from which on a rate is one to speak of: before, it is that of starting. */
const SETTLED = 200;

/**
 * `separator` and the rate of `bytes` in `milliseconds`; empty before there is one.
 */
export function formatRate(separator: string, bytes: number, milliseconds: number): string {
  if (milliseconds < SETTLED || bytes === 0) return "";
  return `${separator}${formatBytes(Math.round((1000 * bytes) / milliseconds))}/s`;
}

/**
 * `separator` and the time left of `total` bytes of which `done` took `milliseconds`; empty before
 * there is a rate.
 */
export function formatLeft(
  separator: string,
  done: number,
  total: number,
  milliseconds: number,
): string {
  if (milliseconds < SETTLED || done === 0) return "";
  const seconds = Math.round((milliseconds / 1000 / done) * (total - done));
  const time = seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
  return `${separator}${time} left`;
}
