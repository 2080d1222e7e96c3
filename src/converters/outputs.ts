/**
 * What a conversion may replace: the file that was asked for and those that go beside it, and nothing
 * that it reads or that some other program's file may be.
 */
import { basename, dirname, extname, join } from "node:path";
import { InputError } from "../error.ts";
import { checkTarget } from "../onnx/files.ts";
import type { ConverterRequest } from "./converter.ts";
import { MODEL_FORMATS, type ModelFormat } from "./options.ts";

/**
 * Checks before any work that what `request` writes in `format` can take its place.
 *
 * @throws InputError where it can't: no such folder, a name of the wrong kind, a file that is read.
 */
export function checkOutput(request: ConverterRequest, format: ModelFormat): void {
  const { outputPath, precisions } = request;
  const sources = sourcesOf(request);
  checkTarget(outputPath, sources);
  const [extension] = MODEL_FORMATS[format].extensions;
  const ending = format === "openvino" ? extension : format === "webgpu" ? ".js" : null;
  if (ending !== null && extname(outputPath) !== ending) {
    const kind = format === "openvino" ? "model for OpenVINO" : "module for WebGPU";
    throw new InputError(
      `Cannot write "${outputPath}": a ${kind} has a name that ends in ${ending}. ` +
        `Name it "${join(dirname(outputPath), nameWith(outputPath, extension))}".`,
    );
  }
  if (MODEL_FORMATS[format].beside.length === 0) return;
  const end = extensionOf(outputPath);
  const models = precisions.length === 1
    ? [outputPath]
    : precisions.map((name) => `${outputPath.slice(0, -end.length)}.${name}${end}`);
  for (const model of models) {
    checkTarget(model, sources);
    for (const beside of MODEL_FORMATS[format].beside) {
      const path = join(dirname(model), nameWith(model, beside));
      checkTarget(path, sources);
      checkBeside(model, path);
    }
  }
}

/** What the name of an output ends in: ".webgpu.js", or what stands behind its last dot. */
export function extensionOf(path: string): string {
  const [module] = MODEL_FORMATS.webgpu.extensions;
  return path.endsWith(module) && basename(path) !== module ? module : extname(path);
}

/**
 * Checks the targets of what was made: `targets` of one model of `format`, its own file first. The
 * names may come from a program that the model has taken over.
 *
 * @throws InputError where one is not to be replaced.
 */
export function checkTargets(
  targets: readonly string[],
  request: ConverterRequest,
  format: ModelFormat,
): void {
  const sources = sourcesOf(request);
  const stem = basename(request.outputPath, extensionOf(request.outputPath));
  const [own, ...others] = targets;
  for (const path of targets) {
    const name = basename(path);
    const belongs = name === basename(request.outputPath) || name.startsWith(`${stem}.`);
    if (!belongs || dirname(path) !== dirname(join(request.outputPath))) {
      throw new InputError(
        `Cannot write "${path}": it is not one of the files of "${request.outputPath}". Don't ` +
          "trust the model.",
      );
    }
    checkTarget(path, sources);
  }
  if (MODEL_FORMATS[format].beside.length === 0) return;
  for (const path of others) checkBeside(own!, path);
}

/** A file beside a model that is not there is not an older result's. */
function checkBeside(model: string, path: string): void {
  if (!exists(path) || exists(model)) return;
  throw new InputError(
    `Cannot write "${model}": "${path}", which goes with it, is there without it, so it may be ` +
      "something else. Move it away, or name another output.",
  );
}

/** The file name of `path` with another extension. */
function nameWith(path: string, extension: string): string {
  return `${basename(path, extname(path))}${extension}`;
}

/** The files that a request reads, as far as it names them: of a folder, all that were not made of it. */
export function sourcesOf({ modelPath, config, inputs }: ConverterRequest): string[] {
  const named = [config, inputs].filter((path) => path !== null);
  return [modelPath, ...named, ...filesIn(modelPath)];
}

function filesIn(folder: string): string[] {
  let names: string[];
  try {
    if (!Deno.statSync(folder).isDirectory) return [];
    names = [...Deno.readDirSync(folder)].filter((entry) => !entry.isDirectory)
      .map(({ name }) => name);
  } catch {
    // Whoever reads it says what is wrong with it.
    return [];
  }
  const goesWith = (name: string, ending: RegExp, other: string) =>
    ending.test(name) && names.includes(name.replace(ending, other));
  const made = (name: string) =>
    /\.(onnx([._]data)?|xml|blob|webgpu\.js)$/.test(name) ||
    goesWith(name, /\.bin$/, ".xml") ||
    goesWith(name, /\.(d\.ts|safetensors|html|report\.json|page\.json)$/, ".js");
  return names.filter((name) => !made(name)).map((name) => join(folder, name));
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
