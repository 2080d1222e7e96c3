/** When each activation is last needed, over the steps of a scheduled program. */
import { census } from "./cost.ts";
import type { Program, Tensor } from "./program.ts";
import { bodiesOf, resultsOf, type ScheduledBlock, type ScheduledStep } from "./units.ts";

/** The numbers of steps, in order, and the last step that needs each tensor. */
export function lastUses(
  program: Program,
  block: ScheduledBlock,
): { number: ReadonlyMap<ScheduledStep, number>; last: ReadonlyMap<Tensor, number> } {
  const number = new Map<ScheduledStep, number>();
  const last = new Map<Tensor, number>();
  let next = 0;
  const use = (tensor: Tensor | null, at: number): void => {
    if (tensor !== null) last.set(tensor, Math.max(last.get(tensor) ?? -1, at));
  };
  /** Uses in a loop last until its end. */
  const visit = (inner: ScheduledBlock): Set<Tensor> => {
    const used = new Set<Tensor>();
    const note = (tensor: Tensor | null, at: number): void => {
      if (tensor !== null) used.add(tensor);
      use(tensor, at);
    };
    for (const step of inner.steps) {
      number.set(step, next);
      const at = next++;
      switch (step.kind) {
        case "dispatch":
          for (const tensor of resultsOf(step.unit)) note(tensor, at);
          for (const body of bodiesOf(step.unit)) {
            for (const tensor of census(body).sources) note(tensor, at);
          }
          break;
        case "host":
          for (const tensor of [...step.inputs, ...step.outputs]) note(tensor, at);
          break;
        case "check":
          break;
        case "if":
          for (const branch of step.branches) {
            for (const tensor of visit(branch.block)) note(tensor, next);
            for (const { to, from } of branch.assign) {
              note(from, next);
              note(to.tensor, next);
            }
          }
          break;
        case "loop": {
          const inside = visit(step.block);
          for (const { to, from } of step.start) {
            inside.add(to.tensor);
            note(from, at);
          }
          for (const { from } of step.next) inside.add(from);
          for (const { from, to } of step.collected) {
            inside.add(from);
            note(to, next);
          }
          for (const tensor of inside) note(tensor, next);
          number.set(step, next++);
        }
      }
    }
    return used;
  };
  visit(block);
  for (const { tensor } of program.outputs) use(tensor, next);
  for (const tensor of last.keys()) if (tensor.hostRead) use(tensor, next);
  return { number, last };
}
