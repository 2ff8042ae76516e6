import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { byteCharacters } from "../text/fixtures.test.helper.js";
import type { ToolEvent } from "../text/tool-calls/parser.js";
import { loadModel, type Model } from "./model.js";

// The embedded model with a tokenizer of bytes, in which the marks of calls are special tokens, and a template with tools.

const directory = mkdtempSync(join(tmpdir(), "bitnet-tools-"));
const SPECIAL = ["<s>", "<tool_call>", "</tool_call>"];
const added = SPECIAL.map((content, i) => ({
  ...{ id: 256 + i, content, special: true, lstrip: false, rstrip: false, single_word: false, normalized: false },
}));
writeFileSync(
  join(directory, "tokenizer.json"),
  JSON.stringify({
    added_tokens: added,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false },
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab: Object.fromEntries(byteCharacters.map((token, id) => [token, id])), merges: [] },
  }),
);
writeFileSync(join(directory, "tokenizer_config.json"), JSON.stringify({ bos_token: "<s>", eos_token: "<s>" }));
writeFileSync(
  join(directory, "chat_template.jinja"),
  `{{ tools | tojson }}{% for m in messages %}{{ m.content }}{% for call in m.tool_calls or [] %}<tool_call>
{{ call.function | tojson }}
</tool_call>{% endfor %}{% endfor %}`,
);
let model: Model;
beforeAll(async () => {
  model = await loadModel(undefined, { threads: 2, tokenizer: directory });
});
afterAll(async () => {
  await model.close();
  rmSync(directory, { recursive: true });
});

const parameters = { type: "object", properties: { n: { type: "integer", minimum: 1, maximum: 5 } }, required: ["n"] };
const tools = [{ type: "function" as const, function: { name: "count", parameters } }];
const messages = [{ role: "user", content: "Count to three." }];

describe("special tokens that mark calls", () => {
  it("are in the answer where tools are offered, and nowhere else", async () => {
    const marks = [257, 258];
    expect(marks.map((id) => [model.tokenizer.textOf(id), model.tokenizer.isSpecial(id)])).toEqual(
      SPECIAL.slice(1).map((mark) => [mark, true]),
    );
    /** Marks in the ids and in the texts of answers in which all tokens are nearly as likely. */
    const seen = async (template: object): Promise<[ids: number, texts: number]> => {
      const options = {
        maxTokens: 60,
        temperature: 1e3,
        topK: 0,
        topP: 1,
        repetitionPenalty: 1,
        ignoreEos: true,
        template: { ...template },
      };
      const answers = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map((seed) => model.chat(messages, { ...options, seed }).result()));
      return [
        answers.flatMap(({ ids }) => ids.filter((id) => marks.includes(id))).length,
        answers.flatMap(({ text }) => text.match(/<\/?tool_call>/g) ?? []).length,
      ];
    };
    const [marked, shown] = await seen({ tools });
    expect(marked).toBeGreaterThan(0);
    expect(shown).toBe(marked);
    for (const template of [{}, { tools: [] }, { tools: null }]) {
      const [marked, shown] = await seen(template);
      expect(marked).toBeGreaterThan(0);
      expect(shown).toBe(0);
    }
  });
});

describe("format: { calls }", () => {
  it("gives calls that the model's parser reads, with arguments under the schema", async () => {
    for (const seed of [1, 2, 3]) {
      const format = { calls: { tools } };
      const { text, stopReason } = await model.chat(messages, { format, seed, temperature: 2, template: { tools } }).result();
      expect(stopReason).toBe("eos");
      const parser = model.toolCallParser()!;
      const events: ToolEvent[] = [...parser.push(text), ...parser.end()];
      expect(events).toMatchObject([{ type: "tool-call", name: "count" }]);
      const [call] = events;
      expect(new Ajv2020().validate(parameters, JSON.parse(call?.type === "tool-call" ? call.arguments : ""))).toBe(true);
    }
  });

  it("needs a template with tools, and tools", async () => {
    const plain = await loadModel(undefined, { threads: 1 });
    try {
      expect(plain.toolCallParser()).toBe(undefined);
      expect(() => plain.chat(messages, { format: { calls: { tools } } })).toThrow(/its chat template knows no tools, or/);
    } finally {
      await plain.close();
    }
    expect(() => model.chat(messages, { format: { calls: { tools: [] } } })).toThrow(/^format must be .* or \{ calls: \{ tools \} \}/);
    const bad = [{ type: "function" as const, function: { name: "f", parameters: { type: "object", properties: { a: { if: {} } } } } }];
    expect(() => model.chat(messages, { format: { calls: { tools: bad } } })).toThrow(/the parameters of the tool "f" at .* "if"/);
  });
});
