/**
 * Weights of the embedded runtime: every kind of source, downloads that break, servers without
 * ranges, wrong files and wrong bytes, caches that work, are full or lie.
 */
// deno-lint-ignore-file require-yield -- a program without sync points is a generator all the same
import assert from "node:assert/strict";
import { loadModel } from "../../src/codegen/runtime/load.js";
import type { LoadOptions, LoadProgress, ModuleTables } from "../../src/codegen/module.ts";
import {
  elementwise,
  groupsOf,
  input,
  numbersOf,
  openDevice,
  output,
  tablesOf,
  weightsOf,
} from "./runtime_tables.ts";

const CHUNK = 4096;
const FIRST = Float32Array.from({ length: 20_000 }, (_, i) => i % 251);
const SECOND = Float32Array.from({ length: 5_003 }, (_, i) => -i);
const { tables: weights, file } = await weightsOf([FIRST, SECOND], CHUNK);

/** `y = x + first + second`, over all of the weights. */
const TABLES: ModuleTables = tablesOf(
  [input("x", [])],
  [output("y", [FIRST.length])],
  [elementwise("a[0] + b[i] + c[i % p.y]", "awwa")],
  function* (m) {
    const n = FIRST.length;
    const y = m.tensor(4 * n);
    const tensors = [m.input(0), m.weight(0), m.weight(1), y];
    m.dispatch(0, tensors, [n, SECOND.length, 0, 0], groupsOf(n));
    m.output(0, y, [n]);
  },
  weights,
);
const EXPECTED = Array.from(FIRST, (value, i) => 1 + value + SECOND[i % SECOND.length]!);

/** Loads with `options` on a device that is shared, and checks every weight by a run. */
async function check(device: GPUDevice, options: LoadOptions): Promise<LoadProgress[]> {
  const progress: LoadProgress[] = [];
  const onProgress = (step: LoadProgress) => void progress.push(step);
  const model = await loadModel(TABLES, { device, onProgress, ...options });
  try {
    assert.deepEqual(numbersOf((await model.run({ x: 1 })).y), EXPECTED);
  } finally {
    model.dispose();
  }
  return progress;
}

/** A stream of `bytes` in parts of `part` bytes. */
function streamOf(bytes: Uint8Array<ArrayBuffer>, part: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(at, at += part));
    },
  });
}

/** Answers every request by `answer`, of which it also takes note. */
async function withServer(
  answer: (request: Request, index: number) => Response | Promise<Response>,
  use: (url: string, ranges: (string | null)[]) => Promise<void>,
): Promise<void> {
  const ranges: (string | null)[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    ranges.push(request.headers.get("range"));
    return answer(request, ranges.length - 1);
  });
  try {
    await use(`http://127.0.0.1:${server.addr.port}/model.safetensors`, ranges);
  } finally {
    await server.shutdown();
  }
}

/** The bytes that a request asks for, by range where it has one. */
function partOf(request: Request, of = file): Response {
  const range = /^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "");
  if (range === null) {
    return new Response(of, { headers: { "content-length": `${of.length}` } });
  }
  const at = Number(range[1]);
  const headers = { "content-range": `bytes ${at}-${of.length - 1}/${of.length}` };
  return new Response(of.slice(at), { status: 206, headers });
}

/** A response that breaks off after `bytes` bytes. */
function broken(response: Response, bytes: number): Response {
  const parts = response.body!.getReader();
  let sent = 0;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { value } = await parts.read();
      const part = value?.subarray(0, bytes - sent) ?? new Uint8Array(0);
      sent += part.length;
      if (part.length > 0) controller.enqueue(part);
      if (sent >= bytes || part.length === 0) controller.error(new Error("broken on purpose"));
    },
  });
  return new Response(body, response);
}

/** A Cache in memory that takes `room` entries. */
function fakeCache(room = Infinity) {
  const entries = new Map<string, Uint8Array<ArrayBuffer>>();
  let left = room;
  const key = (request: RequestInfo | URL) => String(request);
  return {
    entries,
    match: (request: RequestInfo | URL) => {
      const bytes = entries.get(key(request));
      return Promise.resolve(bytes && new Response(bytes));
    },
    put: async (request: RequestInfo | URL, response: Response) => {
      if (left-- <= 0) throw new DOMException("no room", "QuotaExceededError");
      entries.set(key(request), new Uint8Array(await response.arrayBuffer()));
    },
    delete: (request: RequestInfo | URL) => Promise.resolve(entries.delete(key(request))),
  };
}

