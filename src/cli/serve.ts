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
    const server = listen(() =>
      Deno.serve({
        port,
        hostname: host,
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
    await Promise.race([server.finished, interrupted(signal)]);
    // A client that reads no further would keep it for ever: the process ends without it.
    let timer: ReturnType<typeof setTimeout> | undefined;
    const grace = new Promise((resolve) => timer = setTimeout(resolve, GRACE_MS));
    await Promise.race([server.shutdown(), grace]);
    clearTimeout(timer);
  });
  return 130;
}

/** Resolves once `signal` is aborted. */
function interrupted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve());
  });
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
