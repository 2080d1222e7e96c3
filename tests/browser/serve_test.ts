/**
 * `modelcast serve` as a person starts it: what it answers to requests that no browser makes, a port in
 * use, and its end.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { ROOT } from "../install.ts";
import { namesIn, withFolder } from "../unit/onnx_models.ts";
import { withServeCommand } from "./browser.ts";

/** Serves a folder with a page beside a file that is not to be seen. */
async function withServed(
  use: (ask: (request: string) => Promise<string>, address: URL, folder: string) => Promise<void>,
): Promise<void> {
  await withFolder(async (outer) => {
    const folder = join(outer, "pages");
    Deno.mkdirSync(join(folder, "more"), { recursive: true });
    Deno.writeTextFileSync(join(outer, "secret.txt"), "outside");
    Deno.writeTextFileSync(join(folder, ".secret"), "outside");
    Deno.writeTextFileSync(join(folder, "page.html"), "<p>page");
    Deno.writeTextFileSync(join(folder, "model.js"), "export {};");
    Deno.writeTextFileSync(join(folder, "model.safetensors"), "0123456789");
    Deno.writeTextFileSync(join(folder, "model.wasm"), "");
    await withServeCommand(folder, async (address) => {
      const url = new URL(address);
      await use((request) => askRaw(Number(url.port), request), url, folder);
    });
  });
}

/** Sends `request` as it stands and gives the whole answer. */
async function askRaw(port: number, request: string): Promise<string> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await connection.write(new TextEncoder().encode(request));
  return await new Response(connection.readable).text();
}

const get = (target: string, more = "", host = "127.0.0.1") =>
  `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n${more}\r\n`;
const statusOf = (answer: string) => Number(/^HTTP\/1\.[01] (\d{3})/.exec(answer)?.[1]);

Deno.test("a request that no browser sends sees nothing outside the folder", async () => {
  await withServed(async (ask) => {
    for (
      const target of [
        "/../secret.txt",
        "/../../../../../../etc/passwd",
        "/more/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/..%5csecret.txt",
        "/more/%2e%2e/%2e%2e/secret.txt",
        "/.secret",
        "/%2esecret",
        "/model.js%00",
        "/%00",
        "//secret.txt",
        "/%ff%fe",
        "/" + "a/".repeat(3000),
        "/" + "%61".repeat(2000),
      ]
    ) {
      const answer = await ask(get(target));
      assert.ok([400, 404, 414, 431].includes(statusOf(answer)), `${target}: ${answer}`);
      assert.doesNotMatch(answer, /outside|root:/, target);
    }
    assert.equal(statusOf(await ask(get("/more/../model.js"))), 200);
  });
});

Deno.test("whoever reached this machine by another name is turned away", async () => {
  await withServed(async (ask, { port }) => {
    for (
      const request of [
        get("/page.html", "", `evil.example:${port}`),
        get("/page.html", "", "127.0.0.1.evil.example"),
        get("/page.html", "", ""),
        "GET http://evil.example/page.html HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        "GET http://127.0.0.1/page.html HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        "GET /page.html HTTP/1.1\r\nHost: a\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
      ]
    ) {
      const answer = await ask(request);
      assert.ok([400, 421].includes(statusOf(answer)), `${request}\n${answer}`);
      assert.doesNotMatch(answer, /<p>page/);
    }
    for (const host of ["localhost", `127.0.0.1:${port}`, "[::1]:1"]) {
      assert.equal(statusOf(await ask(get("/page.html", "", host))), 200, host);
    }
  });
});

Deno.test("types, ranges, tags and lists are answered over a connection", async () => {
  await withServed(async (ask, address) => {
    for (
      const [name, type] of [
        ["model.js", "text/javascript; charset=utf-8"],
        ["model.wasm", "application/wasm"],
        ["model.safetensors", "application/octet-stream"],
        ["page.html", "text/html; charset=utf-8"],
        ["", "text/html; charset=utf-8"],
      ] as const
    ) {
      const response = await fetch(new URL(name, address));
      assert.equal(response.headers.get("content-type"), type, name);
      await response.body?.cancel();
    }
    const weights = new URL("model.safetensors", address);
    const tag = (await fetch(weights, { method: "HEAD" })).headers.get("etag")!;
    const part = await fetch(weights, { headers: { range: "bytes=-3", "if-range": tag } });
    assert.deepEqual([part.status, await part.text()], [206, "789"]);
    const same = await fetch(weights, { headers: { "if-none-match": tag } });
    assert.deepEqual([same.status, await same.text()], [304, ""]);
    for (
      const [range, status, body] of [
        ["bytes=2-4", 206, "234"],
        ["bytes=7-99", 206, "789"],
        ["bytes=-0", 416, ""],
        ["bytes=10-", 416, ""],
        ["bytes=4-2", 200, "0123456789"],
        ["bytes=0-1,3-4", 200, "0123456789"],
        ["bytes=x", 200, "0123456789"],
        ["lines=0-1", 200, "0123456789"],
      ] as const
    ) {
      const answer = await ask(get("/model.safetensors", `Range: ${range}\r\n`));
      assert.equal(statusOf(answer), status, range);
      assert.ok(answer.endsWith(`\r\n\r\n${body}`), `${range}: ${answer}`);
    }
    assert.equal(statusOf(await ask(get("/more"))), 308);
    assert.equal(statusOf(await ask(get("/more/"))), 200);
    for (const method of ["POST", "PUT", "DELETE", "TRACE", "CONNECT"]) {
      const answer = await ask(get("/model.js").replace("GET", method));
      assert.ok([400, 405].includes(statusOf(answer)), `${method}: ${answer}`);
    }
  });
});

Deno.test("only this machine can connect, and a port in use is an error", async () => {
  await withServed(async (_, address, folder) => {
    const other = Deno.networkInterfaces().find(({ family, address }) =>
      family === "IPv4" && !address.startsWith("127.")
    );
    if (other !== undefined) {
      await assert.rejects(Deno.connect({ hostname: other.address, port: Number(address.port) }));
    }
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--quiet", "--no-prompt", "--frozen", "-P=serve", `--allow-read=.,${folder}`],
        ...["main.ts", "serve", folder, "--port", address.port],
      ],
      cwd: ROOT,
    }).output();
    assert.equal(code, 2);
    assert.match(
      new TextDecoder().decode(stderr),
      /^error: Cannot serve on port \d+: another program uses it\. Name another by --port/,
    );
  });
});

Deno.test("an interrupted server ends though a client reads no further", async () => {
  await withFolder(async (folder) => {
    await Deno.writeFile(join(folder, "large.safetensors"), new Uint8Array(64 * 2 ** 20));
    const begun = performance.now();
    let connection: Deno.Conn | null = null;
    // It sends the signal at the end, and asserts the exit code 130.
    await withServeCommand(folder, async (address) => {
      const port = Number(new URL(address).port);
      connection = await Deno.connect({ hostname: "127.0.0.1", port });
      await connection.write(new TextEncoder().encode(get("/large.safetensors")));
      await connection.read(new Uint8Array(1000));
    });
    (connection as Deno.Conn | null)?.close();
    assert.ok(performance.now() - begun < 15_000);
    assert.deepEqual(namesIn(folder), ["large.safetensors"]);
  });
});
