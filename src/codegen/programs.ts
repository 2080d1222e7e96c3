/**
 * The programs of a model. There is one, unless branches of an If that only a run decides give tensors
 * of other ranks: then each program takes one branch to its end, and where a run finds that the
 * condition is another, it begins again with the program of the other branch.
 */
import { InputError } from "../error.ts";
import type { Model, Node } from "../ir.ts";
import { Lowering, type SmallConstants } from "./lower.ts";
import type { Block, Choice, Program } from "./program.ts";

/** Programs of a model at most. */
const MOST_PROGRAMS = 8;

/** Lowers `model`; the first program is the one that a run begins with. */
export function lowerPrograms(
  model: Model,
  small: SmallConstants,
  bindingBytes: number,
): readonly Program[] {
  const wanted: { readonly choices: ReadonlyMap<Node, boolean>; readonly from: Choice | null }[] = [
    { choices: new Map(), from: null },
  ];
  const programs: Program[] = [];
  let failure: unknown = null;
  for (const { choices, from } of wanted) {
    const lowering = new Lowering(model, small, bindingBytes, choices);
    let program: Program;
    try {
      program = lowering.run();
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      // The nodes that follow may be made for the ranks of one branch alone.
      failure ??= error;
      if (from !== null) from.reason = error.message;
      const open = lowering.chosen.findLast((node) => !choices.has(node));
      if (open !== undefined && wanted.length < MOST_PROGRAMS) {
        wanted.push({ choices: new Map([...choices, [open, false]]), from });
      }
      continue;
    }
    const [first] = programs;
    if (first !== undefined && !sameTypes(first, program)) {
      if (from !== null) from.reason = "its outputs are of other types";
      continue;
    }
    if (from !== null) {
      from.other = programs.length;
      from.reason = null;
    }
    programs.push(program);
    let decided = choices;
    for (const choice of choicesIn(program.block)) {
      if (wanted.length >= MOST_PROGRAMS) {
        choice.reason = `it has more than ${MOST_PROGRAMS} combinations of such branches`;
        continue;
      }
      wanted.push({ choices: new Map([...decided, [choice.node, false]]), from: choice });
      decided = new Map([...decided, [choice.node, true]]);
    }
  }
  if (programs.length === 0) throw failure;
  return programs;
}

/** True where the outputs of both are of the same types. */
function sameTypes(a: Program, b: Program): boolean {
  return a.outputs.every(({ tensor }, i) => tensor.dtype === b.outputs[i]?.tensor.dtype);
}

/** The choices of a block that another program may take otherwise, in order. */
function choicesIn(block: Block): Choice[] {
  const found = block.steps.flatMap((step): readonly Choice[] => {
    switch (step.kind) {
      case "check":
        return step.choice === null ? [] : [step.choice];
      case "if":
        return step.branches.flatMap((branch) => choicesIn(branch.block));
      case "loop":
        return choicesIn(step.block);
      default:
        return [];
    }
  });
  // Turns of a loop that are written out choose alike.
  return found.filter((choice, i) => found.findIndex(({ node }) => node === choice.node) === i);
}
