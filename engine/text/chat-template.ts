import type { Checkpoint } from "../container/checkpoint.js";
import { inOneLine } from "../container/quote.js";
import { isObject, readJsonSidecar, type SidecarFiles } from "../container/sidecar.js";
import { BitnetError } from "../errors.js";
import { ANYTHING, checkArgument, type Given, type Rules, readOptions, TRUE_OR_FALSE, wholeNumber } from "../options.js";
import { type Data, toValue } from "./jinja/data.js";
import { TemplateFault } from "./jinja/fault.js";
import type { Limits, Meter } from "./jinja/meter.js";
import { Template } from "./jinja/template.js";
import { type Marks, sliceMarks, spaceEnds, Text, trimmed } from "./jinja/text.js";
import { dictOf, List, type Value } from "./jinja/values.js";
import { type Amount, type DataObject, type MessageData, maxChat, readDate, readMessages, readVariables } from "./messages.js";
import { bitnetTemplate, bitnetTurnEnd, isPlaceholder, keptPlaceholderNote, placeholderNote } from "./placeholder.js";
import { fileTokens, ggufTokens, type NamedTokens, tokenizerTokens } from "./special-tokens.js";
import type { ChatMessage, ChatRenderOptions, ChatTemplate, RenderedChat, Tokenizer } from "./types.js";

/** Templates of one model, by what they are for. */
interface Sources {
  readonly default: string;
  /** For conversations with tools, if they have one of their own. */
  readonly tools?: string | undefined;
}

/**
 * The chat template in the model's files: GGUF's `tokenizer.chat_template`; else `chat_template.jinja`, else tokenizer_config.json's
 * `chat_template`, of several the one named "default", and with tools the one named "tool_use" (a file of its own beside chat_template.jinja); one beside a tokenizer that was given instead of the
 * model's comes before them all. Undefined if there is none. It is parsed when it is first rendered, so a broken one does not keep a model from
 * running. Throws a BitnetError `tokenizer` if it is no text.
 */
export async function loadChatTemplate(
  checkpoint: Checkpoint,
  tokenizer: Tokenizer,
  files?: SidecarFiles,
): Promise<ChatTemplate | undefined> {
  const given = files && (await readSidecarTemplate(files));
  if (given) return withoutPlaceholder(given, files.path, tokenizer, await fileTokens(files, tokenizer));
  const isGguf = checkpoint.format === "gguf";
  const found = isGguf ? readGgufTemplate(checkpoint) : await readSidecarTemplate(checkpoint);
  if (!found) return undefined;
  const named = isGguf ? ggufTokens(checkpoint, tokenizer) : await fileTokens(checkpoint, tokenizer);
  return withoutPlaceholder(found, checkpoint.path, tokenizer, named);
}

/** A chat template; in place of one that is known to be a placeholder, the model's own, with a note. */
function withoutPlaceholder(found: Sources, file: string, tokenizer: Tokenizer, named: NamedTokens): ChatTemplate {
  if (!isPlaceholder(found.default)) return createChatTemplate(found, file, tokenizer, named);
  const canReplace = tokenizer.idOf(bitnetTurnEnd) !== undefined;
  const used = canReplace ? { default: bitnetTemplate } : found;
  return createChatTemplate(used, file, tokenizer, named, [canReplace ? placeholderNote : keptPlaceholderNote]);
}

function text(found: unknown, file: string): string {
  if (typeof found === "string") return found;
  throw new BitnetError("tokenizer", `${file}: the chat template is not a string`, { file });
}

function readGgufTemplate({ metadata, path }: Checkpoint): Sources | undefined {
  const found = metadata.get("tokenizer.chat_template");
  if (found === undefined || found === null) return undefined;
  const tools = metadata.get("tokenizer.chat_template.tool_use");
  return { default: text(found, path), tools: typeof tools === "string" ? tools : undefined };
}

/** Where Hugging Face's transformers keeps the template for tools since version 4.52; the usual one is chat_template.jinja. */
const toolsFile = "additional_chat_templates/tool_use.jinja";

async function readSidecarTemplate(files: SidecarFiles): Promise<Sources | undefined> {
  const jinja = await files.sidecar("chat_template.jinja");
  if (jinja !== undefined) return { default: jinja, tools: await files.sidecar(toolsFile) };
  const template = (await readJsonSidecar(files, "tokenizer_config.json", "tokenizer"))?.chat_template;
  if (template === undefined || template === null) return undefined;
  if (!Array.isArray(template)) return { default: text(template, files.path) };
  const named = (name: string): unknown => {
    const one: unknown = template.find((item: unknown) => isObject(item) && item.name === name);
    return isObject(one) ? one.template : undefined;
  };
  const [usual, tools] = [named("default"), named("tool_use")];
  if (usual === undefined || usual === null) return undefined;
  return { default: text(usual, files.path), tools: typeof tools === "string" ? tools : undefined };
}

