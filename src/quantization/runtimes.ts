/**
 * The runtimes that a result can be meant for, and what each loads and computes correctly. Every
 * entry was observed: ONNX Runtime 1.22.1, 1.23.2, 1.24.4, 1.30.0 and 1.32.0 and OpenVINO 2026.4
 * ran models of every form, and their outputs were compared with the float model's. A release
 * between two of these has what the older one has. `docs/runtimes.md` is the table in words.
 */
import { InputError, nearestNames } from "../error.ts";
import type { DType } from "../dtype.ts";
import type { Bits } from "../formats.ts";

/** A program that runs ONNX models. */
export type RuntimeFamily = "onnxruntime" | "onnxruntime-web" | "openvino";

/** A runtime, its version, and what it computes on. */
export interface Runtime {
  /** As it is written on the command line, with the provider: `onnxruntime-1.24:webgpu`. */
  readonly text: string;
  readonly family: RuntimeFamily;
  readonly major: number;
  readonly minor: number;
  readonly provider: string;
  /** Highest default-domain opset that it takes. */
  readonly opset: number;
  /** Highest IR version that it takes. */
  readonly irVersion: number;
}

/** The runtime that results are for when none is named: the one that `--verify` runs. */
export const DEFAULT_RUNTIME = "onnxruntime-1.30";

/** Opset and IR version by version of ONNX Runtime. */
const ONNX_RUNTIME_VERSIONS: readonly {
  readonly minor: number;
  readonly opset: number;
  readonly irVersion: number;
}[] = [
  { minor: 22, opset: 22, irVersion: 10 },
  { minor: 23, opset: 23, irVersion: 11 },
  { minor: 24, opset: 25, irVersion: 13 },
  { minor: 32, opset: 28, irVersion: 14 },
];

const NEWEST_MINOR = 32;

/** The newest runtime of the table. */
export const NEWEST_RUNTIME = `onnxruntime-1.${NEWEST_MINOR}`;

/** Providers by family, the default first. */
const PROVIDERS: Readonly<Record<RuntimeFamily, readonly string[]>> = {
  "onnxruntime": ["cpu", "webgpu"],
  "onnxruntime-web": ["wasm", "webgpu"],
  "openvino": ["cpu"],
};

/** Every runtime that can be named, with its default provider. */
function runtimeNames(): string[] {
  const names: string[] = [];
  for (let minor = 22; minor <= NEWEST_MINOR; minor++) {
    names.push(`onnxruntime-1.${minor}`, `onnxruntime-web-1.${minor}`);
  }
  return [...names, "openvino-2026.4"];
}

/**
 * Reads a runtime's name: `onnxruntime-1.24`, `onnxruntime-1.24:webgpu`, `onnxruntime-web-1.30:wasm`,
 * `openvino-2026.4`; a third number of the version is allowed. Throws an `InputError` that names
 * the nearest ones for anything else.
 */
export function parseRuntime(text: string): Runtime {
  const match = /^(onnxruntime|onnxruntime-web|openvino)-(\d+)\.(\d+)(?:\.\d+)?(?::([a-z]+))?$/
    .exec(text);
  const [name, provider] = text.split(":");
  const nearest = nearestNames(name!, runtimeNames());
  const known = match === null ? undefined : `${match[1]}-${match[2]}.${match[3]}`;
  if (match === null || !runtimeNames().includes(known!)) {
    throw new InputError(
      `Cannot prepare for the runtime "${text}": it is not known. ` +
        `The nearest are ${nearest.join(", ")}; versions run from 1.22 to 1.${NEWEST_MINOR}.`,
    );
  }
  const family = match[1] as RuntimeFamily;
  const providers = PROVIDERS[family];
  if (provider !== undefined && !providers.includes(provider)) {
    throw new InputError(
      `Cannot prepare for the runtime "${text}": ${family} is known with ` +
        `${providers.join(", ")} only. Write "${name}:${nearestNames(provider, providers)[0]}".`,
    );
  }
  const minor = Number(match[3]);
  const versions = ONNX_RUNTIME_VERSIONS.filter((version) => version.minor <= minor);
  const limits = family === "openvino" ? { opset: 28, irVersion: 14 } : versions.at(-1)!;
  return {
    text: `${known}:${provider ?? providers[0]}`,
    family,
    major: Number(match[2]),
    minor,
    provider: provider ?? providers[0]!,
    opset: limits.opset,
    irVersion: limits.irVersion,
  };
}

/** A thing that a form may need of a runtime. */
export type Need =
  /** `com.microsoft.MatMulNBits` over stored codes, with activations of a type. */
  | { readonly op: "MatMulNBits"; readonly bits: Bits; readonly activations: DType }
  /** `com.microsoft.GatherBlockQuantized` over stored codes. */
  | {
    readonly op: "GatherBlockQuantized";
    readonly bits: Bits;
    /** Whether the scales come through a Cast. */
    readonly castScales: boolean;
  }
  /** Operands of `com.microsoft` operators that other operators compute from constants. */
  | { readonly op: "computed operands" }
  /** `DequantizeLinear` from codes of a type, the last extent of which is `width`. */
  | {
    readonly op: "DequantizeLinear";
    readonly codes: DType;
    readonly width: number;
    readonly blocked: boolean;
    /** Whether a product sums over the axis along which scales lie. */
    readonly alongSum: boolean;
  }
  /** A default-domain opset, and an IR version. */
  | { readonly op: "opset"; readonly opset: number; readonly irVersion: number };

