/**
 * Broken and hostile input at the command line: exit code 2, one message that names the file and,
 * where there is one, the field and the byte, and nothing written.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { writeModel } from "../../src/onnx/writer.ts";
import type { WireBuilder } from "../../src/onnx/wire.ts";
import { command } from "../command.ts";
import { matrices, mixedModel, writeChain } from "../convert_models.ts";
import {
  makeLink,
  message,
  modelFile,
  namesIn,
  tensorMessage,
  withFolder,
  writeBytes,
} from "./onnx_models.ts";

const text = (value: string) => new TextEncoder().encode(value);

/** Makes the source in `folder` and gives its path. */
type Source = (folder: string) => string | Promise<string>;

interface Case {
  readonly name: string;
  readonly source: Source;
  /** What the message must say, beside the file's name. */
  readonly says: readonly RegExp[];
  readonly args?: readonly string[];
  /** The output; `result.onnx` if absent. */
  readonly output?: string;
  readonly posix?: true;
}

const file = (bytes: Uint8Array): Source => (folder) => writeBytes(folder, "source.onnx", bytes);

const graph = (build: (out: WireBuilder) => void): Source => file(modelFile(message(build)));

const tensor = (dims: readonly number[], more: (out: WireBuilder) => void): Source =>
  graph((out) => out.bytes(5, tensorMessage("w", dims, more)));

/** A good model whose bytes `damage` changes or shortens. */
const damaged = (damage: (bytes: Uint8Array) => Uint8Array): Source => async (folder) => {
  const path = join(folder, "source.onnx");
  await writeModel(mixedModel(), path);
  Deno.writeFileSync(path, damage(Deno.readFileSync(path)));
  return path;
};

/** A model whose weight lies at `location`. */
const external =
  (location: string, length = 16, before?: (folder: string) => unknown): Source =>
  async (
    folder,
  ) => {
    await before?.(folder);
    return tensor([4], (out) => {
      const entry = (key: string, value: string) =>
        out.bytes(13, message((pair) => pair.string(1, key).string(2, value)));
      out.int(14, 1);
      entry("location", location);
      entry("length", String(length));
    })(folder);
  };

/** A model of four matrices, one of which holds `value`. */
const poisoned = (value: number): Source => (folder) => {
  const weights = matrices(["a", "b", "c", "d"]);
  new Float32Array(weights[2]!.bytes.buffer)[9] = value;
  return writeChain(folder, "source.onnx", weights);
};

function deep(): Uint8Array {
  let inner: Uint8Array = new Uint8Array(0);
  for (let depth = 0; depth < 10_000; depth++) {
    const below = inner;
    const attribute = message((out) => out.string(1, "g").int(20, 5).bytes(6, below));
    inner = message((out) =>
      out.bytes(1, message((node) => node.string(4, "If").bytes(5, attribute)))
    );
  }
  return modelFile(inner);
}

const AT_BYTE = /at byte \d+/;
const INITIALIZER = /graph\.initializer\[0\]/;
const EMPTY = new Uint8Array(0);

