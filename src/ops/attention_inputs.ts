/**
 * What the attention ops of com.microsoft have in common: heads that lie side by side in a projection,
 * and the forms that a mask of keys has.
 */
import { add, type Integer, integer, multiply, scaled, ZERO } from "../expr/integer.ts";
import { apply, convert, fromInteger, select, type Value } from "../expr/value.ts";
import { float, plus } from "./arithmetic.ts";
import { maskAt } from "./attention.ts";
import { equal } from "./extents.ts";
import { type OpCall, type Operand, operand } from "./op.ts";
import { type Heads, headsOf, type Pair } from "./scaled_attention.ts";

/** Heads in `tensor` (N, positions, width), which begin at `start` of each row, plus `bias`. */
export function headsIn(
  tensor: Operand,
  heads: Integer,
  size: Integer,
  start: Integer,
  bias: Operand | null = null,
): Heads {
  return {
    batch: tensor.dims[0]!,
    heads,
    length: tensor.dims[1]!,
    size,
    at: (sample, head, position, element) => {
      const place = add(start, multiply(head, size), element);
      const value = tensor.at([sample, position, place]);
      return bias === null ? value : plus(value, bias.at([place]));
    },
  };
}

const isZero = (value: Value): Value => apply("equal", convert("i32", value), fromInteger(ZERO));

/**
 * What lengths of samples add: for N of them each sample's end, for 2 N the ends and then the
 * beginnings, for 3 N + 2 the lengths and then where samples begin among all, which follows from them.
 */
function lengthsBias(
  call: OpCall,
  mask: Operand,
  batch: Integer,
  added: (masked: Value) => Value,
): Pair {
  const count = mask.dims[0]!;
  const isOf = (extent: Integer): Value => equal(count, extent);
  const forms = [batch, scaled(batch, 2), add(scaled(batch, 3), integer(2))] as const;
  call.check(
    forms.map(isOf).reduce((a, b) => apply("or", a, b)),
    "its mask has as many lengths as no form of it has",
  );
  const isBeyond = (value: Value, key: Integer): Value =>
    apply("greaterOrEqual", fromInteger(key), convert("i32", value));
  return (n, _h, _i, key) => {
    const beyond = isBeyond(mask.at([n]), key);
    const begins = isOf(forms[1]);
    const isOutside = (): Value =>
      apply("or", beyond, apply("not", isBeyond(mask.at([add(n, batch)]), key)));
    return added(select(begins, isOutside(), beyond));
  };
}

/** What a mask of lengths or of flags adds to the logits: 0 or `filter`. */
export function paddingBias(
  call: OpCall,
  mask: Operand | null,
  batch: Integer,
  past: Integer,
  filter: number,
): Pair | null {
  if (mask === null) return null;
  const added = (masked: Value): Value => select(masked, float(filter), float(0));
  switch (mask.dims.length) {
    case 1:
      return lengthsBias(call, mask, batch, added);
    case 2:
      return (n, _h, _i, key) => added(isZero(mask.at([n, key])));
    case 3:
      return (n, _h, i, key) => added(isZero(mask.at([n, i, key])));
    case 4:
      return (n, _h, i, key) => added(isZero(mask.at([n, ZERO, add(i, past), key])));
    default:
      return call.fail(`its mask has rank ${mask.dims.length}`);
  }
}

/** What all of `parts` add. */
export function total(parts: readonly (Pair | null)[]): Pair | null {
  const held = parts.filter((part) => part !== null);
  if (held.length === 0) return null;
  return (...pair) => held.map((part) => part(...pair)).reduce((a, b) => plus(a, b));
}

/** An addend whose samples and heads may be shared. */
export function addendOf(bias: Operand | null, dims: readonly Integer[]): Pair | null {
  return bias && maskAt(bias, dims, float(0));
}

/** The number of heads that the attribute `name` says. */
export function headCount(call: OpCall, name = "num_heads"): Integer {
  const count = call.int(name, 0);
  return count < 1 ? call.fail(`${name} must be 1 or more`) : integer(count);
}

/** `heads` as a tensor of their own. */
export function stored(call: OpCall, like: Operand, heads: Heads): Heads {
  return headsOf(
    call.stored(operand(
      like.dtype,
      [heads.batch, heads.heads, heads.length, heads.size],
      ([n, head, position, element]) => heads.at(n!, head!, position!, element!),
    )),
    null,
  );
}
