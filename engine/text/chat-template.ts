import { Environment, Interpreter, Template } from "@huggingface/jinja";
import type { Checkpoint } from "../container/checkpoint.js";
import { isObject, readJsonSidecar } from "../container/sidecar.js";
import { BitnetError } from "../errors.js";
import type { ChatMessage, ChatTemplate, Tokenizer } from "./types.js";

/** Elements that `range` gives in one rendering: a template must not ask for gigabytes. */
const maxRange = 2 ** 16;

/** What the template's own `raise_exception` throws. */
class Raised extends Error {}

/**
 * The chat template in the model's files: GGUF's `tokenizer.chat_template`; else `chat_template.jinja`, else tokenizer_config.json's
 * `chat_template`, of several the one named "default". Undefined if there is none. It is parsed when it is first rendered, so a broken
 * one does not keep a model from running. Throws a BitnetError `tokenizer` if it is no text.
 */
export async function loadChatTemplate(checkpoint: Checkpoint, tokenizer: Tokenizer): Promise<ChatTemplate | undefined> {
  const found = checkpoint.format === "gguf" ? checkpoint.metadata.get("tokenizer.chat_template") : await readSidecarTemplate(checkpoint);
  if (found === undefined || found === null) return undefined;
  const file = checkpoint.path;
  if (typeof found !== "string") throw new BitnetError("tokenizer", `${file}: the chat template is not a string`, { file });
  return createChatTemplate(found, file, tokenizer);
}

async function readSidecarTemplate(checkpoint: Checkpoint): Promise<unknown> {
  const jinja = await checkpoint.sidecar("chat_template.jinja");
  if (jinja !== undefined) return jinja;
  const template = (await readJsonSidecar(checkpoint, "tokenizer_config.json", "tokenizer"))?.chat_template;
  if (!Array.isArray(template)) return template;
  const named: unknown = template.find((item: unknown) => isObject(item) && item.name === "default");
  return isObject(named) ? named.template : undefined;
}

/**
 * A chat template from its Jinja source; `file` is for messages. Rendering throws a BitnetError: `usage` where the template itself
 * raises (roles must alternate, say), `tokenizer` where it is broken. A template has no `strftime_now`: a prompt does not depend on the day.
 */
export function createChatTemplate(source: string, file: string, tokenizer: Tokenizer): ChatTemplate {
  const textOf = (id: number | undefined) => (id === undefined ? "" : tokenizer.textOf(id));
  let template: Template | undefined;
  return {
    source,
    render(messages, { addGenerationPrompt = true } = {}) {
      try {
        template ??= new Template(source);
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
          messages: messages.map(({ role, content }) => ({ role, content })),
          add_generation_prompt: addGenerationPrompt,
          bos_token: textOf(tokenizer.bosId),
          eos_token: textOf(tokenizer.eosIds[0]),
        };
        for (const [name, value] of Object.entries(names)) environment.set(name, value);
        const text = new Interpreter(environment).run(template.parsed).value;
        if (typeof text !== "string") throw new Error("it gives no text");
        return text;
      } catch (error) {
        const reason = (error instanceof Error ? error.message : String(error))
          .replace(/\s+/g, " ")
          .trim()
          .slice(0, 300)
          .replace(/\.$/, "");
        throw error instanceof Raised
          ? new BitnetError("usage", `the chat template of ${file} refuses these messages: ${reason}`, { file }, { cause: error })
          : new BitnetError("tokenizer", `${file}: the chat template fails: ${reason}`, { file }, { cause: error });
      }
    },
  };
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

/**
 * A conversation as the ids a model is to go on from. A template that writes BOS itself gets no second one; one that doesn't gets it
 * where the tokenizer adds BOS. Special tokens written in a message's text are recognised, as Hugging Face does: whoever passes on the
 * words of strangers must remove them first. Errors: as `ChatTemplate.render`.
 */
export function encodeChat(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  options: { readonly addGenerationPrompt?: boolean } = {},
): { prompt: string; ids: number[] } {
  const prompt = template.render(messages, options);
  const ids = tokenizer.encode(prompt, { bos: false });
  if (tokenizer.addsBos && ids[0] !== tokenizer.bosId) ids.unshift(tokenizer.bosId!);
  return { prompt, ids };
}
