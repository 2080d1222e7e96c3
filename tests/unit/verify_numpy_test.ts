/** The reader of NumPy's files: every dtype and order, what NumPy itself wrote, and hostile files. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { constants, crc32, deflateRawSync } from "node:zlib";
import fc from "fast-check";
import { InputError } from "../../src/error.ts";
import { run } from "../../src/process.ts";
import { readGiven } from "../../src/verify/given.ts";
import { parseNpy, parseNpz } from "../../src/verify/numpy.ts";

const base64 = (text: string) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/** A `.npy` file with the header text `header`, padded as NumPy pads it. */
function npy(header: string, data: Uint8Array, version: 1 | 2 | 3 = 1): Uint8Array {
  const text = new TextEncoder().encode(header);
  const before = version === 1 ? 10 : 12;
  const length = Math.ceil((before + text.length + 1) / 64) * 64 - before;
  const bytes = new Uint8Array(before + length + data.length).fill(0x20);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0]);
  const view = new DataView(bytes.buffer);
  if (version === 1) view.setUint16(8, length, true);
  else view.setUint32(8, length, true);
  bytes.set(text, before);
  bytes[before + length - 1] = 0x0a;
  bytes.set(data, before + length);
  return bytes;
}

function header(descr: string, shape: readonly number[], fortran = false): string {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
  return `{'descr': '${descr}', 'fortran_order': ${
    fortran ? "True" : "False"
  }, 'shape': ${tuple}, }`;
}

/**
 * A ZIP archive of `files`; `declared` overrides the size in the directory, `packed` what lies there
 * deflated.
 */
function zip(
  files: readonly {
    name: string;
    data: Uint8Array;
    deflate?: boolean;
    declared?: number;
    packed?: Uint8Array;
  }[],
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let offset = 0;
  for (const { name, data, deflate = false, declared = data.length, ...file } of files) {
    const label = new TextEncoder().encode(name);
    const packed = file.packed ?? (deflate ? deflateRawSync(data) : data);
    const local = new DataView(new ArrayBuffer(30));
    local.setUint32(0, 0x04034b50, true);
    local.setUint16(26, label.length, true);
    const entry = new DataView(new ArrayBuffer(46));
    entry.setUint32(0, 0x02014b50, true);
    entry.setUint16(10, deflate ? 8 : 0, true);
    entry.setUint32(16, crc32(data), true);
    entry.setUint32(20, packed.length, true);
    entry.setUint32(24, declared, true);
    entry.setUint16(28, label.length, true);
    entry.setUint32(42, offset, true);
    parts.push(new Uint8Array(local.buffer), label, packed);
    directory.push(new Uint8Array(entry.buffer), label);
    offset += 30 + label.length + packed.length;
  }
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(10, files.length, true);
  end.setUint32(16, offset, true);
  return concatenated([...parts, ...directory, new Uint8Array(end.buffer)]);
}

