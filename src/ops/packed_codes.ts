/**
 * Codes in bytes, private ops of the domain "modelcast" that the passes make. 4 and 2 bits lie in bytes
 * and 3 bits in groups of three bytes, the lowest bits first; or 3 bits lie in planes: uint8 planes L0, L1 (2-bit halves) and H (high bits). Weight i of a block of b weights, with
 * q = b / 4, s = floor(i / q), r = i mod q, j = floor(r / 2), h = r mod 2: code bits 0 and 1 are bits
 * 4h + 2 (s mod 2) and the next of byte j of L[floor(s / 2)], code bit 2 is bit 4h + s of byte j of H.
 */
import { divide, minimum, modulo } from "../expr/bounds.ts";
import { add, asNumber, type Integer, integer, scaled, ZERO } from "../expr/integer.ts";
import { apply, constant, convert, fromInteger, select, type Value } from "../expr/value.ts";
import { blockProduct, unpacked } from "./block_quantized.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";

/** Domain of the ops that only passes make. */
export const CODES_DOMAIN = "modelcast";

/** Where a code lies: its half of the block, the quarter in it, the byte and the byte's half. */
interface CodePlace {
  readonly plane: Integer;
  readonly quarter: Integer;
  readonly half: Integer;
}

/** The 3-bit code at `place`, from readers of the byte that it lies in. */
function codeAt(
  { plane, quarter, half }: CodePlace,
  low: readonly [() => Value, () => Value],
  high: () => Value,
): Value {
  const bits = (byte: Value, first: Integer, mask: number): Value =>
    apply(
      "bitAnd",
      apply("shiftRight", byte, convert("u32", fromInteger(first))),
      constant("u32", mask),
    );
  const which = asNumber(plane);
  const byte = which === null
    ? select(apply("equal", fromInteger(plane), constant("i32", 0)), low[0](), low[1]())
    : low[which === 0 ? 0 : 1]();
  const nibble = scaled(half, 4);
  const two = bits(byte, add(nibble, scaled(quarter, 2)), 3);
  const one = bits(high(), add(nibble, add(scaled(plane, 2), quarter)), 1);
  return apply("bitOr", two, apply("shiftLeft", one, constant("u32", 2)));
}

/** Planes [n, blocks, 1, 1, bytes, 1] as int32 codes [n, blocks, 2, 2, bytes, 2]. */
function codes(call: OpCall): readonly Operand[] {
  const [low0, low1, high] = [call.input(0), call.input(1), call.input(2)];
  const [rows, blocks, , , bytes] = high.dims;
  const two = integer(2);
  return [
    operand("int32", [rows!, blocks!, two, two, bytes!, two], (indices) => {
      const [n, block, plane, quarter, byte, half] = indices as Integer[];
      const place = [n!, block!, ZERO, ZERO, byte!, ZERO];
      const code = codeAt(
        { plane: plane!, quarter: quarter!, half: half! },
        [() => low0.at(place), () => low1.at(place)],
        () => high.at(place),
      );
      return convert("i32", code);
    }),
  ];
}

/**
 * A [..., K] times the transpose of weights [N, K] whose codes are planes [N, blocks, bytes]; the other
 * inputs as MatMulNBits of 4 bits has them.
 */
function product(call: OpCall): readonly Operand[] {
  const planes = [call.input(1), call.input(2), call.input(3)] as const;
  const quarter = call.int("block_size", 0) / 4;
  return [
    blockProduct(call, 4, 4, (n, block, i) => {
      const segment = divide(i, integer(quarter));
      const rest = modulo(i, integer(quarter));
      const place = [n, block, divide(rest, integer(2))];
      return codeAt(
        {
          plane: divide(segment, integer(2)),
          quarter: modulo(segment, integer(2)),
          half: modulo(rest, integer(2)),
        },
        [() => planes[0].at(place), () => planes[1].at(place)],
        () => planes[2].at(place),
      );
    }),
  ];
}

/**
 * A [..., K] times the transpose of weights [N, K] whose 2-bit codes are bytes [N, blocks, bytes]; the
 * other inputs as MatMulNBits of 4 bits has them.
 */
function twoBitProduct(call: OpCall): readonly Operand[] {
  const codes = unpacked(call, 1, 2);
  return [blockProduct(call, 4, 2, (n, block, i) => codes.at([n, block, i]))];
}

/** Bytes [..., 1] of 4 or 2-bit codes, or [..., 3] of 3-bit ones, as int32 codes [..., codes]. */
function packedCodes(call: OpCall): readonly Operand[] {
  const bits = call.int("bits", 0);
  const bytes = call.input(0);
  if (bits !== 3) {
    const given = unpacked(call, 0, bits);
    return [operand("int32", given.dims, (indices) => convert("i32", given.at(indices)))];
  }
  const dims = [...bytes.dims.slice(0, -1), integer(8)];
  return [
    operand("int32", dims, (indices) => {
      const lead = indices.slice(0, -1);
      const first = scaled(indices.at(-1)!, 3);
      const byte = divide(first, integer(8));
      const shift = convert("u32", fromInteger(modulo(first, integer(8))));
      const low = apply("shiftRight", bytes.at([...lead, byte]), shift);
      // The last byte has no next one, and all of its last code.
      const next = minimum(add(byte, integer(1)), integer(2));
      const high = apply(
        "shiftLeft",
        bytes.at([...lead, next]),
        apply("sub", constant("u32", 8), shift),
      );
      const code = apply("bitAnd", apply("bitOr", low, high), constant("u32", 7));
      return convert("i32", code);
    }),
  ];
}

/** The ops that the passes make of packed codes. */
export const PACKED_CODE_OPS: readonly OpRecord[] = [
  { name: "MatMulThreeBits", domain: CODES_DOMAIN, since: 1, lower: product },
  { name: "MatMulTwoBits", domain: CODES_DOMAIN, since: 1, lower: twoBitProduct },
  { name: "PackedCodes", domain: CODES_DOMAIN, since: 1, lower: packedCodes },
  { name: "ThreeBitCodes", domain: CODES_DOMAIN, since: 1, lower: codes },
];
