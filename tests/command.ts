/** Runs the command line as a process of its own, with the permissions that a person gives it. */
import { dirname } from "node:path";
import type { OnnxReport, VerifiedConversion } from "../mod.ts";
import { ROOT } from "./install.ts";
import { PRINTED } from "./json_schema.ts";

/** How a command ended. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a command is started with. */
export interface CommandOptions {
  /** A folder to read and to write beside the repository's. */
  readonly folder?: string;
  /** The permission set; `convert` if absent. */
  readonly permissions?: "convert" | "convert-verify" | "convert-python";
  /** Variables besides those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** A line for `sh` to run before the program, which then takes the shell's place. */
  readonly shell?: string;
}

/** Starts `modelcast` with `args` by `deno run -P=convert` or another set; its output is piped. */
export function spawnCommand(
  args: readonly string[],
  { folder, shell, env = {}, permissions = "convert" }: CommandOptions = {},
): Deno.ChildProcess {
  const flags = ["run", "-q", "--no-prompt", "--no-check", "--frozen", `-P=${permissions}`];
  if (folder !== undefined) flags.push(`--allow-read=.,${folder}`, `--allow-write=${folder}`);
  const all = [...flags, "main.ts", ...args];
  const piped = { stdin: "null", stdout: "piped", stderr: "piped" } as const;
  const options = { cwd: ROOT, env: { ...env }, ...piped };
  return shell === undefined
    ? new Deno.Command(Deno.execPath(), { args: all, ...options }).spawn()
    : new Deno.Command("sh", {
      args: ["-c", `${shell}; exec "$@"`, "sh", Deno.execPath(), ...all],
      ...options,
    }).spawn();
}

/** The conversions in what `convert --json` printed for a way from ONNX to ONNX, held to its schema. */
export function conversionsIn(stdout: string): readonly VerifiedConversion[] {
  const printed: unknown = JSON.parse(stdout);
  PRINTED.parse(printed);
  return (printed as { steps: readonly OnnxReport[] }).steps[0]!.conversions;
}

/** Runs `modelcast` with `args` to its end. */
export async function command(
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { code, stdout, stderr } = await spawnCommand(args, options).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** Runs `modelcast convert` over `source`, with the folder of `output` readable and writable. */
export function convertCommand(
  source: string,
  output: string,
  ...args: readonly string[]
): Promise<CommandResult> {
  return command(["convert", "--source", source, "--output", output, ...args], {
    folder: dirname(output),
  });
}
