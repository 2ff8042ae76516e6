import { BitnetError } from "../engine/errors.js";
import type { ChatMessage } from "../engine/index.js";
import { printable } from "./failure.js";
import { writeNotes } from "./model.js";
import type { TemplateVars } from "./template-vars.js";
import { readBytes, readText, write, writeJson, writeText } from "./terminal.js";
import { onlyOne } from "./values.js";

export interface TokenizeFlags {
  readonly model?: string;
  readonly tokenizer?: string;
  readonly text?: string;
  readonly file?: string;
  readonly decode?: readonly number[];
  readonly chat?: string;
  readonly templateVar?: TemplateVars;
  /** false with `--no-special`. */
  readonly special: boolean;
  readonly json?: boolean;
}

/** `bitnet tokenize`: text to token ids and back; only the tokenizer is loaded. */
export async function tokenize(flags: TokenizeFlags): Promise<void> {
  const source = onlyOne(flags, ["text", "file", "decode", "chat"]);
  if (source !== "chat" && flags.templateVar) throw new BitnetError("usage", "--template-var requires --chat");
  if (source === "chat" && !flags.special)
    throw new BitnetError("usage", "--no-special can't be used with --chat: a chat template uses special tokens");
  const messages = source === "chat" ? parseMessages(await readBytes(flags.chat ?? "-", "--chat")) : [];
  const input = source === "file" ? await readBytes(flags.file ?? "-", "--file") : await readText(flags.text ?? "");

  const { encodeChat, openTokenizer } = await import("../engine/index.js");
  const { tokenizer, chatTemplate, path, notes } = await openTokenizer(
    flags.model,
    flags.tokenizer === undefined ? {} : { tokenizer: flags.tokenizer },
  );
  await writeNotes(notes);
  const { special } = flags;
  if (source === "decode") {
    const ids = flags.decode ?? [];
    if (flags.json) await writeJson({ text: tokenizer.decode(ids, { special }) });
    else {
      await writeText(tokenizer.decodeBytes(ids, { special })); // the very bytes: a line end of ours is for a person only
      if (process.stdout.isTTY) await write("\n");
    }
  } else if (source === "chat") {
    if (!chatTemplate) throw new BitnetError("tokenizer", `${path}: the model has no chat template`, { file: path });
    // If the assistant spoke last, no answer is requested.
    const addGenerationPrompt = messages.at(-1)?.role !== "assistant";
    const { prompt, ids } = await encodeChat(tokenizer, chatTemplate, messages, {
      addGenerationPrompt,
      ...(flags.templateVar && { template: flags.templateVar }),
    });
    if (flags.json) await writeJson({ prompt, ids });
    else await writeText(`${prompt}\n${ids.join(",")}\n`);
  } else {
    const options = { bos: special, special };
    const ids = typeof input === "string" ? tokenizer.encode(input, options) : tokenizer.encodeBytes(input, options);
    const tokens = ids.map((id) => tokenizer.textOf(id));
    if (flags.json) await writeJson({ ids, tokens });
    else await write(ids.map((id, i) => `${String(id).padStart(6)}  ${printable(JSON.stringify(tokens[i]))}\n`).join(""));
  }
}

/** The conversation in a JSON file: `[{ "role": "user", "content": "…" }, …]`. What is in it is checked when it is rendered. */
export function parseMessages(bytes: Uint8Array): ChatMessage[] {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new BitnetError("usage", `--chat: the file is not valid JSON in UTF-8: ${(error as Error).message}`);
  }
  if (Array.isArray(value) && value.length > 0) return value as ChatMessage[];
  throw new BitnetError("usage", '--chat: the file contains no list of messages, expected [{ "role": "user", "content": "…" }, …]');
}
