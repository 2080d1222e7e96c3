/**
 * Inputs made up for a model: extents for its symbolic dimensions and values that fit what each input
 * is for, which is read from its name, element type, rank and from the graph. The same seed gives the
 * same values on every machine.
 */
import { elementCount } from "../ir.ts";
import type { InputHints } from "./hints.ts";
import { Random } from "./random.ts";
import { picturePattern } from "./pattern.ts";
import type { Port } from "./session.ts";
import { fromNumbers, type HostTensor, type HostType, isFloatType } from "./values.ts";

/** What an input is for. */
export type Role =
  | { readonly kind: "tokens"; readonly rows: number; readonly table: string }
  | { readonly kind: "mask" }
  | { readonly kind: "positions" }
  | { readonly kind: "zeros"; readonly what: string }
  | { readonly kind: "constant"; readonly value: number; readonly what: string }
  | { readonly kind: "length" }
  | { readonly kind: "state" }
  | { readonly kind: "picture" }
  | { readonly kind: "audio" }
  | { readonly kind: "integers" }
  | { readonly kind: "booleans" }
  | { readonly kind: "strings" }
  | { readonly kind: "numbers" };

/** A number that has to be chosen so that the model runs: a symbolic extent, or a value's bound. */
export interface Unknown {
  readonly key: string;
  /** Values worth trying, the likeliest first. */
  readonly candidates: readonly number[];
}

/** Key of the number below which integers of unknown meaning stay. */
const INTEGER_BOUND = "#integers";

/** Values of the unknowns, by key. */
export type Assignment = ReadonlyMap<string, number>;

const SEQUENCE = [16, 32, 64, 128, 8, 4, 1, 256, 512];
const SIDES = [224, 320, 256, 640, 64, 32, 512, 299];
const AUDIO = [512, 16000, 480, 1024, 1600, 1536, 32000, 256];
const ANYTHING = [16, 1, 2, 4, 8, 32, 64, 128, 256, 512, 3];

/** The key of axis `axis` of `port`: the extent's name, or one of its own where it has none. */
export function dimKey(port: Port, axis: number): string {
  const dim = port.dims[axis];
  return typeof dim === "string" ? dim : `${port.name}:${axis}`;
}

/** What `port` is for. `ports` are all inputs of the model. */
export function roleOf(port: Port, ports: readonly Port[], hints: InputHints | undefined): Role {
  const { name, dims } = port;
  const dtype = port.dtype ?? "float32";
  const plain = name.toLowerCase();
  const single = dims.every((dim) => dim === 1) || dims.length === 0;
  if (dtype === "string") return { kind: "strings" };
  if (/mask/.test(plain)) return { kind: "mask" };
  if (dtype === "bool") {
    return single ? { kind: "zeros", what: "false" } : { kind: "booleans" };
  }
  if (!isFloatType(dtype)) {
    const compared = hints?.comparedWith.filter((value) => value > 0) ?? [];
    if (/position|pos_id|^pos$/.test(plain)) return { kind: "positions" };
    if (/token_type|segment/.test(plain)) return { kind: "zeros", what: "token type 0" };
    if (single && isSampleRate(port)) {
      const value = compared[0] ?? 16000;
      return { kind: "constant", value, what: `sample rate ${value}` };
    }
    if (hints?.vocabulary) return { kind: "tokens", ...hints.vocabulary };
    if (compared[0] !== undefined) {
      return { kind: "constant", value: compared[0], what: "a value that the model tests for" };
    }
    if (/len(gth)?s?$/.test(plain) && dims.length <= 1) return { kind: "length" };
    if (isPictureShaped(port)) return { kind: "picture" };
    return { kind: "integers" };
  }
  if (/state|hidden|cell|past|cache|memory|^[hc]_?\d*(_in)?$/.test(plain)) return { kind: "state" };
  if (isPictureShaped(port)) return { kind: "picture" };
  const rate = ports.some(isSampleRate);
  if (dims.length <= 3 && (rate || /audio|wav|speech|pcm|sound|signal/.test(plain))) {
    return { kind: "audio" };
  }
  return { kind: "numbers" };
}

