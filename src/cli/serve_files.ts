/**
 * Answers HTTP requests with the files of one folder: byte ranges, entity tags, a list of the pages of
 * a folder, and a content security policy that lets a page run its own scripts and nothing else.
 * Requests are hostile input: nothing outside the folder, hidden or not a regular file is served, and
 * nobody is answered who reached the loopback under another name (DNS rebinding).
 */
import { createHash } from "node:crypto";
import { extname, join, sep } from "node:path";
import { InputError } from "../error.ts";

/** Media types by the end of the name, https://www.iana.org/assignments/media-types. */
const MEDIA_TYPES: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".gif": "image/gif",
  ".html": "text/html; charset=utf-8",
  ".jpeg": "image/jpeg",
  ".jpg": "image/jpeg",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".md": "text/markdown; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".mp3": "audio/mpeg",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".ts": "text/plain; charset=utf-8",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".wav": "audio/wav",
  ".webp": "image/webp",
};

const BLOCK = 256 * 1024;
/** Larger pages get no hashes of their own: their inline scripts don't run. */
const MAX_PAGE_BYTES = 16 * 2 ** 20;

/** The files of one folder, over HTTP. */
export class FolderServer {
  readonly #root: string;
  readonly #hosts: ReadonlySet<string>;

  /** @throws InputError where `folder` is no folder. */
  constructor(folder: string, host: string) {
    this.#hosts = new Set(["127.0.0.1", "localhost", "[::1]", host]);
    try {
      this.#root = Deno.realPathSync(folder);
      if (Deno.statSync(this.#root).isDirectory) return;
    } catch (cause) {
      if (cause instanceof Deno.errors.NotCapable) throw cause;
      throw new InputError(
        `Cannot serve "${folder}": it can't be read. Name the folder with the pages.`,
        { cause },
      );
    }
    throw new InputError(
      `Cannot serve "${folder}": it is not a folder. Name the folder with the pages.`,
    );
  }

  /** The answer to `request`; never rejects for what the request holds. */
  async answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    // The address may name a host too, or lack one, beside the header.
    const named = request.headers.get("host");
    const ours = this.#hosts.has(url.hostname) &&
      (named === null || this.#hosts.has(hostOf(named)));
    if (!ours) return refusal(421, "This server is for this machine only");
    if (request.method !== "GET" && request.method !== "HEAD") {
      return refusal(405, "Only GET and HEAD are served", { allow: "GET, HEAD" });
    }
    const found = await this.#find(url.pathname);
    if (found === null) return refusal(404, "There is no such file");
    const { path, info } = found;
    if (!info.isDirectory) return await fileResponse(request, path, info);
    if (!url.pathname.endsWith("/")) {
      // Relative, so that no name can lead to another host.
      const name = encodeURIComponent(decodeURIComponent(url.pathname.split("/").at(-1)!));
      return refusal(308, "It is a folder", { location: `./${name}/${url.search}` });
    }
    const index = await this.#find(`${url.pathname}index.html`);
    if (index?.info.isFile) return await fileResponse(request, index.path, index.info);
    return await indexResponse(request, path, path === this.#root);
  }

  /** The file or folder that a URL's path means, without following anything out of the root. */
  async #find(pathname: string): Promise<{ path: string; info: Deno.FileInfo } | null> {
    let segments: string[];
    try {
      segments = pathname.split("/").filter((part) => part !== "").map(decodeURIComponent);
    } catch {
      return null;
    }
    if (segments.some((part) => part.startsWith(".") || /[\0/\\]/.test(part))) return null;
    if (Deno.build.os === "windows" && segments.some((part) => part.includes(":"))) return null;
    try {
      const path = await Deno.realPath(join(this.#root, ...segments));
      const inside = this.#root.endsWith(sep) ? this.#root : this.#root + sep;
      if (path !== this.#root && !path.startsWith(inside)) return null;
      const info = await Deno.stat(path);
      return info.isFile || info.isDirectory ? { path, info } : null;
    } catch {
      return null;
    }
  }
}

/** The name in a `Host` header, without its port. */
function hostOf(header: string): string {
  return header.trim().toLowerCase().replace(/:\d*$/, "");
}

/** Headers of every answer. */
function commonHeaders(inline: InlineHashes = { scripts: [], styles: [] }): Headers {
  const own = ["'self'"];
  const policy: Readonly<Record<string, readonly string[]>> = {
    "default-src": ["'none'"],
    "script-src": [...own, ...inline.scripts],
    "style-src": [...own, ...inline.styles],
    "connect-src": own,
    "font-src": own,
    "img-src": [...own, "blob:", "data:"],
    "media-src": [...own, "blob:"],
    "worker-src": own,
    "base-uri": ["'none'"],
    "form-action": ["'none'"],
    "frame-ancestors": ["'none'"],
  };
  return new Headers({
    "content-security-policy": Object.entries(policy)
      .map(([name, values]) => `${name} ${values.join(" ")}`).join("; "),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
  });
}

function refusal(status: number, text: string, more: Record<string, string> = {}): Response {
  const headers = commonHeaders();
  headers.set("content-type", "text/plain; charset=utf-8");
  for (const [name, value] of Object.entries(more)) headers.set(name, value);
  return new Response(`${text}\n`, { status, headers });
}

/** Sources of a page's inline scripts and styles for its policy. */
interface InlineHashes {
  readonly scripts: readonly string[];
  readonly styles: readonly string[];
}

/**
 * Hashes of the inline scripts and styles of `html`, https://www.w3.org/TR/CSP3/#match-element-to-source-list.
 * Event handlers in attributes, and what a script adds later, stay forbidden.
 */
function inlineHashes(html: string): InlineHashes {
  const hashes = (element: string) =>
    [...html.matchAll(new RegExp(`<${element}\\b[^>]*>([^]*?)</${element}\\b`, "gi"))]
      .filter(([, content]) => content !== "")
      // A parser hands carriage returns on as line feeds.
      .map(([, content]) => content!.replaceAll(/\r\n?/g, "\n"))
      .map((text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`);
  return { scripts: hashes("script"), styles: hashes("style") };
}

async function fileResponse(
  request: Request,
  path: string,
  info: Deno.FileInfo,
): Promise<Response> {
  const type = MEDIA_TYPES[extname(path).toLowerCase()] ?? "application/octet-stream";
  const isPage = type.startsWith("text/html") && info.size <= MAX_PAGE_BYTES;
  const page = isPage ? await Deno.readFile(path) : null;
  const headers = page === null
    ? commonHeaders()
    : commonHeaders(inlineHashes(new TextDecoder().decode(page)));
  const size = page?.length ?? info.size;
  const tag = `"${(info.mtime?.getTime() ?? 0).toString(16)}-${size.toString(16)}"`;
  headers.set("content-type", type);
  headers.set("etag", tag);
  headers.set("cache-control", "no-cache");
  headers.set("accept-ranges", "bytes");
  if (namesTag(request.headers.get("if-none-match"), tag)) {
    return new Response(null, { status: 304, headers });
  }

  const condition = request.headers.get("if-range");
  // Ranges are defined for GET alone, https://www.rfc-editor.org/rfc/rfc9110#section-14.2.
  const heeded = request.method === "GET" && (condition === null || condition === tag);
  const asked = heeded ? request.headers.get("range") : null;
  const range = parseRange(asked, size);
  if (range === "unsatisfiable") {
    headers.set("content-range", `bytes */${size}`);
    return new Response(null, { status: 416, headers });
  }
  const { begin, end } = range ?? { begin: 0, end: size };
  if (range !== null) headers.set("content-range", `bytes ${begin}-${end - 1}/${size}`);
  headers.set("content-length", String(end - begin));
  const status = range === null ? 200 : 206;
  if (request.method === "HEAD") return new Response(null, { status, headers });
  if (page !== null) return new Response(page.subarray(begin, end), { status, headers });
  return new Response(await streamFile(path, begin, end), { status, headers });
}

/** Whether an `If-None-Match` names `tag`, https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2. */
function namesTag(header: string | null, tag: string): boolean {
  if (header === null) return false;
  return header.split(",").map((entry) => entry.trim().replace(/^W\//, ""))
    .some((entry) => entry === "*" || entry === tag);
}

/**
 * One byte range of a `Range` header, https://www.rfc-editor.org/rfc/rfc9110#section-14.1.2: null where
 * there is none to heed, which several ranges in one request and other units are.
 */
function parseRange(
  header: string | null,
  size: number,
): { begin: number; end: number } | "unsatisfiable" | null {
  const [, first, last] = /^bytes=(\d{0,16})-(\d{0,16})$/.exec(header?.trim() ?? "") ?? [];
  if (first === undefined || last === undefined || first + last === "") return null;
  if (first === "") {
    const length = Math.min(Number(last), size);
    return length === 0 ? "unsatisfiable" : { begin: size - length, end: size };
  }
  const begin = Number(first);
  if (last !== "" && Number(last) < begin) return null;
  if (begin >= size) return "unsatisfiable";
  return { begin, end: last === "" ? size : Math.min(Number(last) + 1, size) };
}

/** Bytes `begin` to `end` of a file, read as they are taken. */
async function streamFile(
  path: string,
  begin: number,
  end: number,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const file = await Deno.open(path);
  let left = end - begin;
  let open = true;
  const close = () => {
    if (open) file.close();
    open = false;
  };
  try {
    await file.seek(begin, Deno.SeekMode.Start);
  } catch (error) {
    close();
    throw error;
  }
  return new ReadableStream({
    async pull(controller) {
      try {
        const block = new Uint8Array(Math.min(BLOCK, left));
        const count = left === 0 ? null : await file.read(block);
        if (count !== null) {
          left -= count;
          controller.enqueue(block.subarray(0, count));
        }
        if (left === 0) {
          close();
          controller.close();
        } else if (count === null) throw new Error("the file became shorter");
      } catch (error) {
        close();
        controller.error(error);
      }
    },
    cancel: close,
  }, { highWaterMark: 0 });
}

/** The pages of a folder, and the folders in it. */
async function indexResponse(request: Request, path: string, isRoot: boolean): Promise<Response> {
  const entries: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(path)) {
    if (name.startsWith(".") || name === "node_modules") continue;
    if (isDirectory) entries.push(`${name}/`);
    else if (extname(name).toLowerCase() === ".html") entries.push(name);
  }
  entries.sort();
  if (!isRoot) entries.unshift("../");
  const link = (name: string) => {
    const address = name === "../" ? name : `./${encodeURIComponent(name).replace(/%2F$/, "/")}`;
    return `<li><a href="${escapeHtml(address)}">${escapeHtml(name)}</a></li>`;
  };
  const list = entries.length === 0
    ? "<p>There are no pages in this folder.</p>"
    : `<ul>\n${entries.map(link).join("\n")}\n</ul>`;
  const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width">
<title>Pages</title>
<h1>Pages</h1>
${list}
</html>
`;
  const headers = commonHeaders();
  const body = new TextEncoder().encode(html);
  headers.set("content-type", "text/html; charset=utf-8");
  headers.set("content-length", String(body.length));
  return new Response(request.method === "HEAD" ? null : body, { headers });
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
