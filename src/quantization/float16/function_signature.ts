/**
 * The names of the formal inputs and outputs of a function that a model defines, from the carried
 * fields of its `FunctionProto` (fields 4 and 5,
 * https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
 */
import type { ModelFunction } from "../../ir.ts";

/** Names of the inputs of a function, in order. */
export function functionInputs(called: ModelFunction): string[] {
  return stringFields(called.carried, 4);
}

/** Names of the outputs of a function, in order. */
export function functionOutputs(called: ModelFunction): string[] {
  return stringFields(called.carried, 5);
}

/** The occurrences of a string field among wire records; stops at bytes that are none. */
function stringFields(bytes: Uint8Array, field: number): string[] {
  const found: string[] = [];
  const decoder = new TextDecoder();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 70 && at < bytes.length; shift += 7) {
      const byte = bytes[at++]!;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    return Infinity;
  };
  while (at < bytes.length) {
    const tag = varint();
    switch (tag % 8) {
      case 0:
        varint();
        break;
      case 1:
        at += 8;
        break;
      case 2: {
        const length = varint();
        if (length > bytes.length - at) return found;
        if (Math.floor(tag / 8) === field) {
          found.push(decoder.decode(bytes.subarray(at, at + length)));
        }
        at += length;
        break;
      }
      case 5:
        at += 4;
        break;
      default:
        return found;
    }
  }
  return found;
}