/** The unknowns that the inputs `ports` leave open, each with the candidates worth trying. */
export function unknownsOf(
  ports: readonly Port[],
  roles: ReadonlyMap<string, Role>,
  hints: ReadonlyMap<string, InputHints>,
): Unknown[] {
  const unknowns = new Map<string, Unknown>();
  for (const port of ports) {
    const role = roles.get(port.name);
    if (role === undefined) continue;
    port.dims.forEach((dim, axis) => {
      if (typeof dim === "number") return;
      const key = dimKey(port, axis);
      if (unknowns.has(key) || sumTerms(key) !== null) return;
      const nearby = role.kind === "numbers" ? hints.get(port.name)?.nearbyExtents ?? [] : [];
      const usual = candidatesOf(port, axis, role);
      // What a matrix multiplies has the matrix's extent along its last axis.
      const all = axis > 0 && axis === port.dims.length - 1
        ? [...nearby, ...usual]
        : [...usual, ...nearby];
      unknowns.set(key, { key, candidates: [...new Set(all)] });
    });
    if (role.kind === "integers") {
      unknowns.set(INTEGER_BOUND, { key: INTEGER_BOUND, candidates: [10, 2, 1] });
    }
  }
  return [...unknowns.values()];
}

/** Extents of `port` under `assignment`; sums of names and numbers are added up. */
export function dimsOf(port: Port, assignment: Assignment): number[] {
  return port.dims.map((dim, axis) => {
    if (typeof dim === "number") return dim;
    const key = dimKey(port, axis);
    const known = assignment.get(key);
    if (known !== undefined) return known;
    const terms = sumTerms(key);
    return terms === null
      ? 1
      : terms.reduce((sum, term) => sum + (Number(term) || (assignment.get(term) ?? 0)), 0);
  });
}

/** A value for `port` with the extents `dims`. `seed` makes it repeatable. */
export function seededTensor(
  port: Port,
  role: Role,
  dims: readonly number[],
  assignment: Assignment,
  seed: string,
): HostTensor {
  const dtype = port.dtype ?? "float32";
  const random = new Random(`${seed}:${port.name}`);
  const count = elementCount(dims);
  const fill = (value: (index: number) => number) =>
    fromNumbers(dtype, dims, Float64Array.from({ length: count }, (_, i) => value(i)), port.name);
  switch (role.kind) {
    case "strings":
      return {
        dtype: "string",
        dims,
        data: Array.from({ length: count }, () => WORDS[random.integer(WORDS.length)]!),
      };
    case "mask":
      return fill(() => 1);
    case "zeros":
      return fill(() => 0);
    case "constant":
      return fill(() => role.value);
    case "positions": {
      const row = Math.max(1, dims.at(-1) ?? 1);
      return fill((index) => index % row);
    }
    case "length":
      return fill(() => longestExtent(assignment));
    case "tokens": {
      const rows = Math.min(role.rows, HIGHEST[dtype] ?? role.rows);
      return fill(() => random.integer(rows));
    }
    case "integers": {
      const bound = assignment.get(INTEGER_BOUND) ?? 10;
      return fill(() => random.integer(bound));
    }
    case "booleans":
      return fill(() => random.integer(2));
    case "state":
      return fill(() => 0.1 * random.normal());
    case "numbers":
      return fill(() => random.normal());
    case "audio":
      return fill(audioWave(random));
    case "picture": {
      const pixel = picturePattern(random, dims, channelAxisOf(port));
      return isFloatType(dtype)
        ? fill(pixel)
        : fill((index) => Math.round((pixel(index) + 1) * (dtype === "int8" ? 63.5 : 127.5)));
    }
    default:
      return role satisfies never;
  }
}

/** Whether the values of an input for `role` depend on the seed. */
export function isRandom(role: Role): boolean {
  return !["mask", "positions", "zeros", "constant", "length"].includes(role.kind);
}

/** What a seeded input's values are, for the report. */
export function describeRole(role: Role, assignment: Assignment): string {
  switch (role.kind) {
    case "tokens":
      return `random ids from 0 to ${role.rows - 1}, the rows of "${role.table}"`;
    case "mask":
      return "ones";
    case "positions":
      return "0, 1, 2, ... along the last axis";
    case "zeros":
      return `zeros (${role.what})`;
    case "constant":
      return role.what;
    case "length":
      return "the longest extent";
    case "state":
      return "small random values (normal, deviation 0.1)";
    case "picture":
      return "random figures on a shaded ground, from -1 to 1 (0 to 255 for bytes)";
    case "audio":
      return "random tones with noise";
    case "integers":
      return `random whole numbers below ${assignment.get(INTEGER_BOUND) ?? 10}`;
    case "booleans":
      return "random booleans";
    case "strings":
      return "random words";
    case "numbers":
      return "random values (normal, deviation 1)";
    default:
      return role satisfies never;
  }
}

