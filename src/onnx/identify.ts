/**
 * Tells what a file is that was given as an ONNX model and is none, so that the error can say so.
 */
import { dirname } from "node:path";
import { InputError } from "../error.ts";

const CONVERT = "Convert it to ONNX first.";

/** What a file's first bytes say it is, and what to do then. */
const SIGNATURES: readonly {
  readonly offset: number;
  readonly bytes: string;
  readonly state: string;
  readonly remedy: string;
}[] = [
  {
    offset: 0,
    bytes: "PK\x03\x04",
    state: "it is a ZIP archive, as PyTorch checkpoints (.pt, .pth, .bin) and .npz files are",
    remedy: "Export a checkpoint to ONNX first (torch.onnx.export); unpack any other archive.",
  },
  { offset: 0, bytes: "GGUF", state: "it is a GGUF file (llama.cpp)", remedy: CONVERT },
  { offset: 0, bytes: "\x89HDF\r\n\x1a\n", state: "it is an HDF5 file (Keras)", remedy: CONVERT },
  {
    offset: 0,
    bytes: "\x80\x02\x8a\x0al\xfc\x9c",
    state: "it is a PyTorch checkpoint",
    remedy: "Export it to ONNX first (torch.onnx.export).",
  },
  { offset: 4, bytes: "TFL3", state: "it is a TensorFlow Lite model", remedy: CONVERT },
  {
    offset: 4,
    bytes: "ORTM",
    state: "it is a model in ONNX Runtime's own format (.ort)",
    remedy: "Take the .onnx file that it was made from.",
  },
  { offset: 8, bytes: '{"', state: "it is a safetensors file", remedy: CONVERT },
  {
    offset: 0,
    bytes: "\x1f\x8b",
    state: "it is compressed with gzip",
    remedy: "Decompress it first (gunzip).",
  },
  {
    offset: 0,
    bytes: "\x28\xb5\x2f\xfd",
    state: "it is compressed with Zstandard",
    remedy: "Decompress it first (unzstd).",
  },
  {
    offset: 0,
    bytes: "version https://git-lfs",
    state: "it is a Git LFS pointer, not the model",
    remedy: "Fetch the model itself (git lfs pull).",
  },
  {
    offset: 0,
    bytes: "<?xml",
    state: "it is XML, as OpenVINO models (.xml with .bin) are",
    remedy: "Take the ONNX file that it was made from.",
  },
  {
    offset: 0,
    bytes: "<!DOCTYPE",
    state: "it is a web page",
    remedy: "Download the model again, from the link to the file itself.",
  },
  {
    offset: 0,
    bytes: "\x93NUMPY",
    state: "it is a NumPy array",
    remedy: "Give an ONNX model.",
  },
];

/** Bytes of a file's beginning that {@link refuseForeign} looks at. */
export const SIGNATURE_BYTES = 32;

/** Throws where `head`, the first bytes of `path`, says that the file is of another known kind. */
export function refuseForeign(path: string, head: Uint8Array): void {
  for (const { offset, bytes, state, remedy } of SIGNATURES) {
    if (head.length < offset + bytes.length) continue;
    if ([...bytes].every((char, index) => head[offset + index] === char.charCodeAt(0))) {
      throw new InputError(`Cannot read "${path}" as an ONNX model: ${state}. ${remedy}`);
    }
  }
}

/**
 * Opens the regular file `path` for reading. Throws an `InputError` for a missing file, a
 * directory, a FIFO or a device, and one that may not be read.
 */
export function openRegularFile(path: string): { file: Deno.FsFile; size: number } {
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  if (info.isDirectory) {
    throw new InputError(`Cannot read "${path}": it is a directory. Name the file in it.`);
  }
  if (!info.isFile) {
    throw new InputError(
      `Cannot read "${path}": it is a pipe or a device, which can't be read at any position. ` +
        `Save it as a file first.`,
    );
  }
  try {
    return { file: Deno.openSync(path, { read: true }), size: info.size };
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** The error that `path` could not be read. */
export function unreadable(path: string, cause: unknown): Error {
  if (cause instanceof Deno.errors.NotFound) {
    return new InputError(`Cannot read "${path}": there is no such file. Check the path.`, {
      cause,
    });
  }
  if (cause instanceof Deno.errors.NotCapable) {
    return new InputError(
      `Cannot read "${path}": Deno was not given the permission. Run with ` +
        `${folderFlag("read", path)}, which takes the place of the permission set's.`,
      { cause },
    );
  }
  if (cause instanceof Error) {
    return new InputError(
      `Cannot read "${path}": ${cause.message}. Check the path and its permissions.`,
      { cause },
    );
  }
  return new Error(String(cause));
}

/** The flag that gives a permission for the folder of `path` beside the current folder. */
export function folderFlag(kind: "read" | "write", path: string): string {
  const folders = `.,${dirname(path)}`;
  return `--allow-${kind}=${/^[\w.,/:\\-]*$/.test(folders) ? folders : JSON.stringify(folders)}`;
}
