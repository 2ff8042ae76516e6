/** A server for tests of tools: a model whose template has them, and models that say what a test wants. */
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { type ChatOptions, type Generation, type GenerationResult, loadModel, type Model } from "../engine/index.js";
import { createHandler } from "./handler.js";
import type { ServedModel } from "./models.js";
import { listen } from "./node.js";

const FILES = "models/bitnet-stories-4m/packed";
const TEMPLATE = "engine/text/jinja/fixtures/templates/qwen3.jinja";

/** The end of a scripted answer that is cut off. */
const CUT = "…";
/** The end of a scripted answer that fails. */
const FAILS = "💥";

/** An answer with this text, in pieces of so many characters. */
function answerOf(text: string, size: number): Generation {
  const stopReason = text.endsWith(CUT) ? "length" : "eos";
  const said = text.replace(CUT, "").replace(FAILS, "");
  const timings = { cachedTokens: 3, firstTokenMs: 0 };
  const result = { text: said, ids: [1, 2], promptIds: [1, 2, 3, 4], stopReason, timings } as unknown as GenerationResult;
  return {
    result: async () => result,
    async *pieces() {
      for (let i = 0; i < said.length; i += size) yield { text: said.slice(i, i + size), ids: [] };
      if (text.endsWith(FAILS)) throw new Error("failed");
    },
    [Symbol.asyncIterator]() {
      throw new Error("the server reads pieces");
    },
  };
}

export interface ToolServer {
  /** The embedded model with Qwen's template: "real". */
  readonly model: Model;
  readonly client: OpenAI;
  readonly url: string;
  /** What "scripted" was asked since `says` was called. */
  readonly heard: { readonly messages: Parameters<ServedModel["chat"]>[0]; readonly options: ChatOptions }[];
  /** The next answers of "scripted". */
  says(...texts: string[]): void;
  close(): Promise<void>;
}

/** Also serves "unknown", whose form of calls is not known, and "none", whose template knows no tools. */
export async function openToolServer(): Promise<ToolServer> {
  const directory = mkdtempSync(join(tmpdir(), "bitnet-tools-"));
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) cpSync(join(FILES, name), join(directory, name));
  cpSync(TEMPLATE, join(directory, "chat_template.jinja"));
  const model = await loadModel(undefined, { threads: 2, tokenizer: directory });
  const script: string[] = [];
  const heard: { messages: Parameters<ServedModel["chat"]>[0]; options: ChatOptions }[] = [];
  const { tokenizer, chatTemplate, contextLength, stats } = model;
  const scripted: ServedModel = {
    ...{ tokenizer, chatTemplate, contextLength, stats, generate: model.generate.bind(model), embed: model.embed.bind(model) },
    toolCallParser: (tools) => model.toolCallParser(tools),
    chat: (messages, options) => {
      heard.push({ messages, options: options as ChatOptions });
      const text = script.shift()!;
      return answerOf(text, 1 + (text.length % 7));
    },
  };
  const unknown = { ...scripted, toolCallParser: () => undefined };
  const models = new Map<string, ServedModel>([
    ["real", model],
    ["scripted", scripted],
    ["unknown", unknown],
    ["none", { ...unknown, chatTemplate: { ...chatTemplate!, source: "{{ messages }}" } }],
  ]);
  const server = await listen(createHandler(models), { host: "127.0.0.1", port: 0 });
  return {
    model,
    client: new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 }),
    url: server.url,
    heard,
    says: (...texts) => {
      script.splice(0, Infinity, ...texts);
      heard.length = 0;
    },
    async close() {
      await server.close(0);
      await model.close();
      rmSync(directory, { recursive: true });
    },
  };
}
