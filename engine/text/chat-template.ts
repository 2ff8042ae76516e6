import { inOneLine } from "../container/quote.js";
import { BitnetError } from "../errors.js";
import { type Rules, readOptions, wholeNumber } from "../options.js";
import { RENDER_OPTIONS } from "./encode-chat.js";
import { type Data, toValue } from "./jinja/data.js";
import { TemplateFault } from "./jinja/fault.js";
import type { Limits, Meter } from "./jinja/meter.js";
import { Template } from "./jinja/template.js";
import { type Marks, sliceMarks, spaceEnds, Text, trimmed } from "./jinja/text.js";
import { dictOf, List, type Value } from "./jinja/values.js";
import { type Amount, type DataObject, type MessageData, maxChat, readDate, readMessages, readVariables } from "./messages.js";
import { type NamedTokens, tokenizerTokens } from "./special-tokens.js";
import type { ChatRenderOptions, ChatTemplate, Tokenizer } from "./types.js";

/** Templates of one model, by what they are for. */
export interface TemplateSources {
  readonly default: string;
  /** For conversations with tools, if they have one of their own. */
  readonly tools?: string | undefined;
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

const COMPOSE_OPTIONS: Rules<ComposeOptions> = { ...RENDER_OPTIONS, maxLength: wholeNumber(0, Number.MAX_SAFE_INTEGER) };

type ComposeOptions = ChatRenderOptions & { readonly maxLength?: number };

/**
 * A chat template from its Jinja source, of one or for several purposes; `file` is for messages, `named` are the special tokens that it knows by
 * name. Rendering throws a BitnetError: `usage` where the messages or options are wrong, the template itself raises (roles must alternate, say) or
 * wants a date that is not given; `tokenizer` where it is broken, or would take more steps or memory than it may.
 */
export function createChatTemplate(
  sources: string | TemplateSources,
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
