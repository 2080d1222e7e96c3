/**
 * What the tests of pages share: a browser with a software GPU, servers with a policy of their own,
 * `modelcast serve` as a person starts it, and pages whose every complaint is kept.
 */
import assert from "node:assert/strict";
import {
  type Browser,
  chromium,
  type ConsoleMessage,
  type JSHandle,
  type Page,
} from "playwright-core";
import { FolderServer } from "../../src/cli/serve_files.ts";
import { CHROMIUM, ROOT } from "../install.ts";

/** Starts the browser, runs `use`, and ends it. */
export async function withBrowser(use: (browser: Browser) => Promise<void>): Promise<void> {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: ["--enable-unsafe-webgpu", "--no-sandbox"],
  });
  try {
    await use(browser);
  } finally {
    await browser.close();
  }
}

/** A GPU device in a page of `browser`, with `features`. */
export async function deviceIn(
  browser: Browser,
  features: readonly string[] = [],
): Promise<JSHandle<GPUDevice>> {
  const page = await browser.newPage();
  // Only pages of the machine itself and of secure servers get a GPU.
  await page.route("http://localhost/", (route) => route.fulfill({ contentType: "text/html" }));
  await page.goto("http://localhost/");
  return await page.evaluateHandle(async (features) => {
    const adapter = await navigator.gpu.requestAdapter();
    if (adapter === null) throw new Error("the browser has no WebGPU adapter");
    return await adapter.requestDevice({ requiredFeatures: features as GPUFeatureName[] });
  }, features);
}

/** Serves `folder` by `modelcast serve` while `use` runs; it must stop cleanly when interrupted. */
export async function withServeCommand(
  folder: string,
  use: (address: string) => Promise<void>,
): Promise<void> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-prompt", "--frozen", "-P=serve", `--allow-read=.,${folder}`],
      ...["main.ts", "serve", folder, "--port", "0"],
    ],
    cwd: ROOT,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  try {
    let printed = "";
    while (!printed.includes("\n")) {
      const { value, done } = await reader.read();
      assert.ok(!done, `the server ended: ${printed}`);
      printed += value;
    }
    await use(/http:\/\/[^ ]+/.exec(printed)![0]);
  } finally {
    child.kill("SIGINT");
    await reader.cancel();
    assert.equal((await child.status).code, 130);
  }
}

/** Serves `folder` under another policy than that of `modelcast serve` while `use` runs. */
export async function withPolicy(
  folder: string,
  policy: string,
  use: (address: string) => Promise<void>,
): Promise<void> {
  const files = new FolderServer(folder, "127.0.0.1");
  const options = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  const server = Deno.serve(options, async (request) => {
    const response = await files.answer(request);
    response.headers.set("content-security-policy", policy);
    return response;
  });
  try {
    await use(`http://127.0.0.1:${server.addr.port}/`);
  } finally {
    await server.shutdown();
  }
}

/** A page, and everything that went wrong in it. */
export interface WatchedPage {
  readonly page: Page;
  /** Errors and warnings of its console, uncaught errors, requests that failed. */
  readonly complaints: string[];
  /** Paths of the requests that it made. */
  readonly requests: string[];
}

/** Opens `address` in a page of its own context. */
export async function openPage(
  browser: Browser,
  address: string,
  options: { readonly colorScheme?: "light" | "dark" } = {},
): Promise<WatchedPage> {
  const context = await browser.newContext({ viewport: { width: 900, height: 800 }, ...options });
  const page = await context.newPage();
  const watched: WatchedPage = { page, complaints: [], requests: [] };
  page.on("console", (message: ConsoleMessage) => {
    if (["error", "warning"].includes(message.type())) watched.complaints.push(message.text());
  });
  page.on("pageerror", (error) => void watched.complaints.push(String(error)));
  page.on("dialog", (dialog) => {
    watched.complaints.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("requestfailed", (request) => {
    const reason = request.failure()?.errorText;
    // Who has read all that it wants may leave the end of a body unread.
    if (reason !== "net::ERR_ABORTED") watched.complaints.push(`${reason}: ${request.url()}`);
  });
  page.on("request", (request) => void watched.requests.push(new URL(request.url()).pathname));
  await page.goto(address);
  return watched;
}

/** Waits until the model of a page is there; its own words where that fails. */
export async function untilReady({ page }: WatchedPage): Promise<void> {
  await page.waitForSelector("html[data-state]", { timeout: 60_000 });
  const state = await page.getAttribute("html", "data-state");
  assert.equal(state, "ready", await page.innerText("main"));
}

/** Asserts that nothing went wrong, and closes the page. */
export async function closePage({ page, complaints }: WatchedPage): Promise<void> {
  assert.deepEqual(complaints, []);
  await page.context().close();
}

/**
 * Takes a picture of a page into the folder for temporary files, or the one that
 * `MODELCAST_SCREENSHOTS` names; one without content is an error.
 */
export async function takeScreenshot({ page }: WatchedPage, name: string): Promise<void> {
  const folder = Deno.env.get("MODELCAST_SCREENSHOTS") ?? await Deno.makeTempDir();
  const picture = await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  assert.ok(picture.length > 5000, `${name}: ${picture.length} bytes`);
}
