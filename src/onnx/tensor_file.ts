/**
 * Files that hold one `TensorProto`, as the data sets of the ONNX backend tests do (`input_0.pb`,
 * `output_0.pb`).
 */
import type { Tensor } from "../ir.ts";
import { openRegularFile } from "./identify.ts";
import { MessageReader } from "./message.ts";
import { TensorMessages } from "./tensor_message.ts";
import { WireFile } from "./wire.ts";

/**
 * Reads the tensor in the file `path`. Its data stays where it is. Throws an `InputError` where the
 * file holds anything else, or data that don't fit the tensor's shape.
 */
export function readTensorFile(path: string): Tensor {
  const { file, size } = openRegularFile(path);
  try {
    const reader = new MessageReader(new WireFile(path, file, size));
    return new TensorMessages(reader).tensor({ from: 0, to: size, path: null, depth: 0 });
  } finally {
    file.close();
  }
}
