/**
 * The file system that a confined Python sees: the system's libraries, the interpreter, the programs,
 * what the job reads, and one folder that it writes. Links are followed here, outside: what they
 * lead to is shown where the link says that it is.
 */
import { dirname, join, resolve } from "node:path";
import { InputError } from "../error.ts";

/** A path outside and where it is seen inside. */
export type Bind = readonly [outside: string, inside: string];

/** What is seen, read-only but for `writable`. Binds of a list may cover those before. */
export interface View {
  /** Parts of the system; those that a machine lacks are left out. */
  readonly system: readonly string[];
  readonly readable: readonly Bind[];
  readonly writable: readonly Bind[];
}

/** What a view is made of. */
export interface ViewRequest {
  /** Absolute paths of files and folders that belong to modelcast or the interpreter. */
  readonly programs: readonly string[];
  /** Absolute paths of files and folders to read, which are not to be trusted. */
  readonly readable: readonly string[];
  /** Absolute path of the folder to write. */
  readonly writable: string;
  readonly network: boolean;
  warn(text: string): void;
}

/** Libraries and programs of the system; what programs link to on NixOS and Guix; processors. */
const SYSTEM: readonly string[] = [
  ..."/usr /lib /lib32 /lib64 /bin /sbin /nix/store /gnu/store".split(" "),
  ..."/etc/ld.so.cache /etc/alternatives /etc/localtime /sys/devices/system".split(" "),
  "/sys/fs/cgroup/memory.max",
];
/** How a host's name is looked up and its certificate checked. */
const NETWORK: readonly string[] =
  "/etc/resolv.conf /etc/hosts /etc/nsswitch.conf /etc/ssl /etc/pki /etc/ca-certificates".split(
    " ",
  );

const MAXIMUM_ENTRIES = 20_000;
const MAXIMUM_LINKS = 1_500;
const MAXIMUM_DEPTH = 16;

/** Works out the view of a job. */
export async function viewOf(request: ViewRequest): Promise<View> {
  const { programs, network, warn } = request;
  const readable: Bind[] = programs.map((path) => [path, path]);
  for (const path of request.readable) {
    const real = await realPath(path);
    readable.push([real, real]);
    if (real !== path) readable.push([real, path]);
    readable.push(...await targetsOfLinks(path, real, warn));
  }
  const real = await realPath(request.writable);
  const writable: Bind[] = [[real, real]];
  if (real !== request.writable) writable.push([real, request.writable]);
  return { system: network ? [...SYSTEM, ...NETWORK] : SYSTEM, readable, writable };
}

async function realPath(path: string): Promise<string> {
  try {
    return await Deno.realPath(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) {
      throw new InputError(`Cannot read "${path}": there is no such file. Check the path.`, {
        cause,
      });
    }
    throw cause;
  }
}

/**
 * What the links below `folder` lead to. Only links that stay in the folder or lead to the blobs of
 * a Hugging Face cache are followed: a model is not to show files of the person's own.
 */
async function targetsOfLinks(
  given: string,
  folder: string,
  warn: (text: string) => void,
): Promise<Bind[]> {
  const binds: Bind[] = [];
  let entries = 0;
  const blobs = blobsBeside(folder);
  const visit = async (path: string, depth: number): Promise<void> => {
    for await (const entry of Deno.readDir(join(folder, path))) {
      if (++entries > MAXIMUM_ENTRIES) {
        throw new InputError(
          `Cannot read "${given}": it holds more than ${MAXIMUM_ENTRIES} files. Name the model's ` +
            `own folder.`,
        );
      }
      const name = join(path, entry.name);
      if (entry.isDirectory && depth < MAXIMUM_DEPTH) await visit(name, depth + 1);
      if (entry.isSymlink) await follow(name);
    }
  };
  const follow = async (name: string): Promise<void> => {
    const link = join(folder, name);
    let target: string;
    let text: string;
    try {
      target = await Deno.realPath(link);
      text = await Deno.readLink(link);
    } catch {
      return; // It leads nowhere, and so it does inside.
    }
    if (isBelow(target, folder)) return;
    if (blobs === null || !isBelow(target, blobs)) {
      warn(`"${join(given, name)}" is a link out of the model's folder, which is not followed.`);
      return;
    }
    // The link's text is read from either place that the folder is seen at.
    const places = [target, resolve(dirname(link), text), resolve(given, dirname(name), text)];
    for (const place of new Set(places)) {
      if (!isBelow(place, folder) && !isBelow(place, given)) binds.push([target, place]);
    }
    if (binds.length > MAXIMUM_LINKS) {
      throw new InputError(
        `Cannot read "${given}": it holds more than ${MAXIMUM_LINKS} links. Name the model's own ` +
          `folder.`,
      );
    }
  };
  if ((await Deno.stat(folder)).isDirectory) await visit("", 0);
  return binds;
}

/** The folder `blobs` of the Hugging Face cache that `folder` is a snapshot in; null elsewhere. */
function blobsBeside(folder: string): string | null {
  const match = /^(.*)[/\\]snapshots[/\\][^/\\]+([/\\].*)?$/.exec(folder);
  return match === null ? null : join(match[1] ?? "", "blobs");
}

function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith("/") ? folder : `${folder}/`);
}
