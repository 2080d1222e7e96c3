/**
 * The ways in which a kernel may be computed: of a family's variants those that may fit the sizes,
 * by what is proved of them at conversion. What can't be proved is a limit that a run looks at.
 */
import { integer, isLess, isNotNegative, subtract } from "../expr/mod.ts";
import type { Family, FirstPass, Limit, Variant } from "./kernel_family.ts";
import type { SizeLimit, Tiles } from "./module.ts";
import type { KernelUnit } from "./units.ts";

/** A variant, and what a run must check before it is taken. */
export interface Candidate {
  readonly variant: Variant;
  readonly limits: readonly SizeLimit[];
}

/**
 * The candidates for `unit` in their family's order of preference. The last needs nothing: what a
 * family has no such variant for is computed by one outside of its limits, which say what is worth
 * taking.
 */
export function candidatesOf(unit: KernelUnit, family: Family): Candidate[] {
  const isHalf = Object.values(unit.use.stores).every(({ dtype }) => dtype === "float16");
  const candidates = family.variants.flatMap((variant) => {
    // Where the model computes in float32, its operands are not to be rounded.
    if (!isHalf && variant.features?.includes("shader-f16")) return [];
    const limits = limitsOf(unit, family, variant.limits);
    return limits === null ? [] : [{ variant, limits }];
  });
  const sure = candidates.find(({ variant, limits }) =>
    needsNothing(variant) && limits.length === 0
  );
  if (sure !== undefined) return candidates;
  const resort = family.variants.find(needsNothing);
  if (resort === undefined) throw new Error(`${family.name} has no variant for every device`);
  return [...candidates, { variant: resort, limits: [] }];
}

/** Bytes of workgroup memory that every device has (WebGPU's default limit). */
const WORKGROUP_BYTES = 16384;

/** True for a variant that runs on every device. */
function needsNothing(variant: Variant): boolean {
  const { adapter, features = [], workgroupBytes, after } = variant;
  return adapter !== "hardware" && features.length === 0 &&
    workgroupBytes <= WORKGROUP_BYTES && after === undefined;
}

/** Those of `limits` that are not proved to hold; null where one is proved not to. */
function limitsOf(
  { use }: KernelUnit,
  family: Family,
  limits: readonly Limit[],
): SizeLimit[] | null {
  const open: SizeLimit[] = [];
  for (const { size, is, number } of limits) {
    const literal = use.constants?.[size];
    const value = literal === undefined ? use.sizes[size] : integer(literal);
    if (value === undefined) throw new Error(`${family.name} has no size "${size}"`);
    const bound = integer(number);
    const [holds, fails] = is === "at least"
      ? [isNotNegative(subtract(value, bound)), isLess(value, bound)]
      : [isNotNegative(subtract(bound, value)), isLess(bound, value)];
    if (fails) return null;
    if (holds) continue;
    const at = family.sizes.indexOf(size);
    open.push(is === "at least" ? { size: at, least: number } : { size: at, most: number });
  }
  return open;
}

/** `tiles` by the indices of sizes; those that only two passes have, by the sizes they are parts of. */
export function tilesOf(
  family: Family,
  tiles: readonly (readonly [size: string, tile: number])[],
  after: FirstPass | undefined,
): Tiles {
  return tiles.map(([name, tile]) => {
    const part = after?.sizes[name];
    // ceil(ceil(size / by) / tile) = ceil(size / (by * tile))
    const at = family.sizes.indexOf(part?.size ?? name);
    if (at < 0) throw new Error(`${family.name} has no size "${name}"`);
    return [at, (part?.by ?? 1) * tile];
  });
}
