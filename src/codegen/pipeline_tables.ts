/** The tables of pipelines and of kernels, filled shader by shader: equal text is one pipeline. */
import { COPY_SHADER } from "./copy_shader.ts";
import type { KernelShaders } from "./kernel_shader.ts";
import { preludeText } from "./kernel_text.ts";
import type { CandidateTable, KernelTable, PipelineTable, VariantTable } from "./module.ts";

/** A shader as it comes out of the printers. */
interface PrintedShader {
  /** The text, without functions of the prelude and directives. */
  readonly text: string;
  readonly prelude: ReadonlySet<string>;
  readonly bindings: string;
  readonly constants: Readonly<Record<string, number>>;
  readonly features?: readonly string[];
}

/** The directive that takes a feature into use. */
const DIRECTIVES: Readonly<Record<string, string>> = {
  "shader-f16": "enable f16;",
  subgroups: "enable subgroups;",
};

/** The directives that take `features` into use, a line each. */
export function directivesOf(features: readonly string[]): string[] {
  return features.map((feature) => {
    const directive = DIRECTIVES[feature];
    if (directive === undefined) throw new Error(`no directive enables "${feature}"`);
    return directive;
  });
}

/** The pipelines and kernels of a module. */
export class PipelineTables {
  readonly pipelines: PipelineTable[] = [];
  readonly kernels: KernelTable[] = [];
  readonly #pipelineOf = new Map<string, number>();
  readonly #kernelOf = new Map<string, number>();

  /** Index of the pipeline of `shader`. */
  pipeline(label: string, shader: PrintedShader, parameters: number): number {
    const { text, prelude, bindings, constants, features = [] } = shader;
    const code = [...directivesOf(features), preludeText(prelude), text].join("\n").trimStart();
    const key = JSON.stringify([code, constants]);
    let at = this.#pipelineOf.get(key);
    if (at === undefined) {
      at = this.pipelines.push({
        label,
        code,
        bindings,
        parameters,
        ...(Object.keys(constants).length > 0 && { constants }),
        ...(features.length > 0 && { features }),
      }) - 1;
      this.#pipelineOf.set(key, at);
    }
    return at;
  }

  /** Index of the kernel that has these shaders. */
  kernel(label: string, shaders: KernelShaders): number {
    const { bindings, sizes } = shaders;
    const parameters = shaders.parameters.length;
    const candidates = shaders.candidates.map(({ variant, limits, passes }): CandidateTable => ({
      variant,
      limits,
      pipelines: passes.map((pass) => this.pipeline(labelOf(label, variant), pass, parameters)),
    }));
    const key = JSON.stringify([bindings, parameters, sizes, candidates]);
    let at = this.#kernelOf.get(key);
    if (at === undefined) {
      at = this.kernels.push({ label, bindings, parameters, sizes, candidates }) - 1;
      this.#kernelOf.set(key, at);
    }
    return at;
  }

  /** Index of the pipeline that copies `p0` words of a tensor to word `p1` of another. */
  copying(): number {
    const shader = { text: COPY_SHADER, prelude: new Set<string>(), bindings: "aa", constants: {} };
    return this.pipeline("copy", shader, 2);
  }
}

/** What a pipeline of a kernel is called. */
function labelOf(kernel: string, variant: VariantTable): string {
  return `${kernel} (${variant.name})`;
}
