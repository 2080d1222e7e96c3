/**
 * The person's own inputs: a `.npz`, a `.npy` or a picture is read, matched with the model's inputs,
 * and cast, checked or resized to what they want.
 */
import { InputError, nearestNames } from "../error.ts";
import { elementCount } from "../ir.ts";
import { type ArrayTaker, LARGEST, parseNpy, parseNpz } from "./numpy.ts";
import {
  decodePicture,
  isPicture,
  type Normalization,
  type Picture,
  pictureValues,
} from "./picture.ts";
import { MOST_PIXELS } from "./png.ts";
import type { Port } from "./session.ts";
import { channelAxisOf, isPictureShaped, roleOf } from "./seeded.ts";
import {
  castTensor,
  elementBytes,
  formatDims,
  fromNumbers,
  type HostTensor,
  isWhole,
  visible,
} from "./values.ts";

/** Where inputs come from. What a source does not give is seeded. */
export type InputSource =
  /** A `.npz`, `.npy`, PNG or JPEG file; `normalization` is of a picture, "symmetric" if absent. */
  | { readonly kind: "file"; readonly path: string; readonly normalization?: Normalization }
  /** Tensors by input name; `origin` says in the report what they are. */
  | {
    readonly kind: "tensors";
    readonly tensors: ReadonlyMap<string, HostTensor>;
    readonly origin: string;
  };

/** A value that the person gave, and the extents worth trying for it (pictures have several). */
export interface Given {
  readonly origin: string;
  readonly variants: readonly HostTensor[];
}

/** Bytes that a file of inputs may have. */
const LARGEST_FILE = 2 ** 31 - 1;

/**
 * Reads `source` for the inputs `ports` of the model at `modelPath`.
 *
 * @throws InputError where it can't be read, or does not fit the model.
 */
export async function readGiven(
  source: InputSource,
  ports: readonly Port[],
  modelPath: string,
): Promise<Map<string, Given>> {
  return source.kind === "file"
    ? await readSource(source, ports, modelPath)
    : matchTensors(source.tensors, ports, source.origin, modelPath);
}

/** Reads the file of `source` and matches what is in it with the inputs `ports`. */
async function readSource(
  source: { readonly path: string; readonly normalization?: Normalization },
  ports: readonly Port[],
  modelPath: string,
): Promise<Map<string, Given>> {
  const { path } = source;
  const bytes = await readInputFile(path);
  if (isPicture(bytes)) {
    const port = pictureInput(ports, path, modelPath);
    const picture = decodePicture(bytes, path);
    return new Map([[port.name, fitPicture(picture, port, path, source.normalization)]]);
  }
  if (bytes[0] === 0x50 && bytes[1] === 0x4b) {
    const tensors = await parseNpz(bytes, path, takerOf(ports, path, modelPath));
    return matchTensors(tensors, ports, path, modelPath);
  }
  if (bytes[0] === 0x93) {
    const tensor = parseNpy(bytes, path);
    const port = mainInput(ports, path, modelPath);
    return new Map([[port.name, { origin: path, variants: [fitTensor(tensor, port, path)] }]]);
  }
  throw new InputError(
    `Cannot read inputs "${path}": it is none of .npz, .npy, PNG and JPEG. ` +
      `Give one of them.\n${wanted(ports)}`,
  );
}

/**
 * Refuses what `ports` can't use before it takes memory: an archive of a few bytes can hold any number
 * of arrays that nobody wants, and of any extents.
 */
function takerOf(ports: readonly Port[], path: string, modelPath: string): ArrayTaker {
  const taken = new Map<string, string>();
  let total = 0;
  return {
    names(name) {
      const port = portNamed(name, ports, path, modelPath);
      const other = taken.get(port.name);
      if (other !== undefined) {
        throw new InputError(
          `Cannot use inputs "${path}": "${other}" and "${name}" are both for input ` +
            `"${port.name}". Leave one out.`,
        );
      }
      taken.set(port.name, name);
    },
    header(name, { dims }) {
      const port = portNamed(name, ports, path, modelPath);
      fitDims(dims, port, path);
      total += elementCount(dims) * elementBytes(port.dtype!);
      if (total > LARGEST) {
        throw new InputError(
          `Cannot use inputs "${path}": with "${name}" they take ${total} bytes as the types that ` +
            `the model wants, more than ${LARGEST}. Give smaller inputs.`,
        );
      }
    },
  };
}

