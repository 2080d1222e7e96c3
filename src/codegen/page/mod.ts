/**
 * The page of a module: one HTML file that loads `NAME.js` beside it and runs it on what a person types
 * or drops in. Its scripts and styles are files of this folder, joined and named by their hashes in
 * the page's content security policy; everything of the model is JSON in a data block.
 */
import { createHash } from "node:crypto";
import type { DeclaredOutput, DeclaredValue } from "../declarations.ts";
import { encodeHtml, encodeJson } from "../encode.ts";
import { stripModule } from "../runtime_text.ts";
import arrays from "./arrays.js" with { type: "text" };
import audio from "./audio.js" with { type: "text" };
import elements from "./elements.js" with { type: "text" };
import outputs from "./outputs.js" with { type: "text" };
import picture from "./picture.js" with { type: "text" };
import start from "./start.js" with { type: "text" };
import style from "./style.css" with { type: "text" };
import tensors from "./tensors.js" with { type: "text" };
import text from "./text.js" with { type: "text" };
import type { PageAssets } from "./assets.ts";
import { PAGE_KINDS, type PageKind } from "./kinds.ts";
import { tokenizerScript } from "./tokenizers.ts";

/** What a page is made of. */
export interface PageRequest {
  /** Name of the module's files without their extensions. */
  readonly name: string;
  readonly inputs: readonly DeclaredValue[];
  readonly outputs: readonly DeclaredOutput[];
  readonly assets: PageAssets;
}

/** A page, as texts of files. */
export interface Page {
  /** Name of its kind, for reports. */
  readonly kind: string;
  /** Content of `NAME.html`. */
  readonly html: string;
  /** Content of `NAME.page.json`, which it fetches; null where the page holds everything. */
  readonly settings: string | null;
}

/** Bytes of settings (tokenizers, long lists of labels) that a page holds itself. */
const MOST_HELD = 32 * 1024;

const SCRIPTS = { text, picture, audio } as const;

/**
 * The page of a module.
 *
 * @throws MissingToolError where it needs the package of tokenizers and that is not there.
 */
export async function buildPage({ name, inputs, outputs, assets }: PageRequest): Promise<Page> {
  const subject = { inputs, outputs, assets };
  let kind: PageKind | null = null;
  let settings: object | null = null;
  for (const candidate of PAGE_KINDS) {
    settings = candidate.detect(subject);
    if (settings === null) continue;
    kind = candidate;
    break;
  }
  const isLarge = new TextEncoder().encode(encodeJson(settings)).length > MOST_HELD;
  const describe = ({ name, dtype, dims }: DeclaredOutput) => ({ name, dtype, dims });
  const data = encodeJson({
    module: addressOf(name, ".js"),
    inputs: inputs.map(describe),
    outputs: outputs.map(describe),
    settings: isLarge ? null : settings,
    settingsFile: isLarge ? addressOf(name, ".page.json") : null,
  });
  return {
    kind: kind?.name ?? "arrays",
    html: html(name, data, await scriptOf(kind)),
    settings: isLarge ? JSON.stringify(settings) : null,
  };
}

/** The relative address of a file beside the page. */
function addressOf(name: string, extension: string): string {
  return `./${encodeURIComponent(name.toWellFormed())}${extension}`;
}

/** The script of a kind; of the page for arrays where that is null. */
async function scriptOf(kind: PageKind | null): Promise<string> {
  const parts = [elements, tensors, outputs, arrays, start];
  if (kind !== null) parts.push(SCRIPTS[kind.script]);
  const call = kind === null
    ? "start(null);"
    : `start({ title: ${encodeJson(kind.title)}, panel: ${kind.panel} });`;
  return [
    ...(kind?.script === "text" ? [await tokenizerScript()] : []),
    ...parts.map(stripModule),
    call,
  ].join("\n");
}

function html(name: string, data: string, script: string): string {
  const hash = (content: string) =>
    `'sha256-${createHash("sha256").update(content).digest("base64")}'`;
  const [code, css] = [`\n${script}\n`, `\n${style}`];
  const policy = [
    "default-src 'none'",
    `script-src 'self' ${hash(code)}`,
    `style-src ${hash(css)}`,
    "connect-src 'self'",
    "img-src blob: data:",
    "media-src blob:",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${encodeHtml(name)}</title>
<link rel="icon" href="data:,">
<style>${css}</style>
</head>
<body>
<header><h1>${encodeHtml(name)}</h1></header>
<main id="main"><noscript>This page needs JavaScript and WebGPU.</noscript></main>
<script type="application/json" id="data">${data}</script>
<script type="module">${code}</script>
</body>
</html>
`;
}
