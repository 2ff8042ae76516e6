import type { Statement } from "./ast.js";
import { TemplateFault } from "./fault.js";
import { filterNames } from "./filters.js";
import { globals } from "./globals.js";
import { asFault, Interpreter } from "./interpreter.js";
import { lineOf, normalize } from "./lexer.js";
import { type Limits, Meter } from "./meter.js";
import { parse } from "./parser.js";
import { predicateNames } from "./predicates.js";
import type { Text } from "./text.js";
import type { Value } from "./values.js";

/**
 * A template of Jinja, with the semantics that it has in Python (Jinja 3.1): as Hugging Face's apply_chat_template runs it, in an immutable sandbox
 * with trim_blocks, lstrip_blocks, loop controls, the generation tag and its own tojson. Throws a TemplateFault `syntax`.
 */
export class Template {
  readonly #source: string;
  readonly #body: readonly Statement[];

  constructor(source: string) {
    this.#source = normalize(source);
    try {
      this.#body = parse(this.#source, { filters: filterNames, tests: predicateNames });
    } catch (error) {
      throw asFault(error);
    }
  }

  /** The text that it writes. `values` makes the variables; `now` is for `strftime_now`. Throws a TemplateFault. */
  render(values: (meter: Meter) => ReadonlyMap<string, Value>, limits: Limits, now?: Date): Text {
    const meter = new Meter(limits);
    const names = new Map([...globals(now, meter), ...values(meter)]);
    const interpreter = new Interpreter(names, meter);
    try {
      return interpreter.run(this.#body);
    } catch (error) {
      const fault = asFault(error);
      if (!(fault instanceof TemplateFault) || fault.kind === "raised" || fault.kind === "no date") throw fault;
      throw new TemplateFault(fault.kind, `${fault.message} (line ${lineOf(this.#source, interpreter.at)})`);
    }
  }
}
