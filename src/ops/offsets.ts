/** Positions in row-major order, over extents that may be symbols. */
import { divide, modulo } from "../expr/bounds.ts";
import { add, type Integer, multiply, ZERO } from "../expr/integer.ts";

/** The row-major position of the element at `indices` of a tensor of `dims`. */
export function rowMajor(dims: readonly Integer[], indices: readonly Integer[]): Integer {
  return indices.reduce((offset, index, i) => add(multiply(offset, dims[i]!), index), ZERO);
}

/** The indices of the element at the row-major position `offset` of a tensor of `dims`. */
export function indicesAt(dims: readonly Integer[], offset: Integer): readonly Integer[] {
  const indices: Integer[] = [];
  let rest = offset;
  for (let i = dims.length - 1; i >= 0; i--) {
    indices[i] = i === 0 ? rest : modulo(rest, dims[i]!);
    rest = divide(rest, dims[i]!);
  }
  return indices;
}
