/**
 * Upsample and Resize. Versions 7, 9 and 10 left the coordinates open; runtimes map output i of an
 * axis to i / scale, and in mode "nearest" round that down where the axis grows and up where it
 * shrinks. From version 11 on attributes say so, one rounding a node.
 */
import { elementCount, makeNode, type Node, type Tensor } from "../../ir.ts";
import { openTensor } from "../tensor.ts";
import { type Rewriter, stringAttribute, takeAttribute } from "./rewriter.ts";

/** Opset version at which Resize got its attributes. */
const RESIZE_ATTRIBUTES_SINCE = 11;

/** Upsample at 10: Resize that only grows. */
export function upsampleToResize(
  node: Node,
  rewriter: Rewriter,
): Node[] | { nodes: Node[]; version: number } {
  node.opType = "Resize";
  if (rewriter.target < RESIZE_ATTRIBUTES_SINCE) return [node];
  return { nodes: [resize(node, rewriter, "floor")], version: RESIZE_ATTRIBUTES_SINCE };
}

/** Resize at 11: input 1 moves to 2, the coordinates and the rounding become attributes. */
export function resizeAttributes(node: Node, rewriter: Rewriter): Node[] {
  if ((rewriter.plainText(node, "mode") ?? "nearest") !== "nearest") {
    return [resize(node, rewriter, null)];
  }
  const [data = "", scales = ""] = node.inputs;
  const [output = ""] = node.outputs;
  const constant = rewriter.constantOf(scales);
  const values = constant === null ? null : floats(constant);
  if (values?.every((scale) => scale >= 1)) return [resize(node, rewriter, "floor")];
  if (values?.every((scale) => scale <= 1)) return [resize(node, rewriter, "ceil")];
  // Axes are independent of each other: first those that grow, then those that shrink.
  const one = rewriter.constant("one", "float32", [], [1]);
  const [up, down, grown] = [
    rewriter.fresh(`${output}_scales_up`),
    rewriter.fresh(`${output}_scales_down`),
    rewriter.fresh(`${output}_grown`),
  ];
  const first = makeNode("Resize", "", [data, up], [grown], [...node.attributes]);
  node.inputs = [grown, down];
  return [
    makeNode("Max", "", [scales, one], [up]),
    makeNode("Min", "", [scales, one], [down]),
    resize(first, rewriter, "floor"),
    resize(node, rewriter, "ceil"),
  ];
}

function resize(node: Node, rewriter: Rewriter, rounding: "floor" | "ceil" | null): Node {
  const [data = "", scales = ""] = node.inputs;
  node.inputs = [data, rewriter.constant("roi", "float32", [0], []), scales];
  node.attributes.push(stringAttribute("coordinate_transformation_mode", "asymmetric"));
  if (rounding !== null) node.attributes.push(stringAttribute("nearest_mode", rounding));
  return node;
}

/** Most axes that scales are looked at for; hostile tensors are larger. */
const MOST_AXES = 64;

/** Values of a small float32 tensor, or null where it is of another kind. */
function floats(tensor: Tensor): number[] | null {
  if (tensor.dtype !== "float32" || tensor.data.kind === "pending") return null;
  if (elementCount(tensor.dims) > MOST_AXES) return null;
  const reader = openTensor(tensor);
  try {
    const bytes = new Uint8Array(reader.byteLength);
    reader.readSync(0, bytes);
    const view = new DataView(bytes.buffer);
    return Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(i * 4, true));
  } finally {
    reader.close();
  }
}

/** Rounding of `half_pixel` coordinates that equals one of `tf_half_pixel_for_nn` coordinates. */
const HALF_LESS: Readonly<Record<string, string>> = {
  floor: "round_prefer_ceil",
  round_prefer_floor: "ceil",
};

/**
 * Resize at 13: an unused `scales` is omitted instead of empty, and the coordinates
 * "tf_half_pixel_for_nn", half a pixel beyond "half_pixel", are gone.
 */
export function resizeOmissions(node: Node, rewriter: Rewriter): Node[] {
  if ((node.inputs[3] ?? "") !== "") node.inputs[2] = "";
  const coordinates = rewriter.plainText(node, "coordinate_transformation_mode");
  if (coordinates !== "tf_half_pixel_for_nn") return [node];
  const rounding = rewriter.plainText(node, "nearest_mode") ?? "round_prefer_floor";
  const mode = rewriter.plainText(node, "mode") ?? "nearest";
  const shifted = HALF_LESS[rounding];
  if (mode !== "nearest" || shifted === undefined) {
    throw rewriter.error(
      node,
      `coordinate_transformation_mode "tf_half_pixel_for_nn" with mode "${mode}" and ` +
        `nearest_mode "${rounding}" has no equal from opset 13 on. Export with another mode`,
    );
  }
  takeAttribute(node, "coordinate_transformation_mode");
  takeAttribute(node, "nearest_mode");
  node.attributes.push(
    stringAttribute("coordinate_transformation_mode", "half_pixel"),
    stringAttribute("nearest_mode", shifted),
  );
  return [node];
}

/** Upsample at 7: a scale an axis instead of one of heights and one of widths. */
export function upsampleScales(node: Node, rewriter: Rewriter): Node[] {
  const taken = ["height_scale", "width_scale"].map((name) => {
    const value = takeAttribute(node, name)?.value;
    if (value?.type !== "float") throw rewriter.error(node, `attribute "${name}" is missing`);
    return value.value;
  });
  const scales = { type: "floats", value: [1, 1, ...taken] } as const;
  node.attributes.push({ name: "scales", value: scales, carried: new Uint8Array(0) });
  if (rewriter.plainText(node, "mode") === "bilinear") {
    takeAttribute(node, "mode");
    node.attributes.push(stringAttribute("mode", "linear"));
  }
  return [node];
}
