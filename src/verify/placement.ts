/**
 * Where the nodes of a model ran, by the profile that ONNX Runtime writes of a run: in a folder of its
 * own, which is gone afterwards.
 */
import { join } from "node:path";
import { MissingToolError } from "../error.ts";

/** A node that ran on another provider than the named one. */
export interface MisplacedNode {
  readonly node: string;
  readonly op: string;
  /** The provider that ran it, in ONNX Runtime's words. */
  readonly provider: string;
}

/** Where the nodes of one model ran. */
export interface Placement {
  /** Nodes that ran after the runtime's own fusions; null where they were not counted. */
  readonly nodes: number | null;
  /** Nodes that ran elsewhere; null where that could not be known. */
  readonly elsewhere: readonly MisplacedNode[] | null;
  /** How this is known, or why it is not. */
  readonly how: string;
}

/** A new folder for a profile. */
export interface ProfileFolder extends AsyncDisposable {
  readonly path: string;
  /** Where the nodes ran by the profile in the folder, for a session on `provider`. */
  read(provider: string): Promise<Placement>;
}

/**
 * Makes a folder for a profile: in the system's place for temporary files, else in `fallback`.
 *
 * @throws MissingToolError where neither may be written.
 */
export async function makeProfileFolder(fallback: string): Promise<ProfileFolder> {
  const path = await scratchFolder(fallback);
  return {
    path,
    async read(provider) {
      try {
        return await readProfile(path, provider);
      } catch (error) {
        const state = error instanceof Error ? error.message : String(error);
        const how = `the runtime's profile can't be read: ${state}`;
        return { nodes: null, elsewhere: null, how };
      }
    },
    [Symbol.asyncDispose]: async () => await Deno.remove(path, { recursive: true }),
  };
}

async function scratchFolder(fallback: string): Promise<string> {
  try {
    return await Deno.makeTempDir({ prefix: "modelcast-profile-" });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
  }
  try {
    return await Deno.makeTempDir({ dir: fallback, prefix: ".modelcast-profile-" });
  } catch (cause) {
    throw new MissingToolError(
      `Cannot learn which nodes ran on the provider: no temporary file may be written in ` +
        `"${fallback}". Run again with --allow-read=${fallback} --allow-write=${fallback}`,
      { cause },
    );
  }
}

async function readProfile(folder: string, provider: string): Promise<Placement> {
  const events: unknown[] = [];
  for await (const entry of Deno.readDir(folder)) {
    const parsed: unknown = JSON.parse(await Deno.readTextFile(join(folder, entry.name)));
    if (Array.isArray(parsed)) events.push(...parsed);
  }
  const nodes = new Map<string, MisplacedNode>();
  for (const event of events) {
    const node = executedNode(event);
    if (node !== null) nodes.set(node.node, node);
  }
  const elsewhere = [...nodes.values()].filter((node) =>
    node.provider.toLowerCase() !== `${provider}executionprovider`
  );
  return { nodes: nodes.size, elsewhere, how: "ONNX Runtime's profile of one run" };
}

/** The node that a profile's event is about, or null where it is about something else. */
function executedNode(event: unknown): MisplacedNode | null {
  if (!isRecord(event) || event["cat"] !== "Node" || !isRecord(event["args"])) return null;
  const { name, args } = event;
  const op = args["op_name"];
  const provider = args["provider"];
  if (typeof name !== "string" || typeof op !== "string" || typeof provider !== "string") {
    return null;
  }
  return { node: name.replace(/_kernel_time$/, ""), op, provider };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