function concatenated(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** `head` and zeros behind it, `length` bytes in all, deflated to a thousandth of that. */
function bomb(head: Uint8Array, length: number): Uint8Array {
  const flush = { finishFlush: constants.Z_FULL_FLUSH };
  const piece = 1 << 24;
  const first = deflateRawSync(head, flush);
  const zeros = deflateRawSync(new Uint8Array(piece), flush);
  const rest = length - head.length;
  return concatenated([
    first,
    ...Array<Uint8Array>(Math.floor(rest / piece)).fill(zeros),
    deflateRawSync(new Uint8Array(rest % piece)),
  ]);
}

Deno.test("what NumPy wrote: Fortran order, version 2, big-endian scalars, version 3 strings", () => {
  const fortran = parseNpy(
    base64(
      "k05VTVBZAQB2AHsnZGVzY3InOiAnPGY0JywgJ2ZvcnRyYW5fb3JkZXInOiBUcnVlLCAnc2hhcGUn" +
        "OiAoMiwgMyksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg" +
        "ICAgICAgICAgICAgIAoAAAAAAABAQAAAgD8AAIBAAAAAQAAAoEA=",
    ),
    "f.npy",
  );
  assert.deepEqual(fortran, {
    dtype: "float32",
    dims: [2, 3],
    data: Float32Array.of(0, 1, 2, 3, 4, 5),
  });
  const scalar = parseNpy(
    base64(
      "k05VTVBZAgB0AAAAeydkZXNjcic6ICc+aTgnLCAnZm9ydHJhbl9vcmRlcic6IEZhbHNlLCAnc2hh" +
        "cGUnOiAoKSwgfSAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg" +
        "ICAgICAgICAgICAgIAoAAAAAAAAABw==",
    ),
    "s.npy",
  );
  assert.deepEqual(scalar, { dtype: "int64", dims: [], data: BigInt64Array.of(7n) });
  const strings = parseNpy(
    base64(
      "k05VTVBZAwB0AAAAeydkZXNjcic6ICc8VTInLCAnZm9ydHJhbl9vcmRlcic6IEZhbHNlLCAnc2hh" +
        "cGUnOiAoMiwpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg" +
        "ICAgICAgICAgICAgIApuAAAA6QAAAGIAAAAAAAAA",
    ),
    "u.npy",
  );
  assert.deepEqual(strings, { dtype: "string", dims: [2], data: ["né", "b"] });
});

Deno.test("an archive that numpy.savez_compressed wrote", async () => {
  const arrays = await parseNpz(
    base64(
      "UEsDBC0AAAAIAAAAIQDDw9rR//////////8HABQAaWRzLm5weQEAEACgAAAAAAAAAE8AAAAAAAAAm+wX6hsQychQxlCtnpJanFyk" +
        "bqWgbpNpoa6joJ6WX1RSlJgXn1+UkgoSd0vMKU4FihdnJBakAvkaJjqaOgq1ChQALgYoYITSTFCaGUoDAFBLAwQtAAAACAAAACEA" +
        "zb+Vtf//////////CAAUAG1hc2subnB5AQAQAIQAAAAAAAAASQAAAAAAAACb7BfqGxDJyFDGUK2eklqcXKRupaBek2SorqOgnpZf" +
        "VFKUmBefX5SSChJ3S8wpTgWKF2ckFqQC+RpGOgpGmjoKtQpkAy5GIAAAUEsBAi0DLQAAAAgAAAAhAMPD2tFPAAAAoAAAAAcAAAAA" +
        "AAAAAAAAAIABAAAAAGlkcy5ucHlQSwECLQMtAAAACAAAACEAzb+VtUkAAACEAAAACAAAAAAAAAAAAAAAgAGIAAAAbWFzay5ucHlQ" +
        "SwUGAAAAAAIAAgBrAAAACwEAAAAA",
    ),
    "a.npz",
  );
  assert.deepEqual([...arrays.keys()], ["ids", "mask"]);
  assert.deepEqual(arrays.get("ids")?.data, BigInt64Array.of(0n, 1n, 2n, 3n));
  assert.deepEqual(arrays.get("mask"), {
    dtype: "bool",
    dims: [2, 2],
    data: Uint8Array.of(1, 1, 1, 1),
  });
});

Deno.test("every numeric dtype, in both byte orders", () => {
  const cases = [
    ["b1", "bool", [1, 0]],
    ["i1", "int8", [-3, 7]],
    ["u1", "uint8", [250, 7]],
    ["i2", "int16", [-300, 7]],
    ["u2", "uint16", [65000, 7]],
    ["i4", "int32", [-70000, 7]],
    ["u4", "uint32", [4e9, 7]],
    ["i8", "int64", [-5e9, 7]],
    ["u8", "uint64", [5e9, 7]],
    ["f2", "float16", [1.5, -2]],
    ["f4", "float32", [1.5, -2]],
    ["f8", "float64", [Math.PI, -2]],
  ] as const;
  for (const [letters, dtype, values] of cases) {
    for (const order of ["<", ">"]) {
      const little = order === "<";
      const width = Number(letters[1]);
      const data = new DataView(new ArrayBuffer(2 * width));
      values.forEach((value, i) => {
        const at = i * width;
        if (letters === "f2") data.setFloat16(at, value, little);
        else if (letters === "f4") data.setFloat32(at, value, little);
        else if (letters === "f8") data.setFloat64(at, value, little);
        else if (width === 8) data.setBigInt64(at, BigInt(value), little);
        else if (width === 4) data.setUint32(at, value >>> 0, little);
        else if (width === 2) data.setUint16(at, value & 0xffff, little);
        else data.setUint8(at, value & 0xff);
      });
      const parsed = parseNpy(npy(header(order + letters, [2]), new Uint8Array(data.buffer)), "x");
      assert.equal(parsed.dtype, dtype);
      const read = dtype === "float16" && parsed.data instanceof Uint16Array
        ? [...new Float16Array(parsed.data.buffer, parsed.data.byteOffset, 2)]
        : Array.from(parsed.data as ArrayLike<number | bigint>, Number);
      assert.deepEqual(read, [...values], `${order}${letters}`);
    }
  }
});

Deno.test("Fortran order of any rank is turned into row-major order", () => {
  fc.assert(fc.property(
    fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 0, maxLength: 4 }),
    (shape) => {
      const count = shape.reduce((product, dim) => product * dim, 1);
      const fortran = new Int32Array(count);
      const expected = Int32Array.from({ length: count }, (_, i) => i);
      for (let i = 0; i < count; i++) {
        let rest = i;
        const index = shape.toReversed().map((dim) => {
          const at = rest % dim;
          rest = Math.floor(rest / dim);
          return at;
        }).reverse();
        let at = 0;
        for (let axis = shape.length - 1; axis >= 0; axis--) at = at * shape[axis]! + index[axis]!;
        fortran[at] = i;
      }
      const file = npy(header("<i4", shape, true), new Uint8Array(fortran.buffer));
      assert.deepEqual(parseNpy(file, "x").data, expected);
    },
  ));
});

