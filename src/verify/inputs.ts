/**
 * The inputs that a verification runs on: the person's own from a `.npz`, a `.npy` or a picture, and
 * seeded ones for whatever those leave open. Extents that the model does not fix are found by
 * running the original: the likeliest first, then others, until it accepts them.
 */
import { InputError } from "../error.ts";
import { elementCount, type Model } from "../ir.ts";
import { type Given, type InputSource, readGiven, wanted } from "./given.ts";
import { type InputHints, inputHints } from "./hints.ts";
import { checkpoint, type Port, RuntimeCrash, RuntimeFault, type Session } from "./session.ts";
import {
  describeRole,
  dimKey,
  dimsOf,
  isRandom,
  type Role,
  roleOf,
  seededTensor,
  type Unknown,
  unknownsOf,
} from "./seeded.ts";
import { formatDims, type HostTensor } from "./values.ts";

export type { InputSource } from "./given.ts";

/** What one input was, for the report. */
export interface InputDescription {
  readonly name: string;
  readonly dtype: string;
  readonly dims: readonly number[];
  /** Where its values came from, in words. */
  readonly origin: string;
}

/** Inputs that the model accepts. */
export interface PreparedInputs {
  readonly descriptions: readonly InputDescription[];
  /** Inputs whose values depend on the seed. */
  readonly random: readonly string[];
  /** The inputs of sample `index`; the same ones each time. */
  sample(index: number): Map<string, HostTensor>;
}

/** Extents that something else than the model settles, by the names of symbolic dimensions. */
export interface InputExtents {
  readonly fixed: Readonly<Record<string, number>>;
  /** The largest that there may be. */
  readonly largest: Readonly<Record<string, number>>;
}

/** How inputs are made. */
export interface InputOptions {
  readonly source: InputSource | undefined;
  readonly extents: InputExtents | undefined;
  readonly seed: number;
  readonly signal: AbortSignal | undefined;
}

/** Elements that a made-up input may have. */
const MOST_ELEMENTS = 2 ** 28;

/** Runs of the model that the search for fitting extents may take. */
const MOST_TRIALS = 64;

/**
 * Finds inputs for `model`, loaded as `session`.
 *
 * @throws InputError where the source does not fit the model, or no seeded input does.
 */
export async function prepareInputs(
  model: Model,
  session: Session,
  { source, extents = { fixed: {}, largest: {} }, seed, signal }: InputOptions,
): Promise<PreparedInputs> {
  const hints = await inputHints(model);
  const ports = session.inputs.map((port) => settle(port, extents));
  const unfit = ports.find((port) => port.dtype === null);
  if (unfit !== undefined) {
    throw new InputError(
      `Cannot verify "${model.path}": its input "${unfit.name}" is of a type that ` +
        "onnxruntime-node can't be given. Convert without --verify.",
    );
  }
  const given = source === undefined
    ? new Map<string, Given>()
    : await readGiven(source, ports, model.path);
  const roles = new Map<string, Role>();
  for (const port of ports) {
    if (!given.has(port.name)) roles.set(port.name, roleOf(port, ports, hints.get(port.name)));
  }

  const unknowns = unknownsOf(ports, roles, hints).map((unknown) => bounded(unknown, extents));
  const settled = new Map(Object.entries(extents.fixed));
  const choice = await findFit(session, ports, roles, { settled, unknowns }, given, seed, signal);
  if (choice instanceof RuntimeFault) throw noFit(model, ports, hints, choice);
  const { assignment, variants } = choice;
  const sample = (index: number) => makeSample(ports, roles, variants, assignment, seed, index);
  const first = sample(0);
  return {
    descriptions: ports.map((port) => {
      const role = roles.get(port.name);
      const tensor = first.get(port.name)!;
      return {
        name: port.name,
        dtype: tensor.dtype,
        dims: tensor.dims,
        origin: role === undefined ? given.get(port.name)!.origin : describeRole(role, assignment),
      };
    }),
    random: [...roles].filter(([, role]) => isRandom(role)).map(([name]) => name),
    sample,
  };
}

/** `port` with the extents that are fixed; those that are bounded have a name. */
function settle(port: Port, { fixed, largest }: InputExtents): Port {
  return {
    ...port,
    dims: port.dims.map((dim, axis) => {
      if (typeof dim === "number") return dim;
      const name = dim ?? `${port.name}.${axis}`;
      return Object.hasOwn(fixed, name) ? fixed[name]! : Object.hasOwn(largest, name) ? name : dim;
    }),
  };
}

/** `unknown` without the candidates that are too large. */
function bounded(unknown: Unknown, { largest }: InputExtents): Unknown {
  const { key, candidates } = unknown;
  if (!Object.hasOwn(largest, key)) return unknown;
  const most = largest[key]!;
  const fitting = candidates.filter((candidate) => candidate <= most);
  return { key, candidates: fitting.length > 0 ? fitting : [most] };
}