/** Collects warnings while `use` runs. */
async function warningsIn(use: () => Promise<void>): Promise<string[]> {
  const warnings: string[] = [];
  const { warn } = console;
  console.warn = (message: string) => void warnings.push(message);
  try {
    await use();
  } finally {
    console.warn = warn;
  }
  return warnings;
}

Deno.test("weights come from memory, a Blob, a stream, a Response and an address", async () => {
  const device = await openDevice();
  const padded = new Uint8Array(file.length + 3);
  padded.set(file, 3);
  await check(device, { weights: file });
  await check(device, { weights: file.buffer });
  await check(device, { weights: padded.subarray(3) });
  await check(device, { weights: new Blob([file]) });
  await check(device, { weights: streamOf(file, 1000) });
  await check(device, { weights: streamOf(file, 1e6) });
  await check(device, { weights: new Response(file) });
  await check(device, { weights: Promise.resolve(new Response(streamOf(file, 777))) });
  await withServer((request) => partOf(request), async (url, ranges) => {
    const progress = await check(device, { weights: new URL(url) });
    await check(device, { weights: url });
    await check(device, { weights: fetch(url) });
    assert.deepEqual(ranges, [null, null, null]);
    const read = progress.filter(({ stage }) => stage === "weights").map(({ loaded }) => loaded);
    assert.equal(read.at(-1), 4 * (FIRST.length + SECOND.length));
    assert.equal(progress.at(-1)?.stage, "ready");
  });
  device.destroy();
});

Deno.test("a broken download goes on by ranges, and without them from the beginning", async () => {
  const device = await openDevice();
  const breaks = [30_001, 1, 20_000];
  await withServer((request, i) => {
    const response = partOf(request);
    return i < breaks.length ? broken(response, breaks[i]!) : response;
  }, async (url, ranges) => {
    await check(device, { weights: url });
    assert.equal(ranges.length, 4);
    assert.equal(ranges[0], null);
    const starts = ranges.slice(1).map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1]));
    assert.ok(starts[0]! > 0 && starts[0]! <= 30_001);
    assert.ok(starts[1]! >= starts[0]! && starts[2]! >= starts[1]!);
  });
  await withServer((_, i) => {
    const whole = new Response(file);
    return i < 2 ? broken(whole, 50_000 + i) : whole;
  }, async (url, ranges) => {
    await check(device, { weights: url });
    assert.equal(ranges.length, 3);
    assert.match(ranges[1]!, /^bytes=\d+-$/);
  });
  await withServer(
    (request, i) => i < 2 ? new Response("busy", { status: 503 }) : partOf(request),
    async (url) => {
      await check(device, { weights: url });
    },
  );
  device.destroy();
});

Deno.test("a download that can't be had is refused with the reason", async () => {
  const device = await openDevice();
  const load = (options: LoadOptions) => loadModel(TABLES, { device, ...options });
  await withServer(() => new Response("none", { status: 404 }), async (url, ranges) => {
    await assert.rejects(load({ weights: url }), {
      code: "weights",
      message: /Cannot download "model\.safetensors" from "http.*": the server answers 404/,
    });
    assert.equal(ranges.length, 1);
  });
  const page = new Uint8Array(500).fill(60);
  await withServer((request) => partOf(request, page), async (url) => {
    await assert.rejects(load({ weights: url }), /it has 500 bytes, not 100076\. Take the file/);
  });
  await assert.rejects(load({ weights: new Blob([page]) }), /it has 500 bytes, not/);
  await assert.rejects(load({ weights: page }), /it has 500 bytes, not/);
  await assert.rejects(load({ weights: streamOf(page, 100) }), /it ended after 500 bytes/);
  await assert.rejects(
    load({ weights: 7 as unknown as string }),
    /weights must be a URL, Response/,
  );
  device.destroy();
});

