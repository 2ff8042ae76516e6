import { fail } from "./fault.js";
import type { Keywords, Value } from "./values.js";

/** What a function takes: the names of its parameters, of which the first `required` must be given. */
export interface Signature {
  readonly params: readonly string[];
  readonly required: number;
  /** Parameters may be given by name. */
  readonly byName: boolean;
}

/** "value, width=, first=" as a signature: those with = have a default. A * at its end: not by name. */
export function signature(text: string): Signature {
  const byName = !text.endsWith("*");
  const params = text.replace(/\*$/, "").split(",").filter(Boolean);
  const required = params.filter((param) => !param.endsWith("=")).length;
  return { params: params.map((param) => param.replace("=", "")), required, byName };
}

/** The arguments of a call in the order of the parameters, undefined for those left out. */
export function bind(
  name: string,
  { params, required, byName }: Signature,
  args: readonly Value[],
  keywords: Keywords,
): (Value | undefined)[] {
  if (args.length > params.length) fail(`${name}() takes at most ${params.length} arguments (${args.length} given)`);
  if (keywords.size > 0 && !byName) fail(`${name}() takes no keyword arguments`);
  const bound: (Value | undefined)[] = params.map((_, i) => args[i]);
  for (const [keyword, value] of keywords) {
    const at = params.indexOf(keyword);
    if (at < 0) fail(`${name}() got an unexpected keyword argument '${keyword}'`);
    if (bound[at] !== undefined) fail(`${name}() got multiple values for argument '${keyword}'`);
    bound[at] = value;
  }
  for (let i = 0; i < required; i++) if (bound[i] === undefined) fail(`${name}() is missing the argument '${params[i]}'`);
  return bound;
}