Deno.test("broken and hostile arrays are refused with the reason", () => {
  const data = new Uint8Array(16);
  const cases: [string, Uint8Array, RegExp][] = [
    ["empty", new Uint8Array(0), /signature/],
    ["future version", npy(header("<f4", [4]), data).fill(9, 6, 7), /version 9/],
    ["objects", npy(header("|O", [2]), data), /pickled/],
    [
      "structured",
      npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", data),
      /dictionary/,
    ],
    ["complex", npy(header("<c8", [2]), data), /no counterpart/],
    ["too few bytes", npy(header("<f4", [5]), data), /16 bytes of data where 20/],
    ["2^40 elements", npy(header("<f4", [2 ** 20, 2 ** 20]), data), /more than/],
    ["product past 2^53", npy(header("<f4", [2 ** 40, 2 ** 40]), data), /too large/],
    [
      "negative",
      npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", data),
      /dictionary/,
    ],
    ["code", npy("{'descr': '<f4', 'fortran_order': exit(), 'shape': (1,)}", data), /dictionary/],
    ["twice", npy("{'descr': '<f4', 'descr': '<f4', 'shape': (1,)}", data), /dictionary/],
    ["billions of empty strings", npy(header("<U0", [2 ** 32]), data), /strings, more than/],
    ["no code point", npy(header("<U1", [1]), Uint8Array.of(255, 255, 255, 255)), /code point/],
  ];
  for (const [what, bytes, reason] of cases) {
    assert.throws(() => parseNpy(bytes, "evil.npy"), (error) => {
      assert.ok(error instanceof InputError, what);
      assert.match(error.message, /evil\.npy/);
      assert.match(error.message, reason, what);
      return true;
    });
  }
});

Deno.test("strings lose their trailing NULs, in the time that reading them takes", () => {
  const width = 500_000;
  const header = `{'descr': '|S${width}', 'fortran_order': False, 'shape': (2,), }\n`;
  const bytes = new Uint8Array(10 + header.length + 2 * width);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, header.length & 255, 0]);
  bytes.set(new TextEncoder().encode(header), 10);
  bytes[bytes.length - 1] = 0x78;
  bytes[10 + header.length] = 0x79;
  const start = performance.now();
  const { data } = parseNpy(bytes, "nuls.npy");
  assert.ok(performance.now() - start < 5000);
  assert.deepEqual([...data as string[]].map((text) => text.length), [1, width]);
});

