/**
 * Inputs for the trained models: of several sizes each, because one module has to take them all. Real
 * pictures where a picture tells more; the rest is made up by name, type and graph, and repeatable.
 */
import { fileURLToPath } from "node:url";
import type { Model } from "../src/ir.ts";
import { inputHints } from "../src/verify/hints.ts";
import { prepareInputs } from "../src/verify/inputs.ts";
import type { Session } from "../src/verify/session.ts";
import { roleOf, seededTensor } from "../src/verify/seeded.ts";
import { fromNumbers, type HostTensor, toFloat64 } from "../src/verify/values.ts";
import type { RealModel } from "../tests/real_models.ts";

/** One data set: a picture, perhaps its left columns alone, or extents by input, with values where made-up ones won't do. */
type InputSet =
  | { readonly picture: string; readonly columns?: number }
  | {
    readonly dims: Readonly<Record<string, readonly number[]>>;
    readonly values?: Readonly<Record<string, readonly number[]>>;
  };

const picture = (name: string, columns?: number): InputSet => ({
  picture: fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url)),
  ...(columns === undefined ? {} : { columns }),
});

const image = (...dims: readonly number[]): InputSet => ({ dims: { x: dims } });

const text = (batch: number, length: number): InputSet => ({
  dims: { input_ids: [batch, length], attention_mask: [batch, length] },
});

const sound = (samples: number, rate: number): InputSet => ({
  dims: { input: [1, samples], state: [2, 1, 128], sr: [] },
  values: { sr: [rate] },
});

const SEED = "1";

/** The recognizer has five widths of lines of text, MiniLM six lengths and a padded batch. */
const SETS: Readonly<Record<RealModel["label"], readonly InputSet[]>> = {
  classifier: [picture("line.png"), image(1, 3, 48, 192), image(3, 3, 48, 192)],
  detector: [picture("line.png"), picture("receipt.png", 160), image(2, 3, 96, 96)],
  recognizer: [
    picture("line.png"),
    picture("heading.png"),
    picture("receipt.png", 200),
    picture("line.png", 64),
    picture("heading.png", 160),
  ],
  silero: [sound(576, 16000), sound(288, 8000)],
  minilm: [
    ...[3, 8, 16, 33, 64, 128].map((length) => text(1, length)),
    {
      dims: { input_ids: [2, 12], attention_mask: [2, 12] },
      values: {
        attention_mask: Array.from({ length: 24 }, (_, index) => index < 19 ? 1 : 0),
      },
    },
  ],
};

/** The data sets of the trained model `label`, loaded as `session`: values by input. */
export async function realInputs(
  label: RealModel["label"],
  model: Model,
  session: Session,
): Promise<ReadonlyMap<string, HostTensor>[]> {
  const hints = await inputHints(model);
  const { inputs: ports } = session;
  const sets: ReadonlyMap<string, HostTensor>[] = [];
  for (const set of SETS[label]) {
    if ("picture" in set) {
      const source = { kind: "file", path: set.picture } as const;
      const given = (await prepareInputs(model, session, {
        source,
        extents: undefined,
        seed: Number(SEED),
        signal: undefined,
      })).sample(
        0,
      );
      const { columns } = set;
      sets.push(
        columns === undefined ? given : new Map(
          [...given].map(([name, tensor]) => [name, leftColumns(tensor, columns, name)]),
        ),
      );
      continue;
    }
    const values = new Map<string, HostTensor>();
    for (const port of ports) {
      const dims = set.dims[port.name];
      if (dims === undefined) throw new TypeError(`no extents for the input "${port.name}"`);
      const given = set.values?.[port.name];
      const role = roleOf(port, ports, hints.get(port.name));
      const seed = `${SEED}:${dims.join("x")}`;
      values.set(
        port.name,
        given === undefined
          ? seededTensor(port, role, dims, new Map(), seed)
          : fromNumbers(port.dtype ?? "float32", dims, given, port.name),
      );
    }
    sets.push(values);
  }
  return sets;
}

/** The first `columns` columns of a picture, or as many as it has. */
function leftColumns(tensor: HostTensor, columns: number, name: string): HostTensor {
  const width = tensor.dims.at(-1) ?? 1;
  const kept = Math.min(columns, width);
  const numbers = toFloat64(tensor).filter((_, index) => index % width < kept);
  return fromNumbers(tensor.dtype, [...tensor.dims.slice(0, -1), kept], numbers, name);
}
