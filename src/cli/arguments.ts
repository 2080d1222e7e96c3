/**
 * The command line's grammar: arguments in, a discriminated union out. What belongs to one command is
 * loaded with it, so that help costs no more than the argument parser.
 */
import { Command, CommanderError } from "commander";
import { VERSION } from "../version.ts";
import type { ConvertArguments, LayoutArguments } from "./convert_arguments.ts";
import type { ServeArguments } from "./serve_arguments.ts";

/** Text to print instead of running a command: help, the version, or a usage error. */
export interface PrintCommand {
  readonly kind: "print";
  readonly text: string;
  readonly exitCode: 0 | 2;
}

/** A parsed command line. */
export type ParsedCommand = ConvertArguments | LayoutArguments | ServeArguments | PrintCommand;

/** Parses `args`. Rejects with an `InputError` for values of the wrong form. */
export async function parseArguments(args: readonly string[]): Promise<ParsedCommand> {
  let parsed: ParsedCommand | null = null;
  let text = "";
  const program = new Command("modelcast")
    .description(
      "Casts a model into the format and the precision that its target runs: PyTorch to ONNX, " +
        "ONNX to 8, 4, 3 and 2 bits, float16 and bfloat16, to OpenVINO, and to JavaScript modules " +
        "for WebGPU.",
    )
    .version(VERSION)
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({
      writeOut: (chunk) => void (text += chunk),
      writeErr: (chunk) => void (text += chunk),
    });
  const convert = program.command("convert")
    .description("convert a model to another format or precision");
  if (args.includes("convert")) {
    const { addConvertOptions } = await import(
      "./convert_arguments" + ".ts"
    ) as typeof import("./convert_arguments.ts");
    addConvertOptions(convert, (command) => void (parsed = command));
  }
  const serve = program.command("serve")
    .description("serve a folder's pages on this machine, for its browser");
  if (args.includes("serve")) {
    const { addServeOptions } = await import(
      "./serve_arguments" + ".ts"
    ) as typeof import("./serve_arguments.ts");
    addServeOptions(serve, (command) => void (parsed = command));
  }
  try {
    program.parse(args.length === 0 ? ["--help"] : args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return { kind: "print", text, exitCode: error.exitCode === 0 ? 0 : 2 };
  }
  return parsed ?? { kind: "print", text: program.helpInformation(), exitCode: 2 };
}
