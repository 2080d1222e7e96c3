/** What became of a conversion to a module for WebGPU: `NAME.report.json`, and what is printed of it. */
import type { MemoryPlan } from "../codegen/memory_plan.ts";
import type { CompiledModule } from "../codegen/mod.ts";
import { FAMILIES } from "../codegen/kernel_families.ts";
import type { SizeLimit, VariantTable, WeightTables } from "../codegen/module.ts";
import type { ShaderChecker } from "../codegen/shader_check.ts";
import { allGraphs, attribute, intAttribute, type Model } from "../ir.ts";
import { VERSION } from "../version.ts";
import type { VerificationReport } from "../verify/report.ts";
import type { OutputFile } from "./conversion.ts";
import type { DimExtents } from "./webgpu_dims.ts";

/** One constant in the weights file. */
export interface ModuleWeight {
  readonly name: string;
  /** "4bit" and its like where a quantized op reads it, else the dtype that it is stored in. */
  readonly precision: string;
  readonly dtype: string;
  readonly dims: readonly number[];
  readonly bytes: number;
}

/** An input or an output; a text is a symbolic dimension, null one that only a run knows, or all. */
export interface ModulePort {
  readonly name: string;
  readonly dtype: string;
  readonly dims: readonly (number | string | null)[] | null;
}

/** A way of computing a dispatch. */
export interface ModuleCandidate {
  /** Name of the row in the table of kernel files. */
  readonly variant: string;
  /** The adapters that it is for: "any", "software" (a processor that plays a GPU) or "hardware". */
  readonly adapter: string;
  /** GPU features that it needs. */
  readonly features: readonly string[];
  readonly workgroupBytes: number;
  /** What must hold in a run, as far as it is not known yet: "rows <= 8". */
  readonly limits: readonly string[];
  /** One dispatch, or two in a row. */
  readonly kernels: readonly number[];
}

/** The content of `NAME.report.json`. Sizes are bytes. */
export interface ModuleReport {
  /** Version of modelcast. */
  readonly modelcast: string;
  readonly source: {
    readonly name: string;
    readonly sha256: string;
    /** The options that the source was quantized by, where modelcast did it. */
    readonly options: string | null;
  };
  readonly inputs: readonly ModulePort[];
  readonly outputs: readonly ModulePort[];
  /** Dimensions that were fixed, and those that a run may not pass. */
  readonly dims: DimExtents;
  readonly maxDims: DimExtents;
  /** How many nodes of each op there are, subgraphs included. */
  readonly nodes: Readonly<Record<string, number>>;
  /** Ops that compute values on the host. */
  readonly hostNodes: readonly string[];
  readonly kernels: readonly { readonly label: string; readonly bindings: string }[];
  /** Dispatches that can be computed by several of the kernels: which, in order of preference. */
  readonly choices: readonly {
    readonly label: string;
    readonly candidates: readonly ModuleCandidate[];
  }[];
  /** Each dispatch in the program's text, and its kernel or its choice. */
  readonly dispatches: readonly (
    | { readonly label: string; readonly kernel: number }
    | { readonly label: string; readonly choice: number }
  )[];
  readonly weights: {
    readonly fileBytes: number;
    readonly buffers: readonly number[];
    readonly tensors: readonly ModuleWeight[];
  };
  /** Who checked the shaders: "none" where nobody could. */
  readonly shaders: { readonly checker: ShaderChecker; readonly checked: number };
  /** The plan for the fixed and the largest dims; a sentence where there is none. */
  readonly memory: MemoryPlan | string;
  /** What kind of page the module has. */
  readonly page: string;
}

/** What a step to WebGPU did. */
export interface WebGpuReport {
  readonly kind: "webgpu";
  readonly outputPath: string;
  /** Whether nothing was written; the sizes of `files` are those that they would have. */
  readonly dryRun: boolean;
  readonly module: ModuleReport;
  readonly files: readonly OutputFile[];
  /** How the module compares with the model that it is made of; null where that was not asked for. */
  readonly verification: VerificationReport | null;
  readonly seconds: number;
}

/** How many nodes of each op `model` has, in order of name. */
export function countOps(model: Model): Record<string, number> {
  const counts = new Map<string, number>();
  for (const graph of allGraphs(model.graph)) {
    for (const { domain, opType } of graph.nodes) {
      const name = domain === "" ? opType : `${domain}.${opType}`;
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
  }
  return Object.fromEntries([...counts].sort(([a], [b]) => a < b ? -1 : 1));
}

/** Bits of the constants that quantized ops read, by name. */
export function packedBits(model: Model): Map<string, number> {
  const bits = new Map<string, number>();
  for (const graph of allGraphs(model.graph)) {
    for (const node of graph.nodes) {
      const isMatmul = node.opType === "MatMulNBits";
      if (!isMatmul && node.opType !== "GatherBlockQuantized") continue;
      const [name] = node.inputs.slice(isMatmul ? 1 : 0);
      if (name !== undefined && attribute(node, "bits") !== undefined) {
        bits.set(name, intAttribute(node, "bits", 4));
      }
    }
  }
  return bits;
}

/** Makes the report of a module. */
export function describeModule(parts: {
  readonly source: ModuleReport["source"];
  readonly compiled: CompiledModule;
  readonly table: WeightTables;
  readonly bits: ReadonlyMap<string, number>;
  readonly nodes: Readonly<Record<string, number>>;
  readonly dims: DimExtents;
  readonly maxDims: DimExtents;
  readonly shaders: ModuleReport["shaders"];
  readonly memory: MemoryPlan | string;
  readonly page: string;
}): ModuleReport {
  const { compiled, table, bits, ...rest } = parts;
  const port = ({ name, dtype, dims }: ModulePort): ModulePort => ({ name, dtype, dims });
  return {
    modelcast: VERSION,
    source: rest.source,
    inputs: compiled.inputs.map(port),
    outputs: compiled.outputs.map(port),
    dims: rest.dims,
    maxDims: rest.maxDims,
    nodes: rest.nodes,
    hostNodes: compiled.hostNodes,
    kernels: compiled.pipelines.map(({ label, bindings }) => ({ label, bindings })),
    choices: compiled.kernels.map(({ label, candidates }) => ({
      label,
      candidates: candidates.map(({ variant, limits, pipelines }) => ({
        variant: variant.name,
        adapter: variant.adapter,
        features: variant.features,
        workgroupBytes: variant.workgroupBytes,
        limits: limits.map((limit) => limitText(variant, limit)),
        kernels: pipelines,
      })),
    })),
    dispatches: compiled.dispatches.map(({ label, ...which }) =>
      "kernel" in which ? { label, choice: which.kernel } : { label, kernel: which.pipeline }
    ),
    weights: {
      fileBytes: table.bytes,
      buffers: table.buffers,
      tensors: compiled.weights.map(({ name, dtype, dims, bytes }) => ({
        name,
        precision: bits.has(name) ? `${bits.get(name)}bit` : dtype,
        dtype,
        dims,
        bytes,
      })),
    },
    shaders: rest.shaders,
    memory: rest.memory,
    page: rest.page,
  };
}

/** A limit of a variant as it is read. */
function limitText({ name }: VariantTable, { size, least, most }: SizeLimit): string {
  const family = FAMILIES.find(({ variants }) => variants.some((entry) => entry.name === name));
  const what = family?.sizes[size] ?? `size ${size}`;
  return least === undefined ? `${what} <= ${most}` : `${what} >= ${least}`;
}