/** Characters of a template; the longest known have 50,000. */
const maxSource = 2 ** 20;

/** Steps of a rendering, however small the chat: a fifth of a second. Real templates take some hundreds, and some hundreds more for each message. */
const baseSteps = 2 ** 20;

/** Characters that a rendering may make, however small the chat: some 10 MB. */
const baseMade = 2 ** 22;

/** What a rendering may take. It grows with the chat: real templates take a tenth of what is given for each value and character. */
function limitsFor({ characters, values }: Amount, maxLength: number): Limits {
  return {
    steps: baseSteps + 1024 * values + 4 * characters,
    made: baseMade + 64 * (characters + values),
    text: Math.max(maxLength, 2 * characters),
  };
}

/** Messages as a template's values: all of their text is the caller's, but for the role, which is one of a few words. */
function messageValues(messages: readonly MessageData[], meter: Meter): List {
  const valued = (message: MessageData): Value => {
    const pairs = Object.entries(message).map(([key, data]) => [Text.marked(key), toValue(data, key !== "role", meter)] as const);
    return dictOf(pairs, meter);
  };
  return new List(messages.map(valued));
}

const RENDER_OPTIONS: Rules<ChatRenderOptions> = {
  addGenerationPrompt: TRUE_OR_FALSE,
  continueFinalMessage: TRUE_OR_FALSE,
  template: ANYTHING, // checked as the messages are
  date: ANYTHING,
};
const COMPOSE_OPTIONS: Rules<ComposeOptions> = { ...RENDER_OPTIONS, maxLength: wholeNumber(0, Number.MAX_SAFE_INTEGER) };
const ENCODE_CHAT_OPTIONS: Rules<EncodeChatOptions> = { ...RENDER_OPTIONS, special: TRUE_OR_FALSE };

type ComposeOptions = ChatRenderOptions & { readonly maxLength?: number };
type EncodeChatOptions = ChatRenderOptions & { readonly special?: boolean };

/**
 * A chat template from its Jinja source, of one or for several purposes; `file` is for messages, `named` are the special tokens that it knows by
 * name. Rendering throws a BitnetError: `usage` where the messages or options are wrong, the template itself raises (roles must alternate, say) or
 * wants a date that is not given; `tokenizer` where it is broken, or would take more steps or memory than it may.
 */
export function createChatTemplate(
  sources: string | Sources,
  file: string,
  tokenizer: Tokenizer,
  named: NamedTokens = tokenizerTokens(tokenizer),
  notes: readonly string[] = [],
): ChatTemplate {
  const { default: source, tools } = typeof sources === "string" ? { default: sources } : sources;
  const parsed = new Map<string, Template>();
  const templateOf = (chosen: string): Template => {
    const known = parsed.get(chosen);
    if (known) return known;
    if (chosen.length > maxSource) {
      const message = `${file}: the chat template has ${chosen.length} characters, but the limit is ${maxSource}`;
      throw new BitnetError("tokenizer", message, { file });
    }
    const made = new Template(chosen);
    parsed.set(chosen, made);
    return made;
  };

  const write = (
    messages: readonly MessageData[],
    variables: DataObject,
    opens: boolean,
    amount: Amount,
    most: number,
    now?: Date,
  ): Text => {
    const values = (meter: Meter): ReadonlyMap<string, Value> => {
      const own = Object.entries({ ...named, add_generation_prompt: opens }).map(
        ([name, data]) => [name, toValue(data, false, meter)] as const,
      );
      const given = Object.entries<Data | undefined>({ tools: null, documents: null, ...variables });
      return new Map<string, Value>([
        ...given.map(([name, data]) => [name, toValue(data, true, meter)] as const),
        ...own,
        ["messages", messageValues(messages, meter)],
      ]);
    };
    const hasTools = Array.isArray(variables.tools) && variables.tools.length > 0;
    try {
      return templateOf(hasTools && tools !== undefined ? tools : source).render(values, limitsFor(amount, most), now);
    } catch (error) {
      throw error instanceof TemplateFault ? failure(error, file) : error;
    }
  };

  const compose: ChatTemplate["compose"] = (given, options) => {
    const read = readOptions<ComposeOptions>("the chat template", options, COMPOSE_OPTIONS);
    const { addGenerationPrompt = true, continueFinalMessage = false, template, date } = read;
    const maxLength = Math.min(read.maxLength ?? maxChat, maxChat);
    const amount: Amount = { characters: 0, values: 0 };
    const messages = readMessages(given, amount);
    const variables = readVariables(template, amount);
    const now = readDate(date ?? (isDate(variables.date) ? variables.date : undefined));
    const last = messages.at(-1)!;
    if (continueFinalMessage && last.role !== "assistant") {
      throw new BitnetError(
        "usage",
        `continueFinalMessage requires the last message to be the assistant's, but message ${messages.length - 1} is the ${last.role}'s`,
      );
    }
    if (continueFinalMessage && typeof last.content !== "string") {
      throw new BitnetError("usage", `message ${messages.length - 1} has no content that could be continued`);
    }
    const begun = continueFinalMessage ? last.content! : "";
    const isBegun = trimmed(begun) !== "";
    // Where nothing is begun, the answer begins as any other does.
    const before = continueFinalMessage && messages.length > 1 ? messages.slice(0, -1) : messages;
    const said = isBegun ? [...before, { ...last, content: begun + endMark }] : before;
    const written = write(said, variables, !isBegun && (addGenerationPrompt || continueFinalMessage), amount, maxLength, now);
    const { value, marks } = isBegun ? cutBehind(written, begun, file) : written;
    if (value.length > maxLength) {
      throw amount.characters > maxLength / 2
        ? new BitnetError("usage", `the conversation has ${value.length} characters, more than the ${maxLength} that the context can hold`)
        : new BitnetError(
            "tokenizer",
            `${file}: the chat template writes ${value.length} characters, more than the ${maxLength} that the context can hold`,
            { file },
          );
    }
    return { text: value, literal: rangesOf(marks) };
  };

  return { source, notes, compose, render: async (messages, options) => compose(messages, options).text };
}