/** Extents and variants that the model runs with. */
interface Fit {
  readonly assignment: Map<string, number>;
  readonly variants: ReadonlyMap<string, HostTensor>;
}

/** Searches for what the model accepts; the first run's fault where nothing is found. */
async function findFit(
  session: Session,
  ports: readonly Port[],
  roles: ReadonlyMap<string, Role>,
  { settled, unknowns }: {
    /** Extents that are known beforehand, which sums of names may have as a term. */
    readonly settled: ReadonlyMap<string, number>;
    readonly unknowns: readonly Unknown[];
  },
  given: ReadonlyMap<string, Given>,
  seed: number,
  signal: AbortSignal | undefined,
): Promise<Fit | RuntimeFault> {
  const fetches = session.outputs.filter((port) => port.dtype !== null).map((port) => port.name);
  let fault: RuntimeFault | null = null;
  let trials = 0;
  for (const variants of variantChoices(given)) {
    const fixed = bindGiven(ports, variants);
    for (const choice of choices(unknowns.filter(({ key }) => !fixed.has(key)))) {
      if (trials++ >= MOST_TRIALS) break;
      await checkpoint(signal);
      const assignment = new Map([...settled, ...fixed, ...choice]);
      try {
        await session.run(makeSample(ports, roles, variants, assignment, seed, 0), fetches);
        return { assignment, variants };
      } catch (error) {
        if (!(error instanceof RuntimeFault) || error instanceof RuntimeCrash) throw error;
        fault ??= error;
      }
    }
  }
  return fault ?? new RuntimeFault("there was nothing to try");
}

/** The combinations of variants to try: all the first ones, then each other one alone. */
function* variantChoices(given: ReadonlyMap<string, Given>): Generator<Map<string, HostTensor>> {
  const first = new Map([...given].map(([name, { variants }]) => [name, variants[0]!]));
  yield first;
  for (const [name, { variants }] of given) {
    for (const variant of variants.slice(1)) yield new Map(first).set(name, variant);
  }
}

/**
 * Assignments to try: the first candidate of every unknown, then one unknown changed at a time, then
 * two.
 */
function* choices(unknowns: readonly Unknown[]): Generator<Map<string, number>> {
  const first = new Map(unknowns.map(({ key, candidates }) => [key, candidates[0]!]));
  yield first;
  for (const { key, candidates } of unknowns) {
    for (const value of candidates.slice(1)) yield new Map(first).set(key, value);
  }
  for (let i = 0; i < unknowns.length; i++) {
    for (let j = i + 1; j < unknowns.length; j++) {
      for (const a of unknowns[i]!.candidates.slice(1)) {
        for (const b of unknowns[j]!.candidates.slice(1)) {
          yield new Map(first).set(unknowns[i]!.key, a).set(unknowns[j]!.key, b);
        }
      }
    }
  }
}

/** The inputs of sample `index`. */
function makeSample(
  ports: readonly Port[],
  roles: ReadonlyMap<string, Role>,
  variants: ReadonlyMap<string, HostTensor>,
  assignment: ReadonlyMap<string, number>,
  seed: number,
  index: number,
): Map<string, HostTensor> {
  return new Map(ports.map((port) => {
    const role = roles.get(port.name);
    if (role === undefined) return [port.name, variants.get(port.name)!];
    const dims = dimsOf(port, assignment);
    if (elementCount(dims) > MOST_ELEMENTS) {
      throw new InputError(
        `Cannot make up input "${port.name}": ${formatDims(dims)} is more than ${MOST_ELEMENTS} ` +
          "elements. Give inputs of your own with --inputs.",
      );
    }
    return [port.name, seededTensor(port, role, dims, assignment, `${seed}:${index}`)];
  }));
}

/** The symbolic extents that given tensors settle. */
function bindGiven(
  ports: readonly Port[],
  variants: ReadonlyMap<string, HostTensor>,
): Map<string, number> {
  const bound = new Map<string, number>();
  for (const port of ports) {
    const tensor = variants.get(port.name);
    if (tensor === undefined) continue;
    port.dims.forEach((dim, axis) => {
      if (typeof dim !== "number") bound.set(dimKey(port, axis), tensor.dims[axis]!);
    });
  }
  return bound;
}

/** The error for a model that accepted nothing that was tried. */
function noFit(
  model: Model,
  ports: readonly Port[],
  hints: ReadonlyMap<string, InputHints>,
  fault: RuntimeFault,
): InputError {
  const vocabulary = ports.flatMap((port) => {
    const found = hints.get(port.name)?.vocabulary;
    return found ? [`  values of "${port.name}" stay below ${found.rows}`] : [];
  });
  return new InputError(
    `Cannot find inputs for "${model.path}": it accepted none that were tried. The first answer ` +
      `was: ${fault.message}. Give inputs that fit with --inputs data.npz, made by ` +
      `numpy.savez("data.npz", name=array, ...).\n${[wanted(ports), ...vocabulary].join("\n")}`,
    { cause: fault },
  );
}
