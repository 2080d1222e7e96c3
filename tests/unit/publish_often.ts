/**
 * Publishes a set of files many times over, each time with its own name and the number of the time as
 * their content: FOLDER NAME TIMES. Says "mixed" where it finds files of two makings together.
 */
import { StagingFolder } from "../../src/onnx/staging.ts";

const [folder, name, times] = Deno.args;
const names = ["model.js", "model.d.ts", "model.safetensors"];
const read = (file: string): string | null => {
  try {
    return Deno.readTextFileSync(`${folder}/${file}`);
  } catch {
    return null;
  }
};
for (let time = 0; time < Number(times); time++) {
  const staging = new StagingFolder(`${folder}/model.js`);
  staging.publish(names.map((file, index) => {
    const path = `${staging.path}/${file}`;
    Deno.writeTextFileSync(path, `${name} ${time}`);
    return { path, target: `${folder}/${file}`, head: index === 0 };
  }));
  staging.discard();
  // Read in an order in which a set that changes meanwhile is seen to have changed.
  const [before, ...others] = names.map(read);
  if (before !== null && before === read(names[0]!) && others.some((other) => other !== before)) {
    if (read(names[0]!) === before) console.log(`mixed: ${before}, ${others}`);
  }
}
