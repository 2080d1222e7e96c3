/**
 * Ops that draw random numbers (https://onnx.ai/onnx/operators/): RandomUniform, RandomNormal, those
 * like a tensor, and Bernoulli. ONNX leaves the generator open; a module draws by a hash of an
 * element's position and the node's seed, so that it gives the same numbers in every run. A node
 * without a seed has one made of its name.
 */
import { type DType, dtypeOfOnnx, DTYPES } from "../dtype.ts";
import { add, type Integer, integer, ONE, scaled } from "../expr/integer.ts";
import {
  apply,
  bitcast,
  call as hash,
  constant,
  convert,
  fromInteger,
  select,
  type Value,
} from "../expr/value.ts";
import { float, minus, plus, times } from "./arithmetic.ts";
import { rowMajor } from "./offsets.ts";
import { castTo, type OpCall, type Operand, operand, type OpRecord } from "./op.ts";

/** A number from 0 up to 1 that `seed` and `position` decide. */
export function uniform(seed: number, position: Integer): Value {
  const key = apply("bitXor", bitcast("u32", fromInteger(position)), constant("u32", seed >>> 0));
  const bits = apply("shiftRight", hash("pcgHash", "u32", key), constant("u32", 8));
  return times(convert("f32", bits), float(2 ** -24));
}

/** A number with the normal distribution (Box and Muller, 1958). */
function normal(seed: number, position: Integer): Value {
  const twice = scaled(position, 2);
  const radius = apply(
    "sqrt",
    times(float(-2), apply("log", minus(float(1), uniform(seed, twice)))),
  );
  return times(radius, apply("cos", times(float(2 * Math.PI), uniform(seed, add(twice, ONE)))));
}

/** The seed of a node: the bits of its attribute, else a hash of its first output's name (FNV-1a). */
function seedOf(call: OpCall): number {
  if (call.has("seed")) {
    return new Uint32Array(Float32Array.of(call.float("seed", 0)).buffer)[0]!;
  }
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(call.node.outputs[0] ?? "")) {
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  return hash >>> 0;
}

/** The type that the attribute names. */
function dtypeOf(call: OpCall, otherwise: DType): DType {
  const dtype = call.has("dtype") ? dtypeOfOnnx(call.int("dtype", 0)) : otherwise;
  return dtype ?? call.fail("its dtype is none of ONNX's");
}

type Draw = (seed: number, position: Integer) => Value;

/** What `draw` gives for every element of a tensor of `dims`. */
function drawn(call: OpCall, dtype: DType, dims: readonly Integer[], draw: Draw): Operand {
  if (DTYPES[dtype].kind !== "float") call.fail(`it draws numbers of ${dtype}`);
  const seed = seedOf(call);
  return operand(dtype, dims, (indices) => draw(seed, rowMajor(dims, indices)));
}

function between(call: OpCall): Draw {
  const [low, high] = [call.float("low", 0), call.float("high", 1)];
  return (seed, position) => plus(float(low), times(float(high - low), uniform(seed, position)));
}

function around(call: OpCall): Draw {
  const [mean, scale] = [call.float("mean", 0), call.float("scale", 1)];
  return (seed, position) => plus(float(mean), times(float(scale), normal(seed, position)));
}

/** An op whose dims an attribute says, and the one whose dims are an input's. */
function generators(name: string, draw: (call: OpCall) => Draw): readonly OpRecord[] {
  return [
    {
      name,
      domain: "",
      since: 22,
      lower: (call) => {
        const shape = call.ints("shape") ?? call.fail("it has no shape");
        return [drawn(call, dtypeOf(call, "float32"), shape.map(integer), draw(call))];
      },
    },
    {
      name: `${name}Like`,
      domain: "",
      since: 22,
      lower: (call) => {
        const { dtype, dims } = call.input(0);
        return [drawn(call, dtypeOf(call, dtype), dims, draw(call))];
      },
    },
  ];
}

const BERNOULLI: OpRecord = {
  name: "Bernoulli",
  domain: "",
  since: 22,
  lower: (call) => {
    const chances = call.input(0);
    const dtype = dtypeOf(call, chances.dtype);
    const seed = seedOf(call);
    return [
      operand(dtype, chances.dims, (indices) => {
        const position = rowMajor(chances.dims, indices);
        const isOne = apply("less", uniform(seed, position), chances.at(indices));
        return castTo(dtype, select(isOne, float(1), float(0)));
      }),
    ];
  },
};

/** https://onnx.ai/onnx/operators/ */
export const RANDOM_OPS: readonly OpRecord[] = [
  ...generators("RandomNormal", around),
  ...generators("RandomUniform", between),
  BERNOULLI,
];