/**
 * Operators of the default domain that ONNX Runtime has no kernel for from an opset on, though it
 * loads models of that opset: its CPU provider's registry in 1.22.1, 1.24.4 and 1.32.0. Those that
 * an upgrade exchanges for others are left out.
 */
const MISSING_KERNELS: readonly {
  readonly opset: number;
  readonly operators: readonly string[];
  /** First minor version that lacks them, and first one that has them again. */
  readonly from?: number;
  readonly until?: number;
}[] = [
  {
    opset: 10,
    operators: [
      "Affine",
      "Crop",
      "DynamicSlice",
      "ImageScaler",
      "ParametricSoftplus",
      "Scale",
      "ScaledTanh",
    ],
  },
  {
    opset: 22,
    operators: [
      "GlobalLpPool",
      "MaxRoiPool",
      "Multinomial",
      "RandomNormal",
      "RandomNormalLike",
      "RandomUniform",
      "RandomUniformLike",
      "RoiAlign",
    ],
  },
  { opset: 22, operators: ["LpNormalization"], until: 32 },
  { opset: 25, operators: ["Attention"], from: 32 },
  { opset: 28, operators: ["DequantizeLinear"] },
];

/**
 * Why a model with nodes of `operators`, which `runtime` computes at the opset `from`, can't be
 * computed there at the opset `to`, in words; null when it can.
 */
export function losesOperator(
  runtime: Runtime,
  operators: ReadonlySet<string>,
  from: number,
  to: number,
): string | null {
  if (runtime.family === "openvino") return null;
  for (const row of MISSING_KERNELS) {
    if (row.opset <= from || row.opset > to) continue;
    if (runtime.minor < (row.from ?? 0) || runtime.minor >= (row.until ?? Infinity)) continue;
    const lost = row.operators.find((operator) => operators.has(operator));
    if (lost !== undefined) {
      return `opset ${to} is needed, and ${runtime.text} computes no ${lost} of opset ` +
        `${row.opset} or later`;
    }
  }
  return null;
}

/** Why `runtime` can't do what is needed, in words; null when it can. */
export function lacks(runtime: Runtime, need: Need): string | null {
  const openvino = runtime.family === "openvino";
  const minor = openvino ? Infinity : runtime.minor;
  const since = (first: number, what: string): string | null =>
    minor >= first ? null : `${runtime.text} lacks ${what}, which came with 1.${first}`;
  switch (need.op) {
    case "MatMulNBits":
      if (need.activations !== "float32" && need.activations !== "float16") {
        return `MatMulNBits of ${runtime.text} takes no ${need.activations} activations`;
      }
      if (need.bits === 8) return since(23, "8-bit MatMulNBits");
      if (need.bits === 2) {
        // 1.24.4 loads 2 bits with float16 activations and fails at the first run.
        return need.activations === "float16"
          ? since(32, "2-bit MatMulNBits with float16 activations")
          : since(24, "2-bit MatMulNBits");
      }
      return need.bits === 4 ? null : "MatMulNBits has no 3-bit codes";
    case "GatherBlockQuantized":
      if (openvino && need.castScales) {
        return `GatherBlockQuantized of ${runtime.text} takes scales from a constant only`;
      }
      if (need.bits === 4) return null;
      return need.bits === 8
        ? since(23, "8-bit GatherBlockQuantized")
        : `GatherBlockQuantized is not used with ${need.bits} bits`;
    case "computed operands":
      return openvino ? `${runtime.text} takes codes and zero points from constants only` : null;
    case "DequantizeLinear":
      if (openvino && !need.blocked && need.width % 2 !== 0 && /int4$/.test(need.codes)) {
        return `${runtime.text} computes with 4-bit codes of an odd width wrongly`;
      }
      if (openvino && need.alongSum) {
        return `${runtime.text} computes products over the axis of the scales wrongly`;
      }
      if (need.codes !== "uint2" && need.codes !== "int2") return null;
      return openvino ? `${runtime.text} has no 2-bit types` : since(24, "2-bit types");
    case "opset":
      if (need.opset > runtime.opset) {
        return `${runtime.text} loads opsets up to ${runtime.opset}, not ${need.opset}`;
      }
      return need.irVersion > runtime.irVersion
        ? `${runtime.text} loads IR versions up to ${runtime.irVersion}, not ${need.irVersion}`
        : null;
  }
}

/**
 * Why a form with this need makes every run on `runtime` slower than the float model was, in words;
 * null when it does not. On one core, 2048 by 2048, one row: MatMulNBits at 8 and 2 bits takes 13
 * and 21 ms where float32 takes 0.3 and 4 bits 0.35, because it dequantizes the weight in each run.
 */
export function slows(runtime: Runtime, need: Need): string | null {
  if (runtime.family === "openvino" || runtime.provider === "webgpu") return null;
  return need.op === "MatMulNBits" && need.bits !== 4
    ? `MatMulNBits of ${runtime.text} dequantizes ${need.bits}-bit weights in each run`
    : null;
}