const isDate = (value: unknown): value is string => typeof value === "string" && /^\d{4}-\d\d-\d\d/.test(value);

function rangesOf(marks: Marks): [number, number][] {
  const ranges: [number, number][] = [];
  for (let i = 0; i < marks.length; i += 2) ranges.push([marks[i]!, marks[i + 1]!]);
  return ranges;
}

/** What stands behind a message that is to be continued while the template writes it: Hugging Face's own. */
const endMark = "CONTINUE_FINAL_MESSAGE_TAG ";

/** The text up to the mark. Where the template has taken white space away behind it, it would have done so before it, too. */
function cutBehind({ value, marks }: Text, begun: string, file: string): { value: string; marks: Marks } {
  const mark = endMark.trimEnd();
  const at = value.lastIndexOf(mark);
  if (at < 0 || !value.includes(trimmed(begun)))
    throw new BitnetError("usage", `the chat template of ${file} does not write the last message unchanged, so it can't be continued`);
  const end = value.startsWith(endMark, at) ? at : spaceEnds(value.slice(0, at))[1];
  return { value: value.slice(0, end), marks: sliceMarks(marks, 0, end) };
}

/** Characters of a template's own words that a message shows. */
const maxReason = 300;

function failure({ kind, message }: TemplateFault, file: string): BitnetError {
  const spaced = message.slice(0, 2 * maxReason).replace(/\s+/g, " ");
  const reason = inOneLine(spaced.trim().slice(0, maxReason)).replace(/\.{1,3}$/, "");
  switch (kind) {
    case "raised":
      return new BitnetError("usage", `the chat template of ${file} refuses these messages: ${reason}`, { file });
    case "no date":
      return new BitnetError(
        "usage",
        `the chat template of ${file} writes a date, which must be given with the option date or --template-var date=2025-07-31`,
        { file },
      );
    default:
      return new BitnetError("tokenizer", `${file}: the chat template fails: ${reason}`, { file });
  }
}

/**
 * A conversation as the ids a model is to go on from. A template that writes BOS itself gets no second one; one that doesn't gets it
 * where the tokenizer adds BOS. Special tokens are recognised in what the template writes, and not in the messages' text, unless `special` is true, which is how
 * Hugging Face reads it. Errors: as `ChatTemplate.render`.
 */
export async function encodeChat(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  options?: Given<EncodeChatOptions>,
): Promise<{ prompt: string; ids: number[] }> {
  const { special = false, ...how } = readOptions<EncodeChatOptions>("encodeChat()", options, ENCODE_CHAT_OPTIONS);
  checkArgument("tokenizer", tokenizer, { wanted: "a model's tokenizer", holds: (value) => has(value, "encode") });
  checkArgument("template", template, { wanted: "a model's chatTemplate", holds: (value) => has(value, "compose") });
  const { text: prompt, literal } = template.compose(messages, how);
  return { prompt, ids: encodeRendered(tokenizer, { text: prompt, literal: special ? [] : literal }) };
}

const has = (value: unknown, method: string): boolean =>
  typeof value === "object" && value !== null && typeof (value as Record<string, unknown>)[method] === "function";

/** A rendered chat as ids. */
export function encodeRendered(tokenizer: Tokenizer, { text: prompt, literal }: RenderedChat): number[] {
  const ids = tokenizer.encode(prompt, { bos: false, literal });
  if (tokenizer.addsBos && ids[0] !== tokenizer.bosId) ids.unshift(tokenizer.bosId!);
  return ids;
}
