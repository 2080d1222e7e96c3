/**
 * How data becomes part of what is generated. Names and everything else that comes from a model is
 * data: it goes through here, and nowhere else, on its way into JavaScript, TypeScript or HTML.
 */

/**
 * `value` as JSON that is also an expression of JavaScript and of TypeScript's types, and that may stand
 * in a script element of a page, a template or a comment: nothing in it ends any of these
 * (https://html.spec.whatwg.org/multipage/scripting.html#restrictions-for-contents-of-script-elements).
 * As an expression an object's key `__proto__` sets the prototype: keep names as values, or parse it.
 */
export function encodeJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<>&`$\u2028\u2029\u007f-\u009f]|(?<=\*)\//g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** `text` as content of an HTML element or of an attribute in quotes. */
export function encodeHtml(text: string): string {
  return text.replace(/[&<>"'`]/g, (character) => `&#${character.charCodeAt(0)};`);
}
