/** Random calls of operators that move elements, and of those that pick some of them. */
import type { DType } from "../../src/dtype.ts";
import { elementCount, int, ints } from "../../src/ir.ts";
import { type Draw, fixed, type Given, given, text } from "./draw.ts";
import type { Generators } from "./elementwise.ts";

const ANY = ["float32", "float16", "int64", "int32", "uint8", "bool", "int8"] as const;

/** A tensor of any type. */
const anything = (draw: Draw, dims: readonly number[]): Given => draw.tensor(draw.pick(ANY), dims);

/** Valid indices into `extent` positions, negative ones too. */
function indices(draw: Draw, dims: readonly number[], extent: number): Given {
  return draw.tensor(draw.pick(["int64", "int32"]), dims, -extent, extent - 1);
}

/** Everything of this kind. */
export const MOVEMENT: Generators = {
  Transpose: (draw) => {
    const x = anything(draw, draw.shape(0, 5));
    const order = draw.shuffled(x.dims.map((_, i) => i));
    return {
      op: "Transpose",
      operands: [x],
      outputs: [x.dtype],
      attributes: draw.chance(0.8) ? [ints("perm", order)] : [],
    };
  },
  Reshape: (draw) => {
    const x = anything(draw, draw.shape(1, 4, false));
    const count = elementCount(x.dims);
    const shape = draw.pick([
      [-1],
      [0, -1],
      [count],
      [1, -1, 1],
      [...x.dims].reverse(),
      [...x.dims, 1],
    ]);
    return { op: "Reshape", operands: [x, draw.integers(shape)], outputs: [x.dtype] };
  },
  Flatten: (draw) => {
    const x = anything(draw, draw.shape(1, 4));
    const axis = draw.between(-x.dims.length, x.dims.length);
    return {
      op: "Flatten",
      operands: [x],
      outputs: [x.dtype],
      attributes: [int("axis", axis)],
    };
  },
  Squeeze: (draw) => {
    const dims = draw.shape(0, 3, false);
    const place = draw.between(0, dims.length);
    const x = anything(draw, dims.toSpliced(place, 0, 1));
    const axis = draw.chance(0.5) ? place : place - x.dims.length;
    const axes = fixed(given("int64", [1], [axis]));
    return { op: "Squeeze", operands: [x, axes], outputs: [x.dtype] };
  },
  Unsqueeze: (draw) => {
    const x = anything(draw, draw.shape(0, 3));
    const count = draw.between(1, 2);
    const axes = draw.axes(x.dims.length + count, count);
    return { op: "Unsqueeze", operands: [x, draw.integers(axes)], outputs: [x.dtype] };
  },
  Expand: (draw) => {
    const dims = draw.shape(1, 4);
    const x = anything(draw, draw.broadcast(dims));
    return { op: "Expand", operands: [x, draw.integers(dims)], outputs: [x.dtype] };
  },
  Tile: (draw) => {
    const x = anything(draw, draw.shape(1, 4));
    const repeats = x.dims.map(() => draw.between(0, 3));
    return { op: "Tile", operands: [x, draw.integers(repeats)], outputs: [x.dtype] };
  },
  Concat: (draw) => {
    const dims = draw.shape(1, 4);
    const dtype = draw.pick(ANY);
    const axis = draw.axis(dims.length);
    const operands = Array.from(
      { length: draw.between(1, 5) },
      () =>
        draw.maybeFixed(
          draw.tensor(dtype, dims.with(axis < 0 ? axis + dims.length : axis, draw.extent())),
        ),
    );
    return { op: "Concat", operands, outputs: [dtype], attributes: [int("axis", axis)] };
  },
  Split: (draw) => {
    const dims = draw.shape(1, 4, false);
    const axis = draw.axis(dims.length);
    const parts = Array.from({ length: draw.between(1, 4) }, () => draw.between(0, 4));
    const total = parts.reduce((a, b) => a + b, 0);
    const x = anything(draw, dims.with(axis < 0 ? axis + dims.length : axis, total));
    return {
      op: "Split",
      operands: [x, draw.integers(parts)],
      outputs: parts.map(() => x.dtype),
      attributes: [int("axis", axis)],
    };
  },
  "Split by number": (draw) => {
    const dims = draw.shape(1, 4, false);
    const axis = draw.axis(dims.length);
    const x = anything(draw, dims.with(axis < 0 ? axis + dims.length : axis, draw.between(5, 9)));
    const count = draw.between(1, 4);
    return {
      op: "Split",
      operands: [x],
      outputs: Array.from({ length: count }, () => x.dtype),
      attributes: [int("axis", axis), int("num_outputs", count)],
    };
  },
  Slice: (draw) => {
    const x = anything(draw, draw.shape(1, 4));
    const axes = draw.axes(x.dims.length, draw.between(1, x.dims.length));
    const dtype = draw.pick(["int64", "int32"] as const);
    const steps = axes.map(() => draw.pick([1, 1, 2, 3, -1, -2]));
    const limit = (): number => draw.chance(0.15) ? draw.pick([-999, 999]) : draw.between(-8, 8);
    const all = draw.chance(0.3) && axes.length === x.dims.length;
    return {
      op: "Slice",
      operands: [
        x,
        draw.integers(axes.map(limit), dtype),
        draw.integers(axes.map(limit), dtype),
        all ? null : draw.integers(axes, dtype),
        ...(draw.chance(0.7) ? [draw.integers(steps, dtype)] : []),
      ],
      outputs: [x.dtype],
    };
  },
  Pad: (draw) => {
    const mode = draw.pick(["constant", "constant", "reflect", "edge", "wrap"]);
    const dtype = draw.pick(["float32", "float16", "int32", "int64", "uint8", "int8"] as const);
    const dims = draw.shape(1, 4, mode === "constant");
    const axes = draw.chance(0.4) ? draw.axes(dims.length, draw.between(1, dims.length)) : null;
    const own = axes?.map((axis) => dims.at(axis)!) ?? dims;
    const amount = (extent: number): number =>
      mode === "constant"
        ? draw.between(extent > 2 ? -1 : 0, 3)
        : draw.between(0, Math.max(0, extent - 1));
    const pads = [...own.map(amount), ...own.map(amount)];
    const value = draw.maybe(() => draw.maybeFixed(draw.tensor(dtype, [])));
    return {
      op: "Pad",
      operands: [
        draw.tensor(dtype, dims),
        draw.integers(pads),
        mode === "constant" ? value : null,
        ...(axes === null ? [] : [draw.integers(axes)]),
      ],
      outputs: [dtype],
      attributes: [text("mode", mode)],
    };
  },
  CenterCropPad: (draw) => {
    const x = draw.tensor(draw.pick(["float32", "int32"]), draw.shape(1, 4, false));
    const axes = draw.axes(x.dims.length, draw.between(1, x.dims.length));
    const shape = axes.map(() => draw.between(1, 9));
    return {
      op: "CenterCropPad",
      operands: [x, draw.integers(shape)],
      outputs: [x.dtype],
      attributes: [ints("axes", axes)],
    };
  },
  Gather: (draw) => {
    const x = anything(draw, draw.shape(1, 4, false));
    const axis = draw.axis(x.dims.length);
    return {
      op: "Gather",
      operands: [x, draw.maybeFixed(indices(draw, draw.shape(0, 3), x.dims.at(axis)!))],
      outputs: [x.dtype],
      attributes: draw.chance(0.8) || axis !== 0 ? [int("axis", axis)] : [],
    };
  },
  GatherElements: (draw) => {
    const x = anything(draw, draw.shape(1, 4, false));
    const axis = draw.axis(x.dims.length);
    const at = axis < 0 ? axis + x.dims.length : axis;
    const dims = x.dims.map((extent, d) => d === at ? draw.between(0, 6) : extent);
    return {
      op: "GatherElements",
      operands: [x, draw.maybeFixed(indices(draw, dims, x.dims[at]!))],
      outputs: [x.dtype],
      attributes: [int("axis", axis)],
    };
  },
  GatherND: (draw) => {
    const batch = draw.shape(0, 1, false);
    const rest = draw.shape(1, 3, false);
    const x = anything(draw, [...batch, ...rest]);
    const depth = draw.between(1, rest.length);
    const least = Math.min(...rest.slice(0, depth));
    const places = draw.tensor("int64", [...batch, ...draw.shape(0, 2), depth], -least, least - 1);
    return {
      op: "GatherND",
      operands: [x, { ...draw.maybeFixed(places), static: true }],
      outputs: [x.dtype],
      attributes: [int("batch_dims", batch.length)],
    };
  },
  ScatterElements: (draw) => {
    const dtype = draw.pick(["float32", "int32", "int64"] as const);
    const x = draw.tensor(dtype, draw.shape(1, 3, false));
    const axis = draw.axis(x.dims.length);
    const reduction = draw.pick(["none", "add", "mul", "min", "max"]);
    const extent = x.dims.at(axis)!;
    const at = axis < 0 ? axis + x.dims.length : axis;
    // Without a reduction each place is written once at most.
    const count = draw.between(1, extent);
    const dims = x.dims.map((own, d) => d === at ? count : own);
    const inner = elementCount(dims.slice(at + 1));
    const shift = draw.between(0, extent - 1);
    const unique = given(
      "int64",
      dims,
      Array.from({ length: elementCount(dims) }, (_, i) => {
        const place = (Math.floor(i / inner) + shift) % extent;
        return i % 2 === 0 ? place : place - extent;
      }),
    );
    const places = reduction === "none" ? unique : indices(draw, dims, extent);
    return {
      op: "ScatterElements",
      operands: [x, draw.maybeFixed(places), draw.tensor(dtype, dims)],
      outputs: [dtype],
      attributes: [int("axis", axis), text("reduction", reduction)],
    };
  },
  ScatterND: (draw) => {
    const dtype = draw.pick(["float32", "int32", "int64"] as const);
    const x = draw.tensor(dtype, draw.shape(1, 3, false));
    const depth = draw.between(1, x.dims.length);
    const reduction = draw.pick(["none", "add", "mul", "min", "max"]);
    const count = draw.between(1, x.dims[0]!);
    const rows = draw.shuffled(Array.from({ length: x.dims[0]! }, (_, i) => i)).slice(0, count);
    const places = rows.flatMap((row) =>
      Array.from({ length: depth }, (_, d) => d === 0 ? row : draw.between(0, x.dims[d]! - 1))
    );
    return {
      op: "ScatterND",
      operands: [
        x,
        { ...draw.maybeFixed(given("int64", [count, depth], places)), static: true },
        draw.tensor(dtype, [count, ...x.dims.slice(depth)]),
      ],
      outputs: [dtype],
      attributes: [text("reduction", reduction)],
    };
  },
  OneHot: (draw) => {
    const depth = draw.between(1, 6);
    const dtype = draw.pick(["float32", "int64", "float32"]);
    const places = draw.tensor(
      "int64",
      draw.shape(1, 3),
      -depth,
      depth - 1,
    );
    return {
      op: "OneHot",
      operands: [
        places,
        { ...draw.integer(depth), constant: true },
        draw.maybeFixed(draw.tensor(dtype, [2])),
      ],
      outputs: [dtype],
      attributes: [int("axis", draw.axis(places.dims.length + 1))],
    };
  },
  DepthToSpace: (draw) => {
    const block = draw.between(1, 3);
    const [n, c, h, w] = draw.shape(4, 4, false) as [number, number, number, number];
    const x = draw.tensor(draw.pick(["float32", "uint8"]), [n, c * block * block, h, w]);
    return {
      op: "DepthToSpace",
      operands: [x],
      outputs: [x.dtype],
      attributes: [int("blocksize", block), text("mode", draw.pick(["DCR", "CRD"]))],
    };
  },
  SpaceToDepth: (draw) => {
    const block = draw.between(1, 3);
    const [n, c, h, w] = draw.shape(4, 4, false) as [number, number, number, number];
    const x = draw.tensor("float32", [n, c, h * block, w * block]);
    return {
      op: "SpaceToDepth",
      operands: [x],
      outputs: [x.dtype],
      attributes: [int("blocksize", block)],
    };
  },
  ReverseSequence: (draw) => {
    const x = anything(draw, draw.shape(2, 4, false));
    const batch = draw.between(0, 1);
    const lengths = given(
      "int64",
      [x.dims[batch]!],
      Array.from({ length: x.dims[batch]! }, () => draw.between(1, x.dims[1 - batch]!)),
    );
    return {
      op: "ReverseSequence",
      operands: [x, draw.maybeFixed(lengths)],
      outputs: [x.dtype],
      attributes: [int("batch_axis", batch), int("time_axis", 1 - batch)],
    };
  },
  Trilu: (draw) => {
    const x = draw.tensor(draw.pick(["float32", "int64", "bool"]), draw.shape(2, 4));
    const k = draw.maybe(() => ({ ...draw.integer(draw.between(-4, 4)), dims: [] }));
    return {
      op: "Trilu",
      operands: [x, ...(k === null ? [] : [k])],
      outputs: [x.dtype],
      attributes: [int("upper", draw.between(0, 1))],
    };
  },
  Shape: (draw) => {
    const x = anything(draw, draw.shape(0, 4));
    return {
      op: "Shape",
      operands: [x],
      outputs: ["int64"],
      attributes: [int("start", draw.between(-5, 4)), int("end", draw.between(-5, 5))],
    };
  },
  Size: (draw) => ({
    op: "Size",
    operands: [anything(draw, draw.shape(0, 4))],
    outputs: ["int64"],
  }),
  ConstantOfShape: (draw) => ({
    op: "ConstantOfShape",
    operands: [draw.integers(draw.shape(0, 3))],
    outputs: ["float32"],
  }),
  EyeLike: (draw) => {
    const x = draw.tensor(draw.pick(["float32", "int32", "int64"] as const), draw.shape(2));
    return {
      op: "EyeLike",
      operands: [x],
      outputs: [x.dtype],
      attributes: [int("k", draw.between(-3, 3))],
    };
  },
  Range: (draw) => {
    const dtype = draw.pick(["int64", "int32", "float32"] as const);
    const delta = draw.pick([1, 2, 3, -1, -2]);
    const scalar = (value: number): Given => draw.maybeFixed(given(dtype, [], [value]));
    return {
      op: "Range",
      operands: [
        scalar(draw.between(-4, 4)),
        scalar(draw.between(-9, 9)),
        scalar(delta),
      ],
      outputs: [dtype],
    };
  },
  NonZero: (draw) => ({
    op: "NonZero",
    operands: [draw.tensor(draw.pick(["bool", "int32", "float32"]), draw.shape(1, 3), 0, 1)],
    outputs: ["int64"],
  }),
  Compress: (draw) => {
    const x = anything(draw, draw.shape(1, 3));
    const axis = draw.chance(0.7) ? draw.axis(x.dims.length) : null;
    const extent = axis === null ? elementCount(x.dims) : x.dims.at(axis)!;
    return {
      op: "Compress",
      operands: [x, draw.maybeFixed(draw.tensor("bool", [draw.between(0, extent)]))],
      outputs: [x.dtype],
      attributes: axis === null ? [] : [int("axis", axis)],
    };
  },
  Unique: (draw) => {
    const dtype: DType = draw.pick(["float32", "int64"]);
    const dims = draw.shape(1, 3, false);
    const x = draw.tensor("int64", dims, -2, 2);
    return {
      op: "Unique",
      operands: [dtype === "int64" ? x : given(dtype, dims, Array.from(x.data, Number))],
      outputs: [dtype, "int64", "int64", "int64"],
      attributes: [
        int("sorted", draw.between(0, 1)),
        ...(draw.chance(0.5) ? [int("axis", draw.axis(dims.length))] : []),
      ],
    };
  },
  TopK: (draw) => {
    const x = draw.tensor(draw.pick(["float32", "int64", "int32"]), draw.shape(1, 3, false));
    const axis = draw.axis(x.dims.length);
    const k = given("int64", [1], [draw.between(0, x.dims.at(axis)!)]);
    return {
      op: "TopK",
      operands: [x, { ...k, constant: draw.chance(0.6), static: true }],
      outputs: [x.dtype, "int64"],
      attributes: [int("axis", axis), int("largest", draw.between(0, 1))],
    };
  },
};
