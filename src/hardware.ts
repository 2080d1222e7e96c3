/**
 * What the machine has: its WebGPU adapter, its processor and memory, and a key by which a
 * measurement made on it can be found again. Nothing here prompts for a permission: what may not be
 * read counts as unknown.
 */

/** A WebGPU adapter, described. */
export interface Adapter {
  readonly gpu: GPUAdapter;
  /** The driver's own name, as "NVIDIA H100" or "llvmpipe (LLVM 15.0.6, 256 bits)". */
  readonly name: string;
  /** Vendor in words where known, else the driver's number or an empty string. */
  readonly vendor: string;
  /** True for an adapter that computes on the processor, like lavapipe or SwiftShader. */
  readonly software: boolean;
  readonly limits: GPUSupportedLimits;
  readonly features: ReadonlySet<string>;
}

/** The processor and the memory. */
export interface Processor {
  /** Logical cores that this process may use. */
  readonly cores: number;
  /** Bytes of memory in all; null where it may not be read. */
  readonly memoryBytes: number | null;
  /** Bytes of memory that a program could take now; null where it may not be read. */
  readonly availableBytes: number | null;
}

/** PCI vendor numbers, and Mesa's own Vulkan vendor number for its software driver. */
const VENDORS: Readonly<Record<string, string>> = {
  "4098": "AMD",
  "4112": "Imagination",
  "4203": "Apple",
  "4318": "NVIDIA",
  "5045": "ARM",
  "5140": "Microsoft",
  "6880": "Google",
  "20803": "Qualcomm",
  "32902": "Intel",
  "65541": "Mesa",
};

const SOFTWARE = /llvmpipe|lavapipe|softpipe|swiftshader|software|basic render|\bwarp\b/i;

/**
 * The adapter that WebGPU offers first when asked for speed, or null where there is none. Waits for
 * the graphics drivers to load, which takes some 100 ms.
 */
export async function detectAdapter(): Promise<Adapter | null> {
  // Absent in programs that were built without WebGPU.
  const webgpu: GPU | undefined = navigator.gpu;
  if (webgpu === undefined) return null;
  const gpu = await withRuntimeFolder(() =>
    webgpu.requestAdapter({ powerPreference: "high-performance" })
  );
  if (gpu === null) return null;
  return { gpu, ...adapterFacts(gpu.info), limits: gpu.limits, features: new Set(gpu.features) };
}

/** What a person wants to know of an adapter, from what WebGPU tells of it. */
export function adapterFacts(
  info: Pick<GPUAdapterInfo, "vendor" | "description" | "device" | "isFallbackAdapter">,
): Pick<Adapter, "name" | "vendor" | "software"> {
  const { vendor, description, device, isFallbackAdapter } = info;
  const name = description || device || "unnamed adapter";
  return {
    name,
    vendor: VENDORS[vendor] ?? vendor,
    software: isFallbackAdapter || SOFTWARE.test(name),
  };
}

/** The processor and the memory of this machine. */
export function detectProcessor(): Processor {
  const memory = granted({ name: "sys", kind: "systemMemoryInfo" })
    ? Deno.systemMemoryInfo()
    : null;
  return {
    cores: Math.max(1, navigator.hardwareConcurrency),
    memoryBytes: memory?.total ?? null,
    availableBytes: memory?.available ?? null,
  };
}

/**
 * A key for what was measured on this hardware: the same on every run, another when the adapter,
 * the processor's kind, its number of cores or the version of Deno (which brings WebGPU and the
 * WASM compiler) changes.
 */
export function hardwareKey(adapter: Adapter | null, processor: Processor): string {
  const gpu = adapter === null ? "no adapter" : `${adapter.vendor} ${adapter.name}`;
  return [Deno.build.target, `deno ${Deno.version.deno}`, `${processor.cores} cores`, gpu]
    .join("; ");
}

/**
 * Runs `request` with XDG_RUNTIME_DIR naming a folder, where that may be done: without it the
 * graphics libraries write lines to standard error that mean nothing to a person.
 */
export async function withRuntimeFolder<T>(request: () => Promise<T>): Promise<T> {
  const variable = "XDG_RUNTIME_DIR";
  const quiet = Deno.build.os === "linux" && granted({ name: "env", variable }) &&
    Deno.env.get(variable) === undefined;
  if (!quiet) return await request();
  Deno.env.set(variable, "/tmp");
  try {
    return await request();
  } finally {
    Deno.env.delete(variable);
  }
}

function granted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}