const CASES: readonly Case[] = [
  { name: "no such file", source: (folder) => join(folder, "source.onnx"), says: [/no such file/] },
  { name: "a directory", source: (folder) => folder, says: [/is a directory/] },
  { name: "an empty file", source: file(EMPTY), says: [/is empty/] },
  { name: "a GGUF file", source: file(text("GGUF\x03\0\0\0\0\0\0\0")), says: [/GGUF/] },
  { name: "a ZIP archive", source: file(text("PK\x03\x04 and more")), says: [/ZIP/] },
  { name: "noise", source: file(text("no model, but text")), says: [/byte \d+|IR version/] },
  {
    name: "cut in the middle",
    source: damaged((bytes) => bytes.subarray(0, bytes.length >> 1)),
    says: [/model at byte \d+ holds field 7 of \d+ bytes, of which \d+ are there/],
  },
  {
    name: "cut by one byte",
    source: damaged((bytes) => bytes.subarray(0, bytes.length - 1)),
    says: [/byte \d+/],
  },
  {
    name: "a flipped bit in a length",
    source: damaged((bytes) => {
      // The graph's field is the second; its length follows its tag.
      bytes[3]! ^= 0x40;
      return bytes;
    }),
    says: [/byte \d+/],
  },
  {
    name: "a length past the end",
    source: graph((out) => out.raw(new Uint8Array([0x2a, 0xff, 0xff, 0xff, 0x7f]))),
    says: [/graph at byte \d+ holds field 5 of 268435455 bytes, of which 0 are there/],
  },
  {
    name: "a varint of 11 bytes",
    source: graph((out) => out.raw(new Uint8Array([0x28, ...Array(10).fill(0xff), 1]))),
    says: [/varint of more than 10 bytes/, AT_BYTE],
  },
  { name: "nesting 10,000 deep", source: file(deep()), says: [/graph\.node\[0\]/, AT_BYTE] },
  {
    name: "dims past the data",
    source: tensor([1000, 1000], (out) => out.bytes(9, new Uint8Array(64))),
    says: [/64 bytes .* takes 4000000/, INITIALIZER, AT_BYTE],
  },
  {
    name: "dims past 2^53",
    source: tensor([2 ** 31, 2 ** 31], (out) => out.bytes(9, new Uint8Array(64))),
    says: [/larger than any data/, INITIALIZER, AT_BYTE],
  },
  {
    name: "negative dims",
    source: tensor([-4, -4], (out) => out.bytes(9, new Uint8Array(64))),
    says: [/negative extent -4/, INITIALIZER, AT_BYTE],
  },
  {
    name: "a name given twice",
    source: graph((out) => {
      const weight = tensorMessage("w", [0], () => {});
      out.bytes(5, weight).bytes(5, weight);
    }),
    says: [/graph at byte \d+ defines "w" twice, .* initializer\[1\]/],
  },
  {
    name: "a function given twice",
    source: file(
      message((out) => {
        const body = message((inner) => inner.string(1, "f").string(10, "mine"));
        out.raw(modelFile(EMPTY)).bytes(25, body).bytes(25, body);
      }),
    ),
    says: [/functions\[1\] at byte \d+ defines the function "mine:f" for the second time/],
  },
  {
    name: "an opset from the future",
    source: file(modelFile(EMPTY, 99)),
    says: [/opset 99, newer than 28/],
  },
  {
    name: "external data above the folder",
    source: external("../secret"),
    says: [/"\.\.\/secret", outside the model's folder/, INITIALIZER, AT_BYTE],
  },
  {
    name: "external data at an absolute path",
    source: external("/etc/passwd"),
    says: [/"\/etc\/passwd", outside the model's folder/, INITIALIZER, AT_BYTE],
  },
  {
    name: "external data through a link",
    source: external("link", 16, (folder) => makeLink("/etc/passwd", join(folder, "link"))),
    // Whether Deno's sandbox or modelcast says no first: the data is not read.
    says: [/"[^"]*link", (outside the model's folder|which can't be read)/, INITIALIZER, AT_BYTE],
    posix: true,
  },
  {
    name: "external data that is not there",
    source: external("absent.bin"),
    says: [/absent\.bin", which is missing/, INITIALIZER, AT_BYTE],
  },
  {
    name: "external data cut short",
    source: external(
      "short.bin",
      16,
      (folder) => writeBytes(folder, "short.bin", new Uint8Array(9)),
    ),
    says: [/bytes 0 to 16 of ".*short\.bin", which has 9 bytes/, INITIALIZER, AT_BYTE],
  },
  { name: "NaN", source: poisoned(NaN), says: [/"c" holds NaN or infinity.*--nan keep/] },
  { name: "infinity", source: poisoned(-Infinity), says: [/"c" holds NaN or infinity/] },
  {
    name: "NaN at 16 bits",
    source: poisoned(NaN),
    says: [/"c" holds NaN or infinity/],
    args: ["--precision", "float16"],
  },
  {
    name: "an output that is the source",
    source: poisoned(1),
    says: [/which the model is read from/],
    output: "source.onnx",
  },
  {
    name: "an output in no folder",
    source: poisoned(1),
    says: [/there is no folder/],
    output: "none/result.onnx",
  },
  {
    name: "an unknown precision",
    source: poisoned(1),
    says: [/"4bti": the nearest value is "4bit"/],
    args: ["--precision", "4bti"],
  },
  {
    name: "an unknown runtime",
    source: poisoned(1),
    says: [/"onnxruntime-9": it is not known/],
    args: ["--precision", "4bit", "--runtime", "onnxruntime-9"],
  },
  {
    name: "a runtime that lacks the form",
    source: poisoned(1),
    says: [/weight "a" of MatMul "multiply 0"/, /onnxruntime-1\.22:cpu lacks/, /nearest form/],
    args: ["--precision", "8bit", "--encoding", "matmulnbits", "--runtime", "onnxruntime-1.22"],
  },
];

for (const { name, source, says, args, output, posix } of CASES) {
  const ignore = posix === true && Deno.build.os === "windows";
  Deno.test(`bad input: ${name}`, { ignore }, async () => {
    await withFolder(async (folder) => {
      const path = await source(folder);
      const contents = () =>
        namesIn(folder).map((entry) => [entry, Deno.lstatSync(join(folder, entry)).mtime]);
      const before = contents();
      const target = join(folder, output ?? "result.onnx");
      const options = args ?? ["--precision", "4bit"];
      // Float precisions use no engine, and would warn of one.
      const engine = options.includes("float16") ? [] : ["--engine", "wasm"];
      const { code, stdout, stderr } = await command(
        ["convert", "--source", path, "--output", target, ...engine, ...options],
        { folder },
      );
      assert.equal(code, 2, stderr + stdout);
      assert.equal(stdout, "");
      assert.match(stderr, /^error: Cannot [^\n]*\n$/);
      if (says.every((pattern) => !/nearest value|not known/.test(pattern.source))) {
        assert.ok(stderr.includes(path) || stderr.includes(folder), stderr);
      }
      for (const pattern of says) assert.match(stderr, pattern);
      assert.deepEqual(contents(), before);
    });
  });
}
