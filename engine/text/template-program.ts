// Renders chat templates, in a process of its own: see chat-template.ts.
import { Environment, Interpreter, Template } from "@huggingface/jinja";
import { serveSandbox } from "../compute/sandbox-program.js";
import type { TemplateAnswer, TemplateJob } from "./chat-template.js";

/** Elements that `range` gives in one rendering: a template must not ask for gigabytes. */
const maxRange = 2 ** 16;

/** Characters of a reason that a message shows. */
const maxReason = 300;

/** What the template's own `raise_exception` throws. */
class Raised extends Error {}

/** The template that was rendered last: the next turn needs it again. */
let last: { readonly source: string; readonly template: Template } | undefined;

function render({ source, maxLength, messages, addGenerationPrompt, bosToken, eosToken }: TemplateJob): TemplateAnswer {
  try {
    if (last?.source !== source) last = { source, template: new Template(source) };
    const environment = new Environment();
    const names = {
      true: true,
      True: true,
      false: false,
      False: false,
      none: null,
      None: null,
      range: boundedRange(),
      raise_exception: (message: unknown) => {
        throw new Raised(String(message));
      },
      messages,
      add_generation_prompt: addGenerationPrompt,
      bos_token: bosToken,
      eos_token: eosToken,
    };
    for (const [name, value] of Object.entries(names)) environment.set(name, value);
    const text = new Interpreter(environment).run(last.template.parsed).value;
    if (typeof text !== "string") throw new Error("it gives no text");
    if (text.length > maxLength) throw new Error(`it writes ${text.length} characters, more than the ${maxLength} this engine takes`);
    return { kind: "text", text };
  } catch (error) {
    const reason = (error instanceof Error ? error.message : String(error))
      .slice(0, 2 * maxReason)
      .replace(/\s+/g, " ")
      .trim()
      .slice(0, maxReason)
      .replace(/\.+$/, "");
    return { kind: error instanceof Raised ? "raised" : "failed", reason };
  }
}

/** Python's `range`, of which all calls together give no more than `maxRange` elements. */
function boundedRange(): (first: number, stop?: number | null, step?: number | null) => number[] {
  let left = maxRange;
  return (first, stop, step) => {
    const [from, to, by] = typeof stop === "number" ? [first, stop, step ?? 1] : [0, first, 1];
    const count = Math.max(0, Math.ceil((to - from) / by));
    if (!(count <= left)) throw new Error(`range asks for more than ${maxRange} elements`);
    left -= count;
    return Array.from({ length: count }, (_, i) => from + i * by);
  };
}

serveSandbox((job) => render(job as TemplateJob));
