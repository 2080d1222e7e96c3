/** The cache folder: entries, and that without permissions there is silently none. */
import assert from "node:assert/strict";
import { cacheFolder, readEntry, writeEntry } from "../../src/cache.ts";
import { makeLink } from "./onnx_models.ts";

/** Runs `body` with a fresh folder as MODELCAST_CACHE. */
async function withCache(body: (folder: string) => Promise<void>): Promise<void> {
  const before = Deno.env.get("MODELCAST_CACHE");
  const folder = await Deno.makeTempDir();
  Deno.env.set("MODELCAST_CACHE", `${folder}/cache`);
  try {
    await body(`${folder}/cache`);
  } finally {
    if (before === undefined) Deno.env.delete("MODELCAST_CACHE");
    else Deno.env.set("MODELCAST_CACHE", before);
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("an entry is read as it was written", () =>
  withCache(async (folder) => {
    assert.equal(cacheFolder(), folder);
    assert.equal(await readEntry("engine"), undefined);
    assert.equal(await writeEntry("engine", { wasm: 1.5, list: [1, null] }), true);
    assert.deepEqual(await readEntry("engine"), { wasm: 1.5, list: [1, null] });
    assert.equal(await writeEntry("engine", 2), true);
    assert.equal(await readEntry("engine"), 2);
    assert.deepEqual([...Deno.readDirSync(folder)].map((entry) => entry.name), ["engine.json"]);
    await Deno.remove(`${folder}/engine.json`);
    assert.equal(await readEntry("engine"), undefined);
  }));

Deno.test("a broken or oversized entry is as good as none", () =>
  withCache(async (folder) => {
    await Deno.mkdir(folder);
    await Deno.writeTextFile(`${folder}/engine.json`, '{ "wasm": ');
    assert.equal(await readEntry("engine"), undefined);
    await Deno.writeTextFile(`${folder}/engine.json`, `"${"x".repeat(2 ** 20)}"`);
    assert.equal(await readEntry("engine"), undefined);
  }));

Deno.test("a pipe or a device in the place of an entry is as good as none", {
  ignore: Deno.build.os === "windows",
}, () =>
  withCache(async (folder) => {
    await Deno.mkdir(folder);
    await makeLink("/dev/zero", `${folder}/engine.json`);
    assert.equal(await readEntry("engine"), undefined);
    await Deno.remove(`${folder}/engine.json`);
    const made = new Deno.Command("sh", { args: ["-c", 'mkfifo "$0"', `${folder}/engine.json`] });
    if (!(await made.output()).success) return;
    const read = readEntry("engine");
    const late = new Promise((done) => setTimeout(() => done("waits"), 2000));
    assert.equal(await Promise.race([read, late]), undefined);
  }));

Deno.test("concurrent writers leave one whole value and no litter", () =>
  withCache(async (folder) => {
    const values = Array.from({ length: 20 }, (_, i) => ({ i, filler: "x".repeat(1000 * i) }));
    await Promise.all(values.map((value) => writeEntry("engine", value)));
    const kept = await readEntry("engine") as { i: number };
    assert.deepEqual(kept, values[kept.i]);
    assert.equal([...Deno.readDirSync(folder)].length, 1);
  }));

Deno.test("a folder that can't be made is no cache", () =>
  withCache(async (folder) => {
    await Deno.writeTextFile(folder, "a file stands where the folder should be");
    assert.equal(await writeEntry("engine", 1), false);
    assert.equal(await readEntry("engine"), undefined);
  }));

Deno.test("a name never leaves the folder", async () => {
  for (const name of ["../engine", "a/b", "", ".", "A", "engine.json"]) {
    await assert.rejects(writeEntry(name, 1), TypeError);
  }
});

Deno.test("without permissions nothing is remembered and nothing is asked", {
  permissions: { read: false, write: false, env: false },
}, async () => {
  assert.ok(cacheFolder()?.endsWith(".cache"));
  assert.equal(await writeEntry("engine", 1), false);
  assert.equal(await readEntry("engine"), undefined);
});
