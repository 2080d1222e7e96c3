/**
 * What earlier conversions kept aside because it failed its verification: `NAME.unverified` beside the
 * target, and the files that go with it under that ending. It is found here so that it goes when the
 * target is written again.
 */
import { basename, dirname, join, resolve } from "node:path";
import { ModelcastError } from "../error.ts";
import { checkTarget } from "../onnx/files.ts";
import { modelTensors } from "../onnx/layout.ts";
import { readModel } from "../onnx/reader.ts";
import { UNVERIFIED } from "./conversion.ts";
import type { ConverterRequest } from "./converter.ts";
import type { ModelFormat } from "./options.ts";
import { sourcesOf } from "./outputs.ts";

/** The places of a model that is about to be written: its own file first, then those that go with it. */
export interface Place {
  readonly paths: readonly string[];
  readonly format: ModelFormat;
}

/**
 * The files that were kept aside for the models at `places`, each model's own last. Links are none of
 * them, nor is data without the model that names it: who has renamed that still needs them. Where
 * `request`, whose source is in `sourceFormat`, reads one of a model's, all of that model's stay.
 */
export async function keptAside(
  places: readonly Place[],
  request: ConverterRequest,
  sourceFormat: ModelFormat,
): Promise<string[]> {
  const kept: string[] = [];
  for (const place of places) {
    const found = await filesAside(place);
    if (found.length === 0) continue;
    const data = sourceFormat === "onnx" ? await dataFiles(request.modelPath) : [];
    const sources = [...sourcesOf(request), ...data];
    if (!found.some((path) => isAmong(path, sources))) kept.push(...found);
  }
  return kept;
}

/** What was kept aside for the model at `place`. */
async function filesAside({ paths: [own, ...others], format }: Place): Promise<string[]> {
  const aside = `${own}${UNVERIFIED}`;
  if (!isOwnFile(aside)) return [];
  const names = new Set(others.map((path) => `${basename(path)}${UNVERIFIED}`));
  for (const path of format === "onnx" ? await dataFiles(aside) : []) {
    // A model may name any file as its data.
    const name = basename(path);
    const isBeside = dirname(path) === dirname(resolve(aside));
    if (isBeside && name.startsWith(`${basename(own!)}.`) && name.endsWith(UNVERIFIED)) {
      names.add(name);
    }
  }
  names.delete(basename(aside));
  return [...[...names].map((name) => join(dirname(aside), name)).filter(isOwnFile), aside];
}

/** Whether `path` is a file, and not a link to one. */
function isOwnFile(path: string): boolean {
  try {
    return Deno.lstatSync(path).isFile;
  } catch {
    return false;
  }
}

/** The files of the external data of the ONNX model at `path`; none where it can't be read. */
async function dataFiles(path: string): Promise<string[]> {
  try {
    const files = new Set<string>();
    for (const { tensor: { data } } of modelTensors(await readModel(path))) {
      if (data.kind === "file" || data.kind === "typed") files.add(resolve(data.path));
    }
    return [...files];
  } catch (error) {
    if (error instanceof ModelcastError) return [];
    throw error;
  }
}

function isAmong(path: string, sources: readonly string[]): boolean {
  try {
    checkTarget(path, sources);
    return false;
  } catch {
    return true;
  }
}