async function readInputFile(path: string): Promise<Uint8Array<ArrayBuffer>> {
  await checkInputFile(path);
  try {
    return await Deno.readFile(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** Throws an `InputError` where the file `path` can't hold inputs. */
export async function checkInputFile(path: string): Promise<void> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  if (!info.isFile) {
    throw new InputError(`Cannot read inputs "${path}": it is not a file. Give one.`);
  }
  if (info.size > LARGEST_FILE) {
    throw new InputError(`Cannot read inputs "${path}": ${info.size} bytes. Give at most 2 GiB.`);
  }
}

function unreadable(path: string, cause: unknown): Error {
  if (cause instanceof Deno.errors.NotCapable) return cause;
  const state = cause instanceof Deno.errors.NotFound ? "no such file" : String(cause);
  return new InputError(`Cannot read inputs "${path}": ${state}. Check the path.`, { cause });
}

/** Tensors by name for the inputs `ports`; `arr_0`, `arr_1`, ... go by position. */
function matchTensors(
  tensors: ReadonlyMap<string, HostTensor>,
  ports: readonly Port[],
  origin: string,
  modelPath: string,
): Map<string, Given> {
  const given = new Map<string, Given>();
  for (const [name, tensor] of tensors) {
    const port = portNamed(name, ports, origin, modelPath);
    given.set(port.name, { origin, variants: [fitTensor(tensor, port, origin)] });
  }
  return given;
}

/** The input that the tensor `name` is for. */
function portNamed(name: string, ports: readonly Port[], origin: string, modelPath: string): Port {
  const position = /^arr_(\d+)$/.exec(name)?.[1];
  const port = ports.find((entry) => entry.name === name) ??
    (position === undefined ? undefined : ports[Number(position)]);
  if (port !== undefined) return port;
  const nearest = nearestNames(name, ports.map((entry) => entry.name), 1)[0];
  throw new InputError(
    `Cannot use inputs "${origin}": model "${modelPath}" has no input "${name}". ` +
      `Did you mean "${nearest}"?\n${wanted(ports)}`,
  );
}

/** `tensor` as input `port`: cast, a leading axis of 1 added where only that is missing. */
function fitTensor(tensor: HostTensor, port: Port, origin: string): HostTensor {
  if (!isWhole(tensor)) throw unfit(tensor.dims, port, origin);
  const dims = fitDims(tensor.dims, port, origin);
  return { ...castTensor(tensor, port.dtype!, port.name), dims };
}

/** `dims` as those of input `port`, a leading axis of 1 added where only that is missing. */
function fitDims(dims: readonly number[], port: Port, origin: string): readonly number[] {
  const whole = dims.length === port.dims.length - 1 ? [1, ...dims] : dims;
  const fits = whole.length === port.dims.length &&
    port.dims.every((dim, axis) => typeof dim !== "number" || dim === whole[axis]);
  if (!fits) throw unfit(dims, port, origin);
  return whole;
}

function unfit(dims: readonly number[], port: Port, origin: string): InputError {
  return new InputError(
    `Cannot use inputs "${origin}": "${port.name}" is ${formatDims(dims)} where the ` +
      `model wants ${formatDims(port.dims)}. Reshape it.`,
  );
}

/** The input that a lone array is for: the only one, or the only one that is not an accessory. */
function mainInput(ports: readonly Port[], path: string, modelPath: string): Port {
  const main = ports.filter((port) => {
    const { kind } = roleOf(port, ports, undefined);
    return ["tokens", "integers", "numbers", "picture", "audio", "strings"].includes(kind);
  });
  const port = ports.length === 1 ? ports[0] : main.length === 1 ? main[0] : undefined;
  if (port !== undefined) return port;
  throw new InputError(
    `Cannot use inputs "${path}": model "${modelPath}" has ${ports.length} inputs and an .npy file ` +
      `names none. Save a .npz with numpy.savez(path, name=array, ...).\n${wanted(ports)}`,
  );
}

/** The input that a picture is for. */
function pictureInput(ports: readonly Port[], path: string, modelPath: string): Port {
  const fitting = ports.filter(isPictureShaped);
  if (fitting.length === 1) return fitting[0]!;
  throw new InputError(
    `Cannot use picture "${path}": model "${modelPath}" has ${fitting.length} inputs of the shape ` +
      `[batch, channels, height, width]. Give a .npz with numpy.savez(path, name=array, ...).\n` +
      wanted(ports),
  );
}

/** The longest side of a picture where the model fixes neither. */
const LONGEST_SIDE = 960;

/**
 * `picture` as input `port`: at the model's size where it is fixed; one free side keeps the aspect
 * ratio, two free sides are rounded to multiples of 32.
 */
function fitPicture(
  picture: Picture,
  port: Port,
  path: string,
  normalization: Normalization = "symmetric",
): Given {
  const channelAxis = channelAxisOf(port);
  const [heightAxis, widthAxis] = channelAxis === 1 ? [2, 3] : [1, 2];
  const channels = port.dims[channelAxis] === 1 ? 1 : 3;
  const sizes = pictureSizes(picture, port.dims[heightAxis], port.dims[widthAxis]);
  const huge = sizes.find(({ width, height }) => width * height > MOST_PIXELS);
  if (huge !== undefined) {
    throw new InputError(
      `Cannot use picture "${path}": input "${port.name}" would be ${huge.width}x${huge.height} ` +
        `pixels, more than ${MOST_PIXELS}. Give a picture of another shape.`,
    );
  }
  const isBytes = port.dtype === "uint8";
  const variants = sizes.map(({ width, height }) => {
    const planes = pictureValues(
      picture,
      width,
      height,
      channels,
      isBytes ? "byte" : normalization,
    );
    const dims = channelAxis === 1 ? [1, channels, height, width] : [1, height, width, channels];
    const values = channelAxis === 1 ? planes : interleave(planes, channels);
    return fromNumbers(port.dtype!, dims, isBytes ? values.map(Math.round) : values, port.name);
  });
  const { width, height } = sizes[0]!;
  return {
    origin: `${path}, ${picture.width}x${picture.height} resized to ${width}x${height}, ` +
      `${channels === 3 ? "red, green, blue" : "gray"}, ` +
      `${isBytes ? "bytes" : `${normalization} normalization`}`,
    variants,
  };
}

/** Sizes to try for a picture, the best first. */
function pictureSizes(
  picture: Picture,
  fixedHeight: number | string | null | undefined,
  fixedWidth: number | string | null | undefined,
): { width: number; height: number }[] {
  const roundTo = (value: number, step: number) => Math.max(step, Math.round(value / step) * step);
  const ratio = picture.width / picture.height;
  if (typeof fixedHeight === "number" && typeof fixedWidth === "number") {
    return [{ width: fixedWidth, height: fixedHeight }];
  }
  if (typeof fixedHeight === "number") {
    return [1, 8, 32].map((step) => ({
      width: roundTo(fixedHeight * ratio, step),
      height: fixedHeight,
    }));
  }
  if (typeof fixedWidth === "number") {
    return [1, 8, 32].map((step) => ({
      width: fixedWidth,
      height: roundTo(fixedWidth / ratio, step),
    }));
  }
  const shrink = Math.min(1, LONGEST_SIDE / Math.max(picture.width, picture.height));
  return [32, 64, 1].map((step) => ({
    width: roundTo(picture.width * shrink, step),
    height: roundTo(picture.height * shrink, step),
  }));
}

/** [channels, pixels] as [pixels, channels]. */
function interleave(planes: Float32Array, channels: number): Float32Array {
  const pixels = planes.length / channels;
  return planes.map((_, i) => planes[(i % channels) * pixels + Math.floor(i / channels)]!);
}

/** The inputs that a model wants, a line each. */
export function wanted(ports: readonly Port[]): string {
  return [
    "The model's inputs:",
    ...ports.map((port) =>
      visible(`  "${port.name}" ${port.dtype ?? "not a tensor"} ${formatDims(port.dims)}`)
    ),
  ].join("\n");
}
