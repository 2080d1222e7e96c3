/**
 * The software adapters that the tests run on, chosen by `VK_DRIVER_FILES`, which the Vulkan
 * loader reads: lavapipe from the system's Mesa, SwiftShader from the npm package of a Chromium
 * build. A process has one Vulkan loader, so that each adapter is tested in a child of its own.
 */
import { fileURLToPath } from "node:url";
import { brotliDecompressSync } from "node:zlib";
import { extract } from "tar";

/** A Vulkan driver that a child process can be told to use. */
export interface Driver {
  readonly name: "lavapipe" | "swiftshader";
  /** Path of the driver's manifest, the value for `VK_DRIVER_FILES`. */
  readonly manifest: string;
}

const PACKAGE = "../../node_modules/@sparticuz/chromium/";
const CACHE = "../../.cache/";
const MESA_FOLDERS = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

/** The drivers at hand, with the reason for each that is not. */
export async function drivers(): Promise<{ found: Driver[]; missing: string[] }> {
  const found: Driver[] = [];
  const missing: string[] = [];
  const lavapipe = findLavapipe();
  if (lavapipe !== null) found.push({ name: "lavapipe", manifest: lavapipe });
  else missing.push(`lavapipe: no lvp_icd manifest in ${MESA_FOLDERS.join(" or ")}`);
  if (Deno.build.os === "linux" && Deno.build.arch === "x86_64") {
    found.push({ name: "swiftshader", manifest: await unpackSwiftShader() });
  } else {
    missing.push(`swiftshader: the package holds x86-64 Linux only, this is ${Deno.build.target}`);
  }
  return { found, missing };
}

/** Environment of a child that is to see `driver` alone. */
export function driverEnvironment(driver: Driver): Record<string, string> {
  return { VK_DRIVER_FILES: driver.manifest, VK_ICD_FILENAMES: driver.manifest };
}

/** Path of Mesa's manifest for lavapipe, or null. */
function findLavapipe(): string | null {
  for (const folder of MESA_FOLDERS) {
    try {
      for (const entry of Deno.readDirSync(folder)) {
        if (/^lvp_icd\b.*\.json$/.test(entry.name)) return `${folder}/${entry.name}`;
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return null;
}

/** Unpacks SwiftShader into the cache folder, once, and returns the path of its manifest. */
async function unpackSwiftShader(): Promise<string> {
  const { version } = JSON.parse(
    await Deno.readTextFile(new URL(`${PACKAGE}package.json`, import.meta.url)),
  ) as { version: string };
  const folder = fileURLToPath(new URL(`${CACHE}swiftshader-${version}`, import.meta.url));
  const manifest = `${folder}/vk_swiftshader_icd.json`;
  if (await exists(manifest)) return manifest;

  const packed = await Deno.readFile(new URL(`${PACKAGE}bin/swiftshader.tar.br`, import.meta.url));
  await Deno.mkdir(new URL(CACHE, import.meta.url), { recursive: true });
  const temporary = await Deno.makeTempDir({
    dir: fileURLToPath(new URL(CACHE, import.meta.url)),
  });
  const archive = `${temporary}/archive.tar`;
  await Deno.writeFile(archive, brotliDecompressSync(packed));
  await extract({ file: archive, cwd: temporary });
  await Deno.remove(archive);
  try {
    await Deno.rename(temporary, folder);
  } catch (error) {
    // Another process may have unpacked it in the meantime.
    if (!(await exists(manifest))) throw error;
    await Deno.remove(temporary, { recursive: true });
  }
  return manifest;
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
