/** Tensors as `.npy` files, the form in which pages take and give them. */
import { Buffer } from "node:buffer";
import type { Tensor } from "onnxruntime-node";

const DESCRIPTIONS: Readonly<Record<string, string>> = {
  float32: "<f4",
  int64: "<i8",
  int32: "<i4",
  bool: "|b1",
};

/** A tensor as the bytes of a file. */
export function npyOf({ type, dims, data }: Tensor): Buffer {
  const description = DESCRIPTIONS[type];
  if (description === undefined || !ArrayBuffer.isView(data)) throw new Error(`no .npy of ${type}`);
  const shape = dims.map((dim) => `${dim},`).join(" ");
  const header = `{'descr': '${description}', 'fortran_order': False, 'shape': (${shape}), }`;
  const length = Math.ceil((11 + header.length) / 64) * 64 - 10;
  const front = Buffer.alloc(10 + length, " ");
  front.write("\x93NUMPY\x01\x00", "latin1");
  front.writeUInt16LE(length, 8);
  front.write(header, 10, "latin1");
  front[front.length - 1] = 0x0a;
  return Buffer.concat([front, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]);
}
