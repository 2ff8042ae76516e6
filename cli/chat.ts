import { createInterface } from "node:readline";
import { BitnetError } from "../engine/errors.js";
import type { ChatMessage, Model, StopReason } from "../engine/index.js";
import { errorLine, INTERRUPTED } from "./failure.js";
import { generateOptions, type ModelFlags, openModel, type SamplingFlags } from "./model.js";
import type { TemplateVars } from "./template-vars.js";
import { style, write } from "./terminal.js";
import { type Environment, readEnvironment } from "./values.js";

export interface ChatFlags extends ModelFlags, SamplingFlags {
  readonly system?: string;
  readonly templateVar?: TemplateVars;
}

const HELP =
  "/help   this list\n/clear  forget the conversation\n/exit   leave (also Ctrl-D)\nCtrl-C  stop the answer; at the prompt: leave\n";

const CONTEXT_FULL = "the context is full, so the answer ends here: /clear forgets the conversation and begins afresh";

/** `bitnet chat`: a conversation, line by line; its history lives in memory only. */
export async function chat(flags: ChatFlags): Promise<void> {
  const environment = readEnvironment(process.env);
  const opening = new AbortController();
  const giveUp = (): void => opening.abort();
  process.once("SIGINT", giveUp);
  let model: Model | undefined;
  try {
    model = await openModel(flags, environment, { signal: opening.signal });
    process.off("SIGINT", giveUp);
    if (!model.chatTemplate) throw new BitnetError("tokenizer", "the model has no chat template: use `bitnet run`, or another --model");
    await converse(model, flags, environment);
  } catch (error) {
    if (!opening.signal.aborted) throw error;
    process.exitCode = INTERRUPTED;
  } finally {
    await model?.close();
  }
}

/** Answers each line of standard input until it ends, or the user does. */
async function converse(model: Model, flags: ChatFlags, environment: Environment): Promise<void> {
  const interactive = process.stdin.isTTY === true;
  const beginning: ChatMessage[] = flags.system === undefined ? [] : [{ role: "system", content: flags.system }];
  let messages = [...beginning];
  let answering: AbortController | undefined;
  let leaving = false;
  let closed = false;

  const input = createInterface({
    input: process.stdin,
    ...(interactive && { output: process.stdout }),
    prompt: "> ",
    terminal: interactive,
  });
  // Taken before anything is awaited: lines that come while nobody listens would be lost.
  const lines = input[Symbol.asyncIterator]();
  input.once("close", () => {
    closed = true;
  });
  const leave = (): void => {
    leaving = true;
    process.exitCode = INTERRUPTED;
    input.close();
  };
  const interrupted = (): void => {
    if (!interactive || !answering || answering.signal.aborted) leave();
    answering?.abort();
  };
  // A terminal in readline's hands reports Ctrl-C to it; otherwise it is a signal.
  input.on("SIGINT", interrupted);
  process.on("SIGINT", interrupted);

  try {
    if (interactive) await note("/help lists the commands");
    while (!leaving) {
      if (interactive && !closed) input.prompt();
      const { value: line, done } = await lines.next();
      if (done) break;
      const said = line.trim();
      if (said === "") continue;
      if (said === "/exit") break;
      if (said === "/help") await write(HELP, process.stderr);
      else if (said === "/clear") messages = [...beginning];
      else if (/^\/\w*$/.test(said)) await note(`there is no command ${said}: /help lists them`);
      else {
        answering = new AbortController();
        messages.push({ role: "user", content: said });
        try {
          const { text, stopReason } = await answer(model, messages, flags, environment, answering.signal);
          if (text === "") messages.pop();
          else messages.push({ role: "assistant", content: text });
          if (stopReason === "context") await note(CONTEXT_FULL);
        } catch (error) {
          // The question goes, so that the next one finds the conversation as it was. A script is told by the exit code.
          messages.pop();
          if (!interactive || !(error instanceof BitnetError) || error.code !== "usage") throw error;
          await write(`${style("red", errorLine(error), process.stderr)}\n`, process.stderr);
          await note("/clear forgets the conversation");
        }
        answering = undefined;
      }
    }
  } finally {
    process.off("SIGINT", interrupted);
    if (interactive && closed) await write("\n"); // left at the prompt, with its line begun
    input.close();
  }
}

async function answer(
  model: Model,
  messages: readonly ChatMessage[],
  flags: ChatFlags,
  environment: Environment,
  signal: AbortSignal,
): Promise<{ text: string; stopReason: StopReason }> {
  const generation = model.chat(messages, {
    ...generateOptions(flags, environment, signal),
    ...(flags.templateVar && { template: flags.templateVar }),
  });
  for await (const piece of generation) await write(piece);
  await write("\n");
  return generation.result();
}

function note(text: string): Promise<void> {
  return write(`${style("dim", text, process.stderr)}\n`, process.stderr);
}
