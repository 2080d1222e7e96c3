/** Serving a folder: ranges, entity tags, policies, and what is not served. No network is used. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { FolderServer } from "../../src/cli/serve_files.ts";
import { parseArguments } from "../../src/cli/arguments.ts";
import { InputError } from "../../src/error.ts";
import { withFolder } from "./onnx_models.ts";

const POSIX = Deno.build.os !== "windows";
const BYTES = Uint8Array.from({ length: 600_000 }, (_, i) => (i * 31) % 251);

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array;
}

type Ask = (
  path: string,
  headers?: Record<string, string>,
  method?: string,
  host?: string,
) => Promise<Answer>;

async function withServer(use: (ask: Ask, folder: string) => Promise<void>): Promise<void> {
  await withFolder(async (outer) => {
    const folder = join(outer, "pages");
    await Deno.mkdir(join(folder, "more <b>"), { recursive: true });
    await Deno.writeFile(join(folder, "model.safetensors"), BYTES);
    await Deno.writeTextFile(join(folder, "model.js"), "export {};\n");
    await Deno.writeTextFile(join(folder, ".secret"), "hidden");
    await Deno.writeTextFile(join(outer, "outside.txt"), "outside");
    const server = new FolderServer(folder, "127.0.0.1");
    await use(async (path, headers = {}, method = "GET", host = "127.0.0.1:8000") => {
      const request = new Request(`http://${host}${path}`, { headers, method });
      const response = await server.answer(request);
      const body = new Uint8Array(await response.arrayBuffer());
      return { status: response.status, headers: response.headers, body };
    }, folder);
  });
}

const text = (answer: Answer) => new TextDecoder().decode(answer.body);

Deno.test("files are served whole, with their type, length and tag", async () => {
  await withServer(async (ask) => {
    const whole = await ask("/model.safetensors");
    assert.equal(whole.status, 200);
    assert.equal(whole.headers.get("content-type"), "application/octet-stream");
    assert.equal(whole.headers.get("content-length"), String(BYTES.length));
    assert.equal(whole.headers.get("accept-ranges"), "bytes");
    assert.deepEqual(whole.body, BYTES);
    const script = await ask("/model.js");
    assert.equal(script.headers.get("content-type"), "text/javascript; charset=utf-8");
    const head = await ask("/model.safetensors", {}, "HEAD");
    assert.equal(head.headers.get("content-length"), String(BYTES.length));
    assert.equal(head.body.length, 0);
    const tag = whole.headers.get("etag")!;
    for (const known of [tag, `W/${tag}`, `"x", ${tag}`, "*"]) {
      const same = await ask("/model.safetensors", { "if-none-match": known });
      assert.deepEqual([same.status, same.body.length], [304, 0]);
    }
    assert.equal((await ask("/model.safetensors", { "if-none-match": '"x"' })).status, 200);
  });
});

Deno.test("a range is answered with its bytes, one that can't be with 416", async () => {
  await withServer(async (ask) => {
    const size = BYTES.length;
    const ranges: readonly [string, number, number][] = [
      ["bytes=0-0", 0, 1],
      ["bytes=5-300004", 5, 300_005],
      ["bytes=599990-", 599_990, size],
      ["bytes=599990-999999999", 599_990, size],
      ["bytes=-7", size - 7, size],
      ["bytes=-9999999", 0, size],
    ];
    const tag = (await ask("/model.safetensors", {}, "HEAD")).headers.get("etag")!;
    for (const [range, begin, end] of ranges) {
      const part = await ask("/model.safetensors", { range, "if-range": tag });
      assert.equal(part.status, 206, range);
      assert.equal(part.headers.get("content-range"), `bytes ${begin}-${end - 1}/${size}`);
      assert.equal(part.headers.get("content-length"), String(end - begin));
      assert.deepEqual(part.body, BYTES.subarray(begin, end));
    }
    for (const range of ["bytes=600000-", "bytes=-0", "bytes=9007199254740993-"]) {
      const none = await ask("/model.safetensors", { range });
      assert.equal(none.status, 416, range);
      assert.equal(none.headers.get("content-range"), `bytes */${size}`);
    }
    for (const range of ["bytes=5-2", "bytes=0-1,4-5", "items=0-1", "bytes=", "bytes=-", "bytes"]) {
      const all = await ask("/model.safetensors", { range });
      assert.deepEqual([all.status, all.body.length], [200, size], range);
    }
    const head = await ask("/model.safetensors", { range: "bytes=0-9" }, "HEAD");
    assert.deepEqual([head.status, head.headers.get("content-length")], [200, String(size)]);
    const changed = await ask("/model.safetensors", { range: "bytes=0-9", "if-range": '"old"' });
    assert.deepEqual([changed.status, changed.body.length], [200, size]);
  });
});

Deno.test("nothing outside the folder and nothing hidden is served", async () => {
  await withServer(async (ask, folder) => {
    const refused = [
      ..."/../outside.txt /%2e%2e/outside.txt /..%2foutside.txt /more/..%2f..%2foutside.txt".split(
        " ",
      ),
      ..."/.secret /%2Esecret /..%5coutside.txt /%00 /model.js%00 /%ff /absent /model.js/x".split(
        " ",
      ),
      ..."//127.0.0.2/ /C:/ /c%3A%5C /~".split(" "),
    ];
    if (POSIX) {
      const links = { "link.txt": "../outside.txt", up: "..", "inside.js": "model.js" };
      for (const [name, target] of Object.entries(links)) {
        // Deno makes links only with the permission to write everywhere.
        const { success } = await new Deno.Command("ln", {
          args: ["-s", target, join(folder, name)],
          clearEnv: true,
        }).output();
        assert.ok(success);
      }
      refused.push("/link.txt", "/up/outside.txt", "/up/");
      assert.equal((await ask("/inside.js")).status, 200);
    }
    for (const path of refused) {
      const answer = await ask(path);
      assert.equal(answer.status, 404, path);
      assert.doesNotMatch(text(answer), /outside|hidden/);
    }
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
      assert.equal((await ask("/model.js", {}, method)).status, 405, method);
    }
  });
});

Deno.test("a name that was made to lead to the loopback gets no answer", async () => {
  await withServer(async (ask) => {
    for (const host of ["rebound.example:8000", "127.0.0.1.example", "0.0.0.0:8000"]) {
      assert.equal((await ask("/model.js", {}, "GET", host)).status, 421, host);
    }
    for (const host of ["localhost:8000", "[::1]:8000", "127.0.0.1"]) {
      assert.equal((await ask("/model.js", {}, "GET", host)).status, 200, host);
    }
  });
});

Deno.test("a page's own scripts are in its policy, and no others", async () => {
  await withServer(async (ask, folder) => {
    const hash = (code: string) => `'sha256-${createHash("sha256").update(code).digest("base64")}'`;
    const [script, style] = ["\nrun(1 < 2);\n", "body { margin: 0 }"];
    await Deno.writeTextFile(
      join(folder, "page.html"),
      `<style>${style}</style><script src="./model.js"></script>` +
        `<script type="module">${script}</script><p onclick="evil()">`,
    );
    const page = await ask("/page.html");
    const policy = page.headers.get("content-security-policy")!;
    assert.ok(policy.includes(`script-src 'self' ${hash(script)};`), policy);
    assert.ok(policy.includes(`style-src 'self' ${hash(style)};`), policy);
    assert.match(policy, /^default-src 'none';/);
    assert.doesNotMatch(policy, /unsafe|http|\*/);
    assert.equal(page.headers.get("x-content-type-options"), "nosniff");
    for (const path of ["/model.js", "/", "/absent"]) {
      const other = (await ask(path)).headers.get("content-security-policy")!;
      assert.match(other, /script-src 'self';/);
    }
  });
});

Deno.test("a folder is a list of its pages, or its index.html", async () => {
  await withServer(async (ask, folder) => {
    const name = `"><img src=x onerror=alert(1)> & 'it'.html`;
    await Deno.writeTextFile(join(folder, "model.html"), "<p>page");
    if (POSIX) await Deno.writeTextFile(join(folder, "more <b>", name), "<p>hostile");
    const list = text(await ask("/"));
    assert.match(list, /href="\.\/model\.html"/);
    assert.match(list, /href="\.\/more%20%3Cb%3E\/"/);
    assert.doesNotMatch(list, /secret|safetensors|<b>/);
    const redirect = await ask("/more%20%3Cb%3E?x=1");
    assert.equal(redirect.status, 308);
    assert.equal(redirect.headers.get("location"), "./more%20%3Cb%3E/?x=1");
    if (POSIX) {
      const inner = text(await ask("/more%20%3Cb%3E/"));
      assert.doesNotMatch(inner, /<img/);
      const [, address] = /<li><a href="(\.\/[^"]+)"/.exec(inner)!;
      const page = await ask(`/more%20%3Cb%3E/${address!.slice(2).replaceAll("&#39;", "'")}`);
      assert.equal(text(page), "<p>hostile");
    }
    await Deno.writeTextFile(join(folder, "index.html"), "<p>index");
    assert.equal(text(await ask("/")), "<p>index");
  });
});

Deno.test("what can't be served, and wrong options, are refused", async () => {
  await withServer((_, folder) => {
    for (const path of [join(folder, "absent"), join(folder, "model.js")]) {
      assert.throws(() => new FolderServer(path, "127.0.0.1"), InputError);
    }
    return Promise.resolve();
  });
  const parsed = await parseArguments(["serve", "pages", "--port", "0"]);
  assert.deepEqual(parsed, { kind: "serve", folder: "pages", port: 0, host: "127.0.0.1" });
  for (const more of [["--port", "65536"], ["--port", "-1"], ["--host", "0.0.0.0"]]) {
    await assert.rejects(parseArguments(["serve", "pages", ...more]), InputError);
  }
});
