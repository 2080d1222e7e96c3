/**
 * Publishes a set of files with another making of it in place, and is killed before the change of a name
 * that its arguments count: FOLDER COUNT. Prints "done" where there are fewer changes.
 */
import { StagingFolder } from "../../src/onnx/staging.ts";

const [folder, count] = Deno.args;
const staging = new StagingFolder(`${folder}/model.js`);
const files = ["model.js", "model.d.ts", "model.safetensors"].map((name, index) => {
  const path = `${staging.path}/${name}`;
  Deno.writeTextFileSync(path, "new");
  return { path, target: `${folder}/${name}`, head: index === 0 };
});
let left = Number(count);
for (const change of ["renameSync", "linkSync", "removeSync"] as const) {
  const original = Deno[change];
  Reflect.set(Deno, change, (...paths: unknown[]) => {
    if (left-- === 0) Deno.kill(Deno.pid, "SIGKILL");
    return Reflect.apply(original, Deno, paths);
  });
}
staging.publish(files);
console.log("done");
