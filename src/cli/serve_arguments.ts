/** The grammar of `modelcast serve`. */
import type { Command } from "commander";
import { InputError } from "../error.ts";

/** `modelcast serve`, checked for form. */
export interface ServeArguments {
  readonly kind: "serve";
  readonly folder: string;
  /** 0 for any that is free. */
  readonly port: number;
  readonly host: LoopbackHost;
}

/** A name or an address of the machine itself. */
export type LoopbackHost = typeof LOOPBACK[number];

const LOOPBACK = ["127.0.0.1", "localhost", "::1"] as const;

/** Gives `command` the argument and the options of `serve`; `done` gets them parsed. */
export function addServeOptions(command: Command, done: (command: ServeArguments) => void): void {
  command
    .argument("<folder>", "the folder with the pages")
    .option("--port <n>", "port to listen on, 0 for any that is free", port, 8000)
    .option("--host <name>", `address to listen on: ${LOOPBACK.join(", ")}`, host, LOOPBACK[0])
    .action((folder: string, options: { port: number; host: LoopbackHost }) => {
      if (folder === "") {
        throw new InputError("Cannot read the command line: the folder's name is empty. Name one.");
      }
      done({ kind: "serve", folder, ...options });
    });
}

function port(value: string): number {
  const number = Number(value);
  if (/^[0-9]{1,5}$/.test(value) && number < 65536) return number;
  throw new InputError(
    `Cannot read --port "${value}": it is not a port. Give a number from 0 to 65535.`,
  );
}

function host(value: string): LoopbackHost {
  const found = LOOPBACK.find((name) => name === value);
  if (found !== undefined) return found;
  throw new InputError(
    `Cannot serve on --host "${value}": browsers give WebGPU to pages from the machine itself and ` +
      `to https alone. Give one of ${LOOPBACK.join(", ")}.`,
  );
}
