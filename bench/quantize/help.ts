/**
 * The cost of starting: `modelcast --help` against the smallest program that prints the same help
 * with the same library. The rival is written from our own help, so that the two print the same
 * bytes whatever the help says.
 */
import assert from "node:assert/strict";
import { run } from "../../src/process.ts";
import { ROOT } from "../../tests/install.ts";
import { inTurns, type Part, type Row, timed } from "../harness.ts";

const TURNS = 15;
const BAR = 1.3;
const RIVAL = `${ROOT}/.cache/bench/help.ts`;

/** Runs a program of ours by Deno, with the permissions of `convert`, and gives what it prints. */
async function print(program: string, args: readonly string[]): Promise<string> {
  const result = await run({
    program: "deno",
    args: ["run", "-q", "--no-prompt", "-P=convert", program, ...args],
    cwd: ROOT,
    inheritEnv: ["HOME", "PATH", "DENO_DIR"],
    install: "See https://deno.com",
  });
  assert.equal(result.code, 0, result.stderr);
  return new TextDecoder().decode(result.stdout);
}

/** A program that prints `help`, which commander made, with commander. */
function rivalSource(help: string): string {
  const [usage = "", ...paragraphs] = help.trimEnd().split("\n\n");
  const name = /^Usage: (\S+)/.exec(usage)?.[1] ?? "";
  const section = (title: string): [flags: string, description: string][] =>
    (paragraphs.find((text) => text.startsWith(title)) ?? "").split("\n").slice(1)
      .map((line) => line.trim().split(/ {2,}/) as [string, string]);
  const lines = [`import { Command } from "commander";`, `const program = new Command("${name}");`];
  const quoted = (text: string): string => JSON.stringify(text);
  lines.push(`program.description(${quoted(paragraphs[0] ?? "")});`);
  for (const [flags, description] of section("Options:")) {
    if (flags.includes("--help")) continue;
    if (flags.includes("--version")) lines.push(`program.version("0");`);
    else lines.push(`program.option(${quoted(flags)}, ${quoted(description)});`);
  }
  for (const [usage, description] of section("Commands:")) {
    const [command = "", ...rest] = usage.split(" ");
    if (command === "help") continue;
    lines.push(`program.command(${quoted(command)}).description(${quoted(description)})`);
    if (rest.includes("[options]")) lines.push(`  .option("-x")`);
    lines.push(";");
  }
  lines.push(`program.parse(["--help"], { from: "user" });`);
  return lines.join("\n") + "\n";
}

/** `modelcast --help`. */
export const help: Part = {
  name: "help",
  async run(): Promise<Row[]> {
    const text = await print("main.ts", ["--help"]);
    await Deno.mkdir(`${ROOT}/.cache/bench`, { recursive: true });
    await Deno.writeTextFile(RIVAL, rivalSource(text));
    assert.equal(await print(RIVAL, []), text, "the rival prints another help");
    const pair = await inTurns(
      TURNS,
      () => timed(() => print("main.ts", ["--help"])),
      () => timed(() => print(RIVAL, [])),
    );
    return [{
      name: "modelcast --help against a program that prints the same help",
      ours: pair.ours * 1000,
      rival: pair.rival * 1000,
      unit: "ms",
      ratio: 1 / pair.ratio,
      bar: `at most ${BAR}x its time`,
      pass: 1 / pair.ratio <= BAR,
      note: `both by deno run with the same permissions and commander; ${TURNS} turns`,
    }];
  },
};
