/**
 * The staging folder: a set of files takes its targets' places whole or not at all, and what killed
 * processes left is swept, but nothing that lives or belongs to another target.
 */
import assert from "node:assert/strict";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { InputError } from "../../src/error.ts";
import { StagingFolder } from "../../src/onnx/staging.ts";
import { run, start } from "../../src/process.ts";

function test(name: string, body: (folder: string) => void | Promise<void>): void {
  Deno.test(name, async () => {
    const folder = await Deno.makeTempDir();
    try {
      await body(folder);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

/** Writes files into a staging folder and says where they are to go. */
function stage(
  staging: StagingFolder,
  folder: string,
  contents: Readonly<Record<string, string>>,
): { path: string; target: string }[] {
  return Object.entries(contents).map(([name, content]) => {
    const path = `${staging.path}/${name}`;
    Deno.writeTextFileSync(path, content);
    return { path, target: `${folder}/${name}` };
  });
}

test("files take their targets' places, new and old ones", (folder) => {
  Deno.writeTextFileSync(`${folder}/model.onnx`, "old");
  const staging = new StagingFolder(`${folder}/model.onnx`);
  assert.match(basename(staging.path), /^model\.onnx\.[0-9a-f]{16}\.partial$/);
  const files = stage(staging, folder, { "model.onnx.data": "weights", "model.onnx": "graph" });
  assert.equal(Deno.readTextFileSync(`${folder}/model.onnx`), "old");
  staging.publish(files);
  staging.discard();
  assert.deepEqual(names(folder), ["model.onnx", "model.onnx.data"]);
  assert.equal(Deno.readTextFileSync(`${folder}/model.onnx`), "graph");
  assert.equal(Deno.readTextFileSync(`${folder}/model.onnx.data`), "weights");
});

for (const blocked of ["first", "second", "third"]) {
  test(`none takes its place when the ${blocked} can't`, (folder) => {
    const old = { first: "1", second: "2", third: "3" };
    for (const [name, content] of Object.entries(old)) {
      Deno.writeTextFileSync(`${folder}/${name}`, content);
    }
    const staging = new StagingFolder(`${folder}/first`);
    const files = stage(staging, folder, { new: "n", first: "a", second: "b", third: "c" })
      .map(({ path, target }) => ({
        path,
        target: basename(path) === blocked ? `${folder}/missing/${blocked}` : target,
      }));
    assert.throws(() => staging.publish(files), InputError);
    staging.discard();
    assert.deepEqual(names(folder), ["first", "second", "third"]);
    for (const [name, content] of Object.entries(old)) {
      assert.equal(Deno.readTextFileSync(`${folder}/${name}`), content);
    }
  });
}

test("a folder is never replaced", (folder) => {
  for (const name of ["empty", "full/inside"]) {
    Deno.mkdirSync(`${folder}/${name}`, { recursive: true });
  }
  const staging = new StagingFolder(`${folder}/a`);
  for (const name of ["empty", "full"]) {
    const files = stage(staging, folder, { a: "a", [name]: "b" });
    assert.throws(
      () => staging.publish(files),
      (error) => error instanceof InputError && /it is a directory/.test(error.message),
    );
  }
  staging.discard();
  assert.deepEqual(names(folder), ["empty", "full"]);
  assert.deepEqual(names(`${folder}/full`), ["inside"]);
});

test("a target that was not there is not there after a failure", (folder) => {
  const staging = new StagingFolder(`${folder}/a`);
  const files = stage(staging, folder, { a: "a", b: "b" });
  Deno.removeSync(`${staging.path}/b`);
  assert.throws(() => staging.publish(files));
  staging.discard();
  assert.deepEqual(names(folder), []);
});

test("only regular files are published: a link leads elsewhere", async (folder) => {
  Deno.writeTextFileSync(`${folder}/secret`, "secret");
  const staging = new StagingFolder(`${folder}/a`);
  const path = `${staging.path}/a`;
  const args = ["-s", `${folder}/secret`, path];
  assert.ok((await run({ program: "ln", args, install: "" })).success);
  const target = `${folder}/a`;
  assert.throws(() => staging.publish([{ path, target }]), /not a regular file/);
  Deno.mkdirSync(`${staging.path}/folder`);
  assert.throws(
    () => staging.publish([{ path: `${staging.path}/folder`, target }]),
    /not a regular file/,
  );
  staging.discard();
  assert.deepEqual(names(folder), ["secret"]);
});

test("a folder that lives is left alone, and so is what is of another target", (folder) => {
  const living = new StagingFolder(`${folder}/a`);
  const others = ["b.0123456789abcdef.partial", "a.0123.partial", "a.partial", "a.b"];
  for (const name of others) {
    Deno.mkdirSync(`${folder}/${name}`);
    Deno.writeTextFileSync(`${folder}/${name}/.lock`, "");
  }
  const second = new StagingFolder(`${folder}/a`);
  second.discard();
  assert.deepEqual(names(folder), [...others, basename(living.path)].sort());
  living.discard();
});

test("the old content of a target that a killed process had set aside comes back", (folder) => {
  Deno.writeTextFileSync(`${folder}/a.0123456789abcdef.old`, "old");
  new StagingFolder(`${folder}/a`).discard();
  assert.deepEqual(names(folder), ["a"]);
  assert.equal(Deno.readTextFileSync(`${folder}/a`), "old");
});

test("what a killed process left goes when its target is written again", async (folder) => {
  const target = `${folder}/model.onnx`;
  Deno.writeTextFileSync(target, "old");
  await using parent = start({
    program: Deno.execPath(),
    args: ["run", "--no-lock", "--quiet", "--allow-run=/bin/sh"].concat(
      `--allow-read=${folder}`,
      `--allow-write=${folder}`,
      fileURLToPath(new URL("staging_parent.ts", import.meta.url)),
      target,
    ),
    install: "",
  });
  const path = await parent.receive();
  assert.ok(path !== null);
  new StagingFolder(target).discard();
  assert.deepEqual(names(path), [".lock", "unfinished"], "it was alive");
  await parent.send("die");
  assert.equal((await parent.finish()).code, 137);
  assert.deepEqual(names(path), [".lock", "unfinished"]);
  new StagingFolder(target).discard();
  assert.deepEqual(names(folder), ["model.onnx"]);
  assert.equal(Deno.readTextFileSync(target), "old");
});