Deno.test("a wrong byte is found, fetched again once, and else named by its chunk", async () => {
  const device = await openDevice();
  const wrong = file.slice();
  wrong[64 + 5 * CHUNK + 9]! ^= 1;
  const refused = {
    name: "ModelError",
    code: "weights",
    message: /chunk 5 \(bytes 20544 to 24639\) is not what was written: its SHA-256 differs/,
  };
  for (const source of [wrong, new Blob([wrong]), streamOf(wrong, 5000), new Response(wrong)]) {
    await assert.rejects(loadModel(TABLES, { device, weights: source }), refused);
  }
  await withServer((request) => partOf(request, wrong), async (url) => {
    await assert.rejects(loadModel(TABLES, { device, weights: url }), refused);
  });
  await withServer((request, i) => partOf(request, i === 0 ? wrong : file), async (url, ranges) => {
    await check(device, { weights: url });
    assert.deepEqual(ranges, [null, "bytes=20544-"]);
  });
  device.destroy();
});

Deno.test("with a cache a second load fetches nothing; lies and gaps in it are fetched", async () => {
  const device = await openDevice();
  const cache = fakeCache();
  await withServer((request) => partOf(request), async (url, ranges) => {
    await check(device, { weights: url, cache });
    assert.equal(ranges.length, 1);
    // In the file's order: chunks are kept as their digests are done, in any order.
    const keys = [...new Set(weights.chunks.map(({ sha256 }) => sha256))].map((sha256) =>
      `https://modelcast.invalid/${sha256}`
    );
    assert.deepEqual(new Set(cache.entries.keys()), new Set(keys));
    await check(device, { weights: url, cache });
    assert.equal(ranges.length, 1);
    const [, second, , fourth] = keys;
    cache.entries.get(second!)![0]! ^= 1;
    cache.entries.delete(fourth!);
    await check(device, { weights: url, cache });
    assert.equal(ranges.length, 2);
    assert.match(ranges[1]!, /^bytes=\d+-$/);
    await check(device, { weights: url, cache });
    assert.equal(ranges.length, 2);
  });
  device.destroy();
});

Deno.test("a full cache, a broken one and none at all are warned of, not failed on", async () => {
  const device = await openDevice();
  const full = fakeCache(3);
  const warnings = await warningsIn(async () =>
    void await check(device, { weights: file, cache: full })
  );
  assert.equal(full.entries.size, 3);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0]!, /^model\.safetensors is not cached: no room/);

  const broken = { ...fakeCache(), match: () => Promise.reject(new Error("the disk is gone")) };
  const more = await warningsIn(async () =>
    void await check(device, { weights: file, cache: broken })
  );
  assert.match(more.join(), /is not cached: the disk is gone/);

  const known = Object.getOwnPropertyDescriptor(globalThis, "caches")!;
  const stored = fakeCache();
  const opened: string[] = [];
  try {
    const open = (name: string) => {
      opened.push(name);
      return Promise.resolve(stored);
    };
    Object.defineProperty(globalThis, "caches", { value: { open }, configurable: true });
    await check(device, { weights: file, cache: true });
    await check(device, { weights: file, cache: "mine" });
    assert.deepEqual(opened, ["modelcast-weights", "mine"]);
    Object.defineProperty(globalThis, "caches", { value: undefined, configurable: true });
    const none = await warningsIn(async () =>
      void await check(device, { weights: file, cache: true })
    );
    assert.match(none.join(), /there is no Cache Storage/);
  } finally {
    Object.defineProperty(globalThis, "caches", known);
  }
  device.destroy();
});

Deno.test("a signal stops a download, and nothing is left behind", async () => {
  const device = await openDevice();
  for (const kind of ["stream", "server"]) {
    const controller = new AbortController();
    const stalled = () => {
      let sent = false;
      return new ReadableStream<Uint8Array>({
        pull(target) {
          if (sent) return new Promise<void>(() => {});
          sent = true;
          target.enqueue(file.slice(0, 20_000));
        },
      });
    };
    const load = (weights: LoadOptions["weights"]) => {
      const onProgress = ({ stage, loaded }: LoadProgress) => {
        if (stage === "weights" && loaded > 10_000) controller.abort(new Error("stop it"));
      };
      return loadModel(TABLES, {
        device,
        weights: weights!,
        onProgress,
        signal: controller.signal,
      });
    };
    if (kind === "stream") await assert.rejects(load(stalled()), /stop it/);
    else {
      await withServer(() => new Response(stalled()), async (url) => {
        await assert.rejects(load(url), /stop it/);
      });
    }
  }
  await assert.rejects(
    loadModel(TABLES, { device, weights: file, signal: AbortSignal.abort(new Error("no")) }),
    /no/,
  );
  device.destroy();
});
