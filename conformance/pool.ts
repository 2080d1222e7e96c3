/**
 * Runs tests in child processes, so that one that hangs, ends its process or loses the GPU costs no
 * other test its result: the child is replaced and the test tried once more in a new one.
 */
import { basename } from "node:path";
import { MissingToolError } from "../src/error.ts";
import { type Child, ProcessError, start } from "../src/process.ts";
import type { Result } from "./run_case.ts";

/** How the tests are run. */
export interface PoolOptions {
  /** Program and arguments of a child that speaks as `child.ts` does. */
  readonly command: readonly [program: string, ...args: string[]];
  /** Variables of a child besides those that it inherits. */
  readonly env: Readonly<Record<string, string>>;
  readonly jobs: number;
  /** Seconds that a test may take. */
  readonly timeout: number;
  /** Tests that a child runs before it is replaced, lest what they leave behind adds up. */
  readonly testsPerChild: number;
  /** Told of every result as it comes. */
  readonly onResult?: (result: Result) => void;
}

/** The results, in order of the tests, and what had to be tried twice. */
export interface PoolResults {
  readonly results: readonly Result[];
  /** Tests that ended their first process, and how. */
  readonly retried: readonly { readonly name: string; readonly reason: string }[];
}

/** Seconds in which a child has to be ready. */
const START_SECONDS = 120;
/** Characters of a dead child's last words that are told. */
const LAST_WORDS = 300;

/**
 * Runs the tests in `folders`.
 *
 * @throws MissingToolError where a child says that its target can't be had.
 */
export async function runAll(
  folders: readonly string[],
  options: PoolOptions,
): Promise<PoolResults> {
  const results: Result[] = [];
  const retried: { name: string; reason: string }[] = [];
  let next = 0;
  const job = async (): Promise<void> => {
    const worker = new Worker(options);
    try {
      while (next < folders.length) {
        const index = next++;
        const folder = folders[index]!;
        let result = await worker.run(folder);
        if ("died" in result) {
          retried.push({ name: basename(folder), reason: result.died });
          result = await worker.run(folder);
        }
        results[index] = "died" in result ? dead(folder, result) : result;
        options.onResult?.(results[index]);
      }
    } finally {
      await worker[Symbol.asyncDispose]();
    }
  };
  await Promise.all(Array.from({ length: Math.min(options.jobs, folders.length) }, job));
  return { results, retried };
}

/** How a child ended instead of giving a result. */
interface Death {
  readonly died: string;
  readonly seconds: number;
}

function dead(folder: string, { died, seconds }: Death): Result {
  return {
    name: basename(folder),
    operator: "unknown",
    status: "failed",
    reason: died,
    hostNodes: [],
    relativeL2: null,
    seconds,
  };
}

/** One child at a time, started when it is needed. */
class Worker implements AsyncDisposable {
  readonly #options: PoolOptions;
  #child: Child | null = null;
  #tests = 0;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** Runs the test in `folder`. */
  async run(folder: string): Promise<Result | Death> {
    const begin = performance.now();
    const seconds = () => (performance.now() - begin) / 1000;
    if (this.#tests >= this.#options.testsPerChild) await this.#retire();
    const child = await this.#ready();
    this.#tests++;
    let died: string;
    try {
      await child.send(JSON.stringify(folder));
      const answer = await this.#answer(child, this.#options.timeout);
      if (typeof answer !== "string") {
        const { last, ...result } = answer as Result & { readonly last?: boolean };
        if (last === true) await this.#retire();
        return result;
      }
      died = answer;
    } catch (error) {
      if (!(error instanceof ProcessError)) throw error;
      died = error.message;
    }
    await this.#retire();
    return { died, seconds: seconds() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#retire();
  }

  async #ready(): Promise<Child> {
    if (this.#child !== null) return this.#child;
    const { command: [program, ...args], env } = this.#options;
    const child = start({
      program,
      args,
      env: { ...env },
      inheritEnv: ["PATH", "HOME", "DENO_DIR", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "TMPDIR"],
      install: "See https://deno.com",
    });
    this.#child = child;
    this.#tests = 0;
    const answer = await this.#answer(child, START_SECONDS);
    const reason = typeof answer === "string"
      ? answer
      : "ready" in answer && answer.ready === true
      ? null
      : String("reason" in answer ? answer.reason : "it says nothing");
    if (reason !== null) {
      await this.#retire();
      throw new MissingToolError(`Cannot run the tests: ${reason}`);
    }
    return child;
  }

  /** The child's next answer, or in words why there is none. */
  async #answer(child: Child, timeout: number): Promise<object | string> {
    const late = Symbol();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const expired = new Promise<typeof late>((resolve) => {
      timer = setTimeout(() => resolve(late), timeout * 1000);
    });
    const receiving = child.receive();
    // Where the time is up first, the child is killed, and this ends somehow.
    receiving.catch(() => undefined);
    try {
      const line = await Promise.race([receiving, expired]);
      if (line === late) return `it gave no answer within ${timeout} s`;
      if (line !== null) {
        const answer: unknown = JSON.parse(line);
        return typeof answer === "object" && answer !== null ? answer : `it said ${line}`;
      }
      const { code, stderr } = await child.finish();
      const words = stderr.replace(/[\s\p{Cc}]+/gu, " ").trim().slice(-LAST_WORDS);
      return `its process ended with code ${code}: ${words || "it said nothing"}`;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the child, if there is one. */
  async #retire(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    await child?.[Symbol.asyncDispose]();
  }
}
