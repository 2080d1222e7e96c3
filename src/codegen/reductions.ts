/** The WGSL of a reduction's steps: what it begins with, and how it takes one more element. */
import type { Reduction, Scalar } from "../expr/mod.ts";
import type { Declarations } from "./shader_parts.ts";

const INITIAL: Record<Reduction, Record<"f32" | "i32" | "u32", string>> = {
  sum: { f32: "0.0", i32: "0", u32: "0u" },
  product: { f32: "1.0", i32: "1", u32: "1u" },
  min: { f32: "bitcast<f32>(0x7f800000u + zero())", i32: "2147483647", u32: "4294967295u" },
  max: { f32: "bitcast<f32>(0xff800000u + zero())", i32: "-2147483648", u32: "0u" },
  argmin: { f32: "", i32: "", u32: "" },
  argmax: { f32: "", i32: "", u32: "" },
  argminLast: { f32: "", i32: "", u32: "" },
  argmaxLast: { f32: "", i32: "", u32: "" },
};

/** What a reduction begins with. */
export function initial(
  declarations: Declarations,
  reduction: Reduction,
  type: "f32" | "i32" | "u32",
): string {
  const text = INITIAL[reduction][type];
  if (text.includes("zero()")) declarations.prelude.add("zero");
  return text;
}

/** The statement that takes `text` into `name`. */
export function combine(
  declarations: Declarations,
  reduction: Reduction,
  type: Scalar,
  name: string,
  text: string,
): string {
  switch (reduction) {
    case "sum":
      return `${name} += ${text}`;
    case "product":
      return `${name} *= ${text}`;
    default: {
      const made = type === "f32"
        ? declarations.call(reduction === "min" ? "nanMin" : "nanMax", name, text)
        : `${reduction}(${name}, ${text})`;
      return `${name} = ${made}`;
    }
  }
}

/** Whether `now` takes the place of `best`, where the result is an element's position. */
export function isBetter(
  declarations: Declarations,
  reduction: Reduction,
  type: Scalar,
  now: string,
  best: string,
): string {
  const sign = reduction.startsWith("argmin") ? "<" : ">";
  const test = `${now} ${sign}${reduction.endsWith("Last") ? "=" : ""} ${best}`;
  if (type !== "f32") return test;
  const nan = (text: string): string => declarations.call("isNan", text);
  return `((${test}) | (${nan(now)} & !${nan(best)}))`;
}
