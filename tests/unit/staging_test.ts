/**
 * The staging folder: a set of files takes its targets' places whole or not at all, and what killed
 * processes left is swept, but nothing that lives or belongs to another target.
 */
import assert from "node:assert/strict";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { InputError } from "../../src/error.ts";
import { StagingFolder } from "../../src/onnx/staging.ts";
import { removeLitter } from "../../src/onnx/temporary.ts";
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

Deno.test("a process killed at any moment leaves no model that goes with another's files", {
  ignore: Deno.build.os === "windows",
}, async () => {
  const parent = fileURLToPath(new URL("publish_parent.ts", import.meta.url));
  const contents = ["model.js", "model.d.ts", "model.safetensors"];
  const states = new Set<string>();
  for (let count = 0, done = false; !done; count++) {
    const folder = await Deno.makeTempDir();
    try {
      for (const name of contents) Deno.writeTextFileSync(`${folder}/${name}`, "old");
      const { stdout } = await run({
        program: Deno.execPath(),
        args: ["run", "--quiet", "--no-check", "-A", parent, folder, String(count)],
        inheritEnv: ["PATH", "HOME", "DENO_DIR", "XDG_CACHE_HOME"],
        install: "",
      });
      done = new TextDecoder().decode(stdout).includes("done");
      const there = names(folder).filter((name) => contents.includes(name));
      const makings = there.map((name) => Deno.readTextFileSync(`${folder}/${name}`));
      if (there.includes("model.js")) {
        assert.equal(there.length, 3);
        assert.equal(new Set(makings).size, 1, `${count}: ${makings}`);
        states.add(makings[0]!);
      } else states.add("absent");
      // The next one to write there finds what was, and leaves no litter.
      removeLitter(`${folder}/model.js`);
      assert.ok(names(folder).includes("model.js"));
      const staging = new StagingFolder(`${folder}/model.js`);
      staging.publish(stage(staging, folder, {
        ...{ "model.js": "newer", "model.d.ts": "newer", "model.safetensors": "newer" },
      }));
      staging.discard();
      assert.deepEqual(names(folder), contents.toSorted());
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
    assert.ok(count < 30);
  }
  assert.deepEqual([...states].sort(), ["absent", "new", "old"]);
});

test("processes that publish for one target at once don't mix their files", async (folder) => {
  const script = fileURLToPath(new URL("publish_often.ts", import.meta.url));
  const ended = await Promise.all(["a", "b", "c"].map((name) =>
    run({
      program: Deno.execPath(),
      args: ["run", "--quiet", "--no-check", "-A", script, folder, name, "60"],
      inheritEnv: ["PATH", "HOME", "DENO_DIR", "XDG_CACHE_HOME"],
      install: "",
    })
  ));
  for (const { code, stdout, stderr } of ended) {
    assert.equal(code, 0, stderr);
    assert.equal(new TextDecoder().decode(stdout), "");
  }
  const left = ["model.d.ts", "model.js", "model.safetensors"];
  assert.deepEqual(names(folder), left);
  const contents = left.map((name) => Deno.readTextFileSync(`${folder}/${name}`));
  assert.equal(new Set(contents).size, 1, contents.join());
});

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