/** Highest index that narrow integer types can hold, plus one. */
const HIGHEST: Readonly<Partial<Record<HostType, number>>> = {
  int8: 128,
  uint8: 256,
  int16: 32768,
  uint16: 65536,
};

const WORDS = ["one", "two", "red", "green", "water", "light", "morning", "paper"] as const;

/** Values worth trying for axis `axis` of `port`. */
function candidatesOf(port: Port, axis: number, role: Role): readonly number[] {
  const dim = port.dims[axis];
  const name = typeof dim === "string" ? dim.toLowerCase() : "";
  const rank = port.dims.length;
  if (/past|cache/.test(name)) return [0, 8, 16, 1];
  if (/batch|^n$|^b$|^bs$/.test(name)) return [1, 2];
  if (role.kind === "state") {
    if (!/seq|len/.test(name)) return [1, 2, 16, 64];
    // A cache may be empty; what an encoder gives is not.
    return /encoder/.test(name) ? SEQUENCE : [0, 8, 16, 1];
  }
  if (/height|width/.test(name) && role.kind !== "picture") return SIDES;
  if (axis === 0 && rank > 1) return [1, 2];
  switch (role.kind) {
    case "picture": {
      const channelAxis = channelAxisOf(port);
      if (axis === channelAxis) return [3, 1];
      // A picture of one fixed low height is a line of text.
      const fixed = port.dims.find((extent, at) =>
        at > 0 && at !== channelAxis && typeof extent === "number"
      );
      return typeof fixed === "number" && fixed <= 64 ? [320, ...SIDES] : SIDES;
    }
    case "audio":
      return AUDIO;
    case "length":
    case "constant":
      return [1, 2];
    case "numbers":
      return /seq|len|tok|time|frame/.test(name) ? SEQUENCE : ANYTHING;
    default:
      return SEQUENCE;
  }
}

/** Whether `port` is a picture: rank 4 with a channel axis of 1, 3 or 4, or two unknown sides. */
export function isPictureShaped(port: Port): boolean {
  const { dims, dtype } = port;
  if (dims.length !== 4 || dtype === null || dtype === "int64" || dtype === "int32") return false;
  const few = (dim: number | string | null | undefined) => dim === 1 || dim === 3 || dim === 4;
  return few(dims[1]) || few(dims[3]) ||
    (typeof dims[1] !== "number" && typeof dims[2] !== "number" && typeof dims[3] !== "number");
}

/** The channel axis of a picture input: 1, or 3 where only that extent is 1, 3 or 4. */
export function channelAxisOf(port: Port): 1 | 3 {
  const few = (dim: number | string | null | undefined) => dim === 1 || dim === 3 || dim === 4;
  return !few(port.dims[1]) && few(port.dims[3]) ? 3 : 1;
}

function isSampleRate(port: Port): boolean {
  return port.dims.every((dim) => dim === 1) && port.dtype !== null && !isFloatType(port.dtype) &&
    /^sr$|sampl(e|ing)_?rate/i.test(port.name);
}

/** The terms of an extent such as "past_length + 1"; null where `key` is no sum. */
export function sumTerms(key: string): string[] | null {
  const terms = key.split("+").map((term) => term.trim());
  return terms.length > 1 && terms.every((term) => /^\w+$/.test(term)) ? terms : null;
}

function longestExtent(assignment: Assignment): number {
  let longest = 1;
  for (const [key, value] of assignment) {
    if (key !== INTEGER_BOUND) longest = Math.max(longest, value);
  }
  return longest;
}

/** Three tones of random height, loudness and phase, and a little noise. */
function audioWave(random: Random): (index: number) => number {
  const tones = Array.from({ length: 3 }, () => ({
    step: 2 * Math.PI * (0.005 + 0.1 * random.next()),
    loudness: 0.05 + 0.15 * random.next(),
    phase: 2 * Math.PI * random.next(),
  }));
  return (index) =>
    tones.reduce(
      (sum, { step, loudness, phase }) => sum + loudness * Math.sin(step * index + phase),
      0.02 * random.normal(),
    );
}
