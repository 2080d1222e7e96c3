/**
 * The lines that a Python program answers with (`python/child/dialog.py`), taken with distrust: the
 * program may have been taken over by the model that it reads.
 */

/** A line of the answer. */
export type Message =
  | {
    readonly type: "confined";
    /** Whether the kernel holds native code to the same as the audit hook holds Python's. */
    readonly natively: boolean;
  }
  | { readonly type: "progress"; readonly stage: string; readonly fraction: number | null }
  | { readonly type: "warning"; readonly message: string }
  | { readonly type: "result"; readonly value: unknown }
  | {
    readonly type: "error";
    readonly kind: ErrorKind;
    readonly message: string;
    readonly traceback: string | null;
  };

/** Kinds of errors that `python/child/dialog.py` tells. */
export type ErrorKind = "input" | "verification" | "missing-tool" | "memory" | "bug";

const KINDS: readonly string[] = [
  "input",
  "verification",
  "missing-tool",
  "memory",
  "bug",
] satisfies ErrorKind[];
const TEXT_CHARACTERS = 40_000;

/** Parses a line; null where it is no message. */
export function parseMessage(line: string): Message | null {
  let fields: Readonly<Record<string, unknown>>;
  try {
    const value: unknown = JSON.parse(line);
    if (!isRecord(value)) return null;
    fields = value;
  } catch {
    return null;
  }
  const { stage, fraction = null, message, kind, traceback = null } = fields;
  switch (fields.type) {
    case "confined":
      return { type: "confined", natively: fields.natively === true };
    case "progress":
      if (!isText(stage) || !(fraction === null || isFraction(fraction))) return null;
      return { type: "progress", stage, fraction };
    case "warning":
      return isText(message) ? { type: "warning", message } : null;
    case "result":
      return "value" in fields ? { type: "result", value: fields.value } : null;
    case "error":
      if (!isText(message) || !isKind(kind) || !(traceback === null || isText(traceback))) {
        return null;
      }
      return { type: "error", kind, message, traceback };
    default:
      return null;
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.length <= TEXT_CHARACTERS;
}

function isFraction(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && value <= 1;
}

function isKind(value: unknown): value is ErrorKind {
  return typeof value === "string" && KINDS.includes(value);
}
