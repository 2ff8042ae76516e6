import { createInterface } from "node:readline";
import { BitnetError } from "../engine/errors.js";
import { encodeChat, type GenerateOptions, type GenerationResult, type Model } from "../engine/index.js";
import { Conversation, type Speaker } from "./conversation.js";
import { errorLine, INTERRUPTED } from "./failure.js";
import { LineEditor } from "./line-editor.js";
import { generateOptions, type ModelFlags, openModel, readFormat, type SamplingFlags } from "./model.js";
import { cut } from "./run.js";
import type { TemplateVars } from "./template-vars.js";
import { style, write, writeText } from "./terminal.js";
import { readEnvironment } from "./values.js";

export interface ChatFlags extends ModelFlags, SamplingFlags {
  readonly system?: string;
  readonly templateVar?: TemplateVars;
}

const HELP = `/help   show this list
/clear  forget the conversation
/exit   leave (or press Ctrl-D)
Ctrl-C  stop the answer, or clear the line; press twice on an empty line to leave
`;

/** `bitnet chat`: a conversation; its history lives in memory only. */
export async function chat(flags: ChatFlags): Promise<void> {
  const environment = readEnvironment(process.env);
  const format = await readFormat(flags);
  const opening = new AbortController();
  const giveUp = (): void => opening.abort();
  process.once("SIGINT", giveUp);
  let model: Model | undefined;
  try {
    model = await openModel(flags, environment, { signal: opening.signal });
    process.off("SIGINT", giveUp);
    await converse(model, flags, (signal) => generateOptions(flags, environment, format, signal));
  } catch (error) {
    if (!opening.signal.aborted) throw error;
    process.exitCode = INTERRUPTED;
  } finally {
    await model?.close();
  }
}

/** Where the messages come from: a person at a terminal, or a line each from a pipe. */
interface Messages {
  read(): Promise<string | undefined>;
  close(): void;
  /** Left by Ctrl-C. */
  readonly interrupted?: boolean;
}

/** Answers each message until there are no more, or the user leaves. */
async function converse(model: Model, flags: ChatFlags, optionsOf: (signal: AbortSignal) => GenerateOptions): Promise<void> {
  const conversation = new Conversation(speakerOf(model, flags.templateVar), flags.system);
  const interactive = process.stdin.isTTY === true && process.stdout.isTTY === true;
  let answering: AbortController | undefined;
  let leaving = false;
  const interrupted = (): void => {
    if (!interactive || !answering || answering.signal.aborted) {
      leaving = true;
      process.exitCode = INTERRUPTED;
      messages.close();
    }
    answering?.abort();
  };
  const messages: Messages = interactive ? new LineEditor(process.stdin, process.stdout, interrupted) : lines();
  process.on("SIGINT", interrupted); // sent by another process; a terminal in raw mode reports the key instead

  try {
    if (interactive) await note("type /help for a list of commands");
    while (!leaving) {
      const message = await messages.read();
      if (message === undefined) break;
      const said = message.trim();
      if (said === "") continue;
      if (said === "/exit") break;
      if (said === "/help") await write(HELP, process.stderr);
      else if (said === "/clear") conversation.clear();
      else if (/^\/\w*$/.test(said)) await note(`unknown command ${said}: type /help for a list`);
      else {
        answering = new AbortController();
        try {
          await answer(model, conversation, said, optionsOf(answering.signal));
        } catch (error) {
          // The conversation is as it was before the question. A script learns it from the exit code.
          if (!interactive || !(error instanceof BitnetError) || error.code !== "usage") throw error;
          await write(`${style("red", errorLine(error), process.stderr)}\n`, process.stderr);
        }
        answering = undefined;
      }
    }
    if (messages.interrupted) process.exitCode = INTERRUPTED;
  } finally {
    process.off("SIGINT", interrupted);
    messages.close();
  }
}

/** Writes the answer to what was said, and what there is to know about it. */
async function answer(model: Model, conversation: Conversation, said: string, options: GenerateOptions): Promise<void> {
  const { answer, forgotten, answered } = await conversation.ask(said, options);
  if (forgotten > 0) {
    const turns = forgotten === 1 ? "the oldest turn was" : `the oldest ${forgotten} turns were`;
    await note(`${turns} forgotten, because the context has only ${model.contextLength} tokens (--ctx)`);
  }
  for await (const piece of answer) await writeText(piece);
  await write("\n");
  const result: GenerationResult = await answer.result();
  answered(result.text);
  const why = cut(result);
  if (why !== undefined) await note(why);
}

/** The model as a partner in a conversation. Throws a `tokenizer` error for one without a chat template. */
function speakerOf(model: Model, variables: TemplateVars | undefined): Speaker {
  const { tokenizer, chatTemplate, contextLength } = model;
  const given = { ...(variables && { template: variables }) };
  if (!chatTemplate) throw new BitnetError("tokenizer", "the model has no chat template: use bitnet run, or choose another --model");
  return {
    contextLength,
    chat: (messages, options) => model.chat(messages, { ...options, ...given }),
    count: async (messages) => (await encodeChat(tokenizer, chatTemplate, messages, given)).ids.length,
  };
}

/** Standard input, line by line. */
function lines(): Messages {
  const input = createInterface({ input: process.stdin, terminal: false });
  // Taken before anything is awaited: lines that arrive without a listener would be lost.
  const iterator = input[Symbol.asyncIterator]();
  const read = async (): Promise<string | undefined> => {
    const { value, done } = await iterator.next();
    return done ? undefined : value;
  };
  return { read, close: () => input.close() };
}

function note(text: string): Promise<void> {
  return write(`${style("dim", text, process.stderr)}\n`, process.stderr);
}
