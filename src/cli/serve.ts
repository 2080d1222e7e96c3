/** `modelcast serve`: serves a folder's pages on the loopback until the person interrupts it. */
import { InputError } from "../error.ts";
import { printable } from "../report.ts";
import type { ServeArguments } from "./serve_arguments.ts";
import { FolderServer } from "./serve_files.ts";
import { untilInterrupted } from "./signals.ts";

/** Milliseconds that answers under way have when the command is interrupted. */
const GRACE_MS = 500;

/** Serves until the person interrupts it; returns the exit code, that of any interrupted command. */
export async function serveCommand({ folder, port, host }: ServeArguments): Promise<number> {
  const files = new FolderServer(folder, host);
  await untilInterrupted(async (signal) => {
    const force = new AbortController();
    const server = listen(() =>
      Deno.serve({
        port,
        hostname: host,
        signal: force.signal,
        onListen: ({ port }) => {
          const name = host.includes(":") ? `[${host}]` : host;
          console.log(
            printable(`Serving ${folder} at http://${name}:${port}/ until you press Ctrl-C`),
          );
        },
        onError: (error) => {
          console.error(printable(`error: ${error instanceof Error ? error.message : error}`));
          return new Response("Internal error\n", { status: 500 });
        },
      }, (request) => files.answer(request)), { port, host });
    const stop = () => {
      const timer = setTimeout(() => force.abort(), GRACE_MS);
      server.shutdown().finally(() => clearTimeout(timer));
    };
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop);
    await server.finished;
  });
  return 130;
}

/** Starts to listen; what the person can mend is an InputError. */
function listen(
  start: () => Deno.HttpServer<Deno.NetAddr>,
  { port, host }: { readonly port: number; readonly host: string },
): Deno.HttpServer<Deno.NetAddr> {
  try {
    return start();
  } catch (cause) {
    const state = cause instanceof Deno.errors.AddrInUse
      ? "another program uses it"
      : cause instanceof Deno.errors.PermissionDenied
      ? "the system gives it to privileged programs alone"
      : cause instanceof Deno.errors.AddrNotAvailable
      ? `this machine has no address "${host}"`
      : null;
    if (state === null) throw cause;
    throw new InputError(
      `Cannot serve on port ${port}: ${state}. Name another by --port, or 0 for any that is free.`,
      { cause },
    );
  }
}
