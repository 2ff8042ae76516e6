import type { Checkpoint } from "../container/checkpoint.js";
import { isObject, readJsonSidecar, type SidecarFiles } from "../container/sidecar.js";
import { BitnetError } from "../errors.js";
import type { TemplateSources } from "./chat-template.js";
import { fileTokens, ggufTokens, type NamedTokens } from "./special-tokens.js";
import type { ChatTemplate, Tokenizer } from "./types.js";

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
async function withoutPlaceholder(found: TemplateSources, file: string, tokenizer: Tokenizer, named: NamedTokens): Promise<ChatTemplate> {
  // Jinja is a fifth of the code: a page gets it when a model has a template.
  const { createChatTemplate } = await import("./chat-template.js");
  const { bitnetTemplate, bitnetTurnEnd, isPlaceholder, keptPlaceholderNote, placeholderNote } = await import("./placeholder.js");
  if (!isPlaceholder(found.default)) return createChatTemplate(found, file, tokenizer, named);
  const canReplace = tokenizer.idOf(bitnetTurnEnd) !== undefined;
  const used = canReplace ? { default: bitnetTemplate } : found;
  return createChatTemplate(used, file, tokenizer, named, [canReplace ? placeholderNote : keptPlaceholderNote]);
}

function text(found: unknown, file: string): string {
  if (typeof found === "string") return found;
  throw new BitnetError("tokenizer", `${file}: the chat template is not a string`, { file });
}

function readGgufTemplate({ metadata, path }: Checkpoint): TemplateSources | undefined {
  const found = metadata.get("tokenizer.chat_template");
  if (found === undefined || found === null) return undefined;
  const tools = metadata.get("tokenizer.chat_template.tool_use");
  return { default: text(found, path), tools: typeof tools === "string" ? tools : undefined };
}

/** Where Hugging Face's transformers keeps the template for tools since version 4.52; the usual one is chat_template.jinja. */
const toolsFile = "additional_chat_templates/tool_use.jinja";

async function readSidecarTemplate(files: SidecarFiles): Promise<TemplateSources | undefined> {
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