Deno.test("broken and hostile archives are refused with the reason", async () => {
  const array = npy(header("<f4", [2]), new Uint8Array(8));
  const zeros = new Uint8Array(1 << 20);
  const longer = npy(header("<f4", [2]), new Uint8Array(9));
  const shorter = array.subarray(0, -1);
  const wide = concatenated([npy("", zeros, 2).fill(255, 8, 12), zeros]);
  const method = zip([{ name: "a.npy", data: array }]);
  method[method.length - 22 - 46 - 5 + 10] = 12;
  const cases: [string, Uint8Array<ArrayBuffer>, RegExp][] = [
    ["no directory", new Uint8Array(100), /no ZIP directory/],
    ["empty", zip([]), /no array/],
    ["twice", zip([{ name: "a.npy", data: array }, { name: "a.npy", data: array }]), /two entries/],
    [
      "bomb",
      zip([{ name: "a.npy", data: zeros, deflate: true, declared: 64 }]),
      /does not inflate/,
    ],
    ["over 2 GiB", zip([{ name: "a.npy", data: array, declared: 2 ** 31 }]), /more than/],
    ["damaged", zip([{ name: "a.npy", data: array }]).fill(1, 40, 41), /CRC|signature/],
    ["size", zip([{ name: "a.npy", data: array, declared: 7 }]), /does not inflate to its 7/],
    ["too long", zip([{ name: "a.npy", data: longer }]), /a\.npy": it holds 9 bytes .* 8 belong/],
    ["too short", zip([{ name: "a.npy", data: shorter }]), /a\.npy": it holds 7 bytes .* 8 belong/],
    ["in the header", zip([{ name: "a.npy", data: array.subarray(0, 9) }]), /signature/],
    [
      "long header",
      zip([{ name: "a.npy", data: wide, deflate: true }]),
      /header length 4294967295/,
    ],
    ["method", method, /a\.npy" uses compression method 12/],
    ["not an array", zip([{ name: "a.txt", data: zeros }]), /a\.txt.*signature/],
  ];
  for (const [what, bytes, reason] of cases) {
    await assert.rejects(parseNpz(bytes, "evil.npz"), (error) => {
      assert.ok(error instanceof InputError, `${what}: ${error}`);
      assert.match(error.message, /evil\.npz/);
      assert.match(error.message, reason, what);
      return true;
    });
  }
});

Deno.test("what no input is called is refused before any array is read", async () => {
  const path = await Deno.makeTempFile({ suffix: ".npz" });
  try {
    const zeros = new Uint8Array(1 << 20);
    await Deno.writeFile(
      path,
      zip([{ name: "a.npy", data: zeros, deflate: true }, { name: "b.npy", data: zeros }]),
    );
    const ports = [{ name: "a", dtype: "float32", dims: ["n"] }] as const;
    await assert.rejects(
      readGiven({ kind: "file", path }, ports, "m.onnx"),
      /model "m\.onnx" has no input "b"/,
    );
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("of two arrays for one input none is taken", async () => {
  const path = await Deno.makeTempFile({ suffix: ".npz" });
  try {
    const array = npy(header("<f4", [2]), new Uint8Array(8));
    await Deno.writeFile(
      path,
      zip([{ name: "a.npy", data: array }, { name: "arr_0.npy", data: array }]),
    );
    const ports = [{ name: "a", dtype: "float32", dims: ["n"] }] as const;
    await assert.rejects(
      readGiven({ kind: "file", path }, ports, "m.onnx"),
      /\.npz": "a" and "arr_0" are both for input "a"\. Leave one out\./,
    );
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("two megabytes that inflate to two gigabytes take no memory", async () => {
  const path = await Deno.makeTempFile({ suffix: ".npz" });
  const script = fileURLToPath(new URL("read_inputs.ts", import.meta.url));
  const read = async (dtype: string, dims: readonly (string | number)[]) => {
    const { stdout } = await run({
      program: Deno.execPath(),
      args: ["run", "-q", "--no-check", "-A", script, path, dtype, JSON.stringify(dims)],
      inheritEnv: ["PATH", "HOME", "DENO_DIR", "XDG_CACHE_HOME"],
      install: "",
    });
    return JSON.parse(new TextDecoder().decode(stdout)) as { refusal: string; peak: number };
  };
  try {
    await Deno.writeFile(
      path,
      zip([{ name: "a.npy", data: npy(header("<f4", [2]), new Uint8Array(8)) }]),
    );
    const honest = await read("float32", ["n"]);
    assert.equal(honest.refusal, null);

    const full = 2 ** 31 - 1;
    const small = npy(header("<f4", [2]), new Uint8Array(8));
    const large = npy(header("<f4", [(full - 128) >> 2]), new Uint8Array(0));
    const bytes = npy(header("|u1", [full - 128]), new Uint8Array(0));
    const cases = [
      // The directory tells the truth, the array's header another one.
      [small, full, "float32", ["n"], /\.npz:a\.npy": it holds \d{10} bytes .* where 8 belong/],
      // Both lie.
      [small, small.length, "float32", ["n"], /\.npz": entry "a\.npy" does not inflate to its 136/],
      [new Uint8Array(200), full, "float32", ["n"], /\.npz:a\.npy": it does not begin with/],
      // Both tell the truth, and the model wants something else, or the same as larger numbers.
      [large, full - 3, "float32", [1, 3, 224, 224], /"a" is \[536870879\] where the model wants/],
      [large, full - 3, "float64", ["n"], /with "a" they take 4294967032 bytes/],
      [bytes, full, "int64", ["n"], /with "a" they take 17179868152 bytes/],
    ] as const;
    for (const [head, declared, dtype, dims, reason] of cases) {
      const packed = bomb(head, full);
      assert.ok(packed.length < 2.2e6);
      await Deno.writeFile(
        path,
        zip([{ name: "a.npy", data: head, deflate: true, packed, declared }]),
      );
      const { refusal, peak } = await read(dtype, dims);
      assert.match(refusal, reason);
      assert.match(refusal, /^InputError/);
      assert.ok(peak < honest.peak + 100e6, `${reason}: ${peak - honest.peak} bytes`);
    }
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("any change to an archive reads as an array or fails with an InputError", async () => {
  const array = npy(header("<f4", [8]), new Uint8Array(32));
  const good = zip([{ name: "a.npy", data: array, deflate: true }, { name: "b.npy", data: array }]);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }),
      fc.option(fc.nat(good.length)),
      async (changes, cut) => {
        const bytes = good.slice(0, cut ?? good.length);
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        try {
          await parseNpz(bytes, "x");
        } catch (error) {
          assert.ok(error instanceof InputError, String(error));
        }
      },
    ),
    { numRuns: 2000 },
  );
});
