/**
 * A model that is loaded in ONNX Runtime, as the rest of the verification sees it, wherever the library
 * runs: in a process of its own (`runtime_process.ts`), or in this one (`runtime.ts`).
 */
import { dirname } from "node:path";
import { InputError, nearestNames } from "../error.ts";
import type { HostTensor, HostType } from "./values.ts";

/** An input or output of a model. */
export interface Port {
  readonly name: string;
  /** Null for what is not a tensor, and for element types that can't be fed. */
  readonly dtype: HostType | null;
  /** Extents, names of symbolic extents, null for unknown ones. */
  readonly dims: readonly (number | string | null)[];
}

/** What a build of ONNX Runtime says of itself. */
export interface RuntimeBuild {
  readonly version: string;
  /** Names of the execution providers that it can be asked for. */
  readonly providers: readonly string[];
}

/** A model to open: a file, or the bytes of one whose external data lie in `folder`. */
export type ModelSource = string | { readonly bytes: Uint8Array; readonly folder: string };

/** A loaded model. */
export interface Session extends AsyncDisposable {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  /** Milliseconds that loading took. */
  readonly loadTime: number;
  /**
   * Computes `fetches`, which are outputs that are tensors, from `feeds`.
   *
   * @throws RuntimeFault where ONNX Runtime does not.
   */
  run(
    feeds: ReadonlyMap<string, HostTensor>,
    fetches: readonly string[],
  ): Promise<Map<string, HostTensor>>;
}

/** ONNX Runtime can't load or run a model. `message` is what it said. */
export class RuntimeFault extends Error {
  override readonly name: string = "RuntimeFault";
}

/** ONNX Runtime ended its process over a model. `message` says how, and goes on from its name. */
export class RuntimeCrash extends RuntimeFault {
  override readonly name = "RuntimeCrash";
}

/** Throws an `InputError` for a provider that this build of ONNX Runtime does not know. */
export function checkProvider(
  { version, providers }: RuntimeBuild,
  provider: string,
): void {
  if (!providers.includes(provider)) {
    throw new InputError(
      `Cannot verify on provider "${provider}": onnxruntime-node ${version} does not have ` +
        `it. Did you mean ${nearestNames(provider, providers, 1).join()}? It has: ` +
        `${providers.join(", ")}.`,
    );
  }
}

/**
 * Lets what waits, such as a signal of the operating system, have its turn; then throws the reason of
 * `signal` where it is aborted.
 */
export async function checkpoint(signal: AbortSignal | undefined): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 0));
  signal?.throwIfAborted();
}

/** The folder that a model's external data are relative to. */
export function modelFolder(path: string): string {
  return dirname(path);
}
