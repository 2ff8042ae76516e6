import { Sandbox, SandboxError } from "../compute/sandbox.js";
import type { Checkpoint } from "../container/checkpoint.js";
import { inOneLine } from "../container/quote.js";
import { isObject, readJsonSidecar, type SidecarFiles } from "../container/sidecar.js";
import { BitnetError } from "../errors.js";
import type { ChatMessage, ChatTemplate, Tokenizer } from "./types.js";

/**
 * The chat template in the model's files: GGUF's `tokenizer.chat_template`; else `chat_template.jinja`, else tokenizer_config.json's
 * `chat_template`, of several the one named "default"; one beside a tokenizer that was given in place of the model's comes before them all.
 * Undefined if there is none. It is parsed when it is first rendered, so a broken one does not keep a model from running. Throws a BitnetError
 * `tokenizer` if it is no text.
 */
export async function loadChatTemplate(
  checkpoint: Checkpoint,
  tokenizer: Tokenizer,
  files?: SidecarFiles,
): Promise<ChatTemplate | undefined> {
  const given = files && (await readSidecarTemplate(files));
  const isGguf = checkpoint.format === "gguf";
  const found = given ?? (isGguf ? checkpoint.metadata.get("tokenizer.chat_template") : await readSidecarTemplate(checkpoint));
  if (found === undefined || found === null) return undefined;
  const file = given ? files.path : checkpoint.path;
  if (typeof found !== "string") throw new BitnetError("tokenizer", `${file}: the chat template is not a string`, { file });
  return createChatTemplate(found, file, tokenizer);
}

async function readSidecarTemplate(files: SidecarFiles): Promise<unknown> {
  const jinja = await files.sidecar("chat_template.jinja");
  if (jinja !== undefined) return jinja;
  const template = (await readJsonSidecar(files, "tokenizer_config.json", "tokenizer"))?.chat_template;
  if (!Array.isArray(template)) return template;
  const named: unknown = template.find((item: unknown) => isObject(item) && item.name === "default");
  return isObject(named) ? named.template : undefined;
}

/** Characters of a template; the longest known have 50,000. */
const maxSource = 2 ** 20;

/** Characters of a chat, as messages and as text: a million tokens. */
const maxChat = 2 ** 22;

/** What is asked of the process that renders. */
export interface TemplateJob {
  readonly source: string;
  /** Characters that it may write. */
  readonly maxLength: number;
  readonly messages: readonly ChatMessage[];
  readonly addGenerationPrompt: boolean;
  readonly bosToken: string;
  readonly eosToken: string;
}

/** What it answers: `raised` is the template's own refusal, `failed` that it is broken. */
export type TemplateAnswer =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "raised" | "failed"; readonly reason: string };

/** A template is a program by a stranger. Real ones take milliseconds and some megabytes; the rest is for slow machines and long chats. */
const maxMilliseconds = 2000;
const maxMegabytes = 64;

const program = new URL("./template-program.js", import.meta.url);
const sandbox = new Sandbox(program, { milliseconds: maxMilliseconds, megabytes: maxMegabytes });

/**
 * A chat template from its Jinja source; `file` is for messages. Rendering rejects with a BitnetError: `usage` where the template itself
 * raises (roles must alternate, say), `tokenizer` where it is broken, never ends or takes too much memory, `io` where no process can be had to
 * render it in. A template has no `strftime_now`: a prompt does not depend on the day.
 */
export function createChatTemplate(source: string, file: string, tokenizer: Tokenizer): ChatTemplate {
  const textOf = (id: number | undefined) => (id === undefined ? "" : tokenizer.textOf(id));
  return {
    source,
    async render(messages, { addGenerationPrompt = true } = {}) {
      if (source.length > maxSource) {
        const message = `${file}: the chat template has ${source.length} characters, more than the ${maxSource} this engine takes`;
        throw new BitnetError("tokenizer", message, { file });
      }
      const length = messages.reduce((sum, { role, content }) => sum + role.length + content.length, 0);
      if (length > maxChat) {
        throw new BitnetError("usage", `the messages have ${length} characters, more than the ${maxChat} that a chat may have`);
      }
      const job: TemplateJob = {
        source,
        maxLength: maxChat,
        messages: messages.map(({ role, content }) => ({ role, content })),
        addGenerationPrompt,
        bosToken: textOf(tokenizer.bosId),
        eosToken: textOf(tokenizer.eosIds[0]),
      };
      const answer = await sandbox.run(job).then(
        (value) => value as TemplateAnswer,
        (cause: unknown) => {
          if (!(cause instanceof SandboxError)) throw cause;
          throw cause.reason === "start"
            ? new BitnetError(
                "io",
                `the chat template of ${file} can't be rendered: no process for it: ${cause.message}`,
                { file },
                { cause },
              )
            : new BitnetError("tokenizer", `${file}: the chat template ${cause.message}`, { file }, { cause });
        },
      );
      if (answer.kind === "text") return answer.text;
      throw answer.kind === "raised"
        ? new BitnetError("usage", `the chat template of ${file} refuses these messages: ${inOneLine(answer.reason)}`, { file })
        : new BitnetError("tokenizer", `${file}: the chat template fails: ${inOneLine(answer.reason)}`, { file });
    },
  };
}

/**
 * A conversation as the ids a model is to go on from. A template that writes BOS itself gets no second one; one that doesn't gets it
 * where the tokenizer adds BOS. Special tokens written in a message's text are recognised, as Hugging Face does: whoever passes on the
 * words of strangers must remove them first. Errors: as `ChatTemplate.render`.
 */
export async function encodeChat(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  options: { readonly addGenerationPrompt?: boolean } = {},
): Promise<{ prompt: string; ids: number[] }> {
  const prompt = await template.render(messages, options);
  return { prompt, ids: encodeRendered(tokenizer, prompt) };
}

/** A rendered chat as ids. */
export function encodeRendered(tokenizer: Tokenizer, prompt: string): number[] {
  const ids = tokenizer.encode(prompt, { bos: false });
  if (tokenizer.addsBos && ids[0] !== tokenizer.bosId) ids.unshift(tokenizer.bosId!);
  return ids;
}
