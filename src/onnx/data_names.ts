/** Gives the external data files of a model on the disk other names, in the model; the files stay. */
import { planModelFile } from "./layout.ts";
import { readModel } from "./reader.ts";
import { beginModel } from "./writer.ts";

/**
 * Writes the model file at `path` anew, its external data being called what `rename` makes of their
 * names. The data files themselves, and all tensors in them, stay as they are.
 *
 * @returns the bytes of the model file.
 */
export async function renameDataFiles(
  path: string,
  rename: (name: string) => string,
): Promise<number> {
  const layout = planModelFile(await readModel(path), `${path}.renamed`, rename);
  const writer = await beginModel(layout);
  try {
    await writer.commit();
  } finally {
    writer.abort();
  }
  Deno.renameSync(layout.target, path);
  return layout.totalBytes;
}
