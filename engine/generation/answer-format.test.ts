import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { randomSchemas, validator } from "../grammar/schemas.test.helper.js";
import { allowedIds } from "../sampling/mask.js";
import { uniform } from "../sampling/rng.js";
import { fakeCheckpoint, llama2Metadata } from "../text/fixtures.test.helper.js";
import { readVocabulary } from "../text/load.js";
import { createTokenizer } from "../text/tokenizer.js";
import { THOROUGH } from "../thorough.test.helper.js";
import { AnswerFormats } from "./answer-format.js";
import { loadModel } from "./model.js";
import type { Generation } from "./types.js";

const schema = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 12 },
    age: { type: "integer", minimum: 0, maximum: 120 },
    kind: { enum: ["cat", "dog", "fox"] },
    tags: { type: "array", items: { type: "string", pattern: "^[a-z]{1,6}$" }, maxItems: 2 },
  },
  required: ["name", "age", "kind", "tags"],
  additionalProperties: false,
};
const isValid = new Ajv2020().compile(schema);
const prompt = "Once upon a time there was a little ";

describe("a format's constraint", () => {
  it("is of the text that the decoder gives, also where SentencePiece takes a space away", async () => {
    const tokenizer = createTokenizer(await readVocabulary(fakeCheckpoint({ metadata: llama2Metadata() })));
    const formats = new AnswerFormats(tokenizer, new Set(tokenizer.eosIds));
    const grammar = 'root ::= " "? word (" " word){2} "\\n"?\nword ::= [a-zé]{1,9}';
    const begin = formats.constraint({ grammar });
    for (const after of [tokenizer.bosId, tokenizer.encode("so", { bos: false }).at(-1)]) {
      for (let seed = 0; seed < 20; seed++) {
        const constraint = begin(after);
        const decoder = tokenizer.decoder({ after });
        let text = "";
        for (let index = 0; ; index++) {
          const ids = allowedIds(constraint.mask(), tokenizer.size)!;
          if (constraint.canEnd && (ids.length === 0 || index > 8)) break;
          const id = ids[Math.floor(uniform(seed, index) * ids.length)]!;
          constraint.accept(id);
          text += decoder.push(id);
        }
        expect(text + decoder.end()).toMatch(/^ ?[a-zé]{1,9} [a-zé]{1,9} [a-zé]{1,9}\n?$/);
      }
    }
    expect(() => formats.constraint({ grammar: 'root ::= " a"' })(tokenizer.bosId).mask()).toThrow(/begins with a space/);
    expect(() => new AnswerFormats(tokenizer, new Set()).constraint({ grammar })).toThrow(/no token that ends an answer/);
  });
});

describe("an answer with a format", async () => {
  const model = await loadModel(undefined, { head: "exact", threads: 2 });
  const twoStage = await loadModel(undefined, { head: "two-stage", threads: 1 });
  afterAll(() => Promise.all([model.close(), twoStage.close()]));

  it("is JSON under the schema, however it is sampled", async () => {
    const samplings = [
      { temperature: 0 },
      { temperature: 1.5, topK: 0, topP: 1 },
      { temperature: 1.5, topK: 40 },
      { repetitionPenalty: 1.5, minP: 0.05 },
    ];
    const answers = samplings.flatMap((sampling) => [1, 2, 3].map((seed) => ({ ...sampling, seed, format: { schema } })));
    const results = await Promise.all(answers.map((options) => model.generate(prompt, options).result()));
    for (const { text, stopReason } of results) {
      expect(stopReason).toBe("eos");
      expect(isValid(JSON.parse(text)), text).toBe(true);
    }
    expect(new Set(results.map(({ text }) => text)).size).toBeGreaterThan(6);
  });

  it("is valid under random schemas at a temperature of 1.5", async () => {
    const schemas = fc.sample(randomSchemas, { numRuns: THOROUGH ? 2000 : 12, ...(THOROUGH ? {} : { seed: 7 }) });
    let [whole, refused] = [0, 0];
    const answer = async (schema: object, seed: number): Promise<void> => {
      let answer: Generation;
      try {
        answer = model.generate(prompt, {
          temperature: 1.5,
          topK: 0,
          topP: 1,
          repetitionPenalty: 1,
          seed,
          maxTokens: 100,
          format: { schema },
        });
      } catch (error) {
        expect((error as Error).message).toMatch(/no text can fit|properties are required/);
        refused++;
        return;
      }
      const { text, stopReason } = await answer.result();
      if (stopReason === "length") return;
      expect(stopReason).toBe("eos");
      expect(validator(schema)(JSON.parse(text)), `${text} under ${JSON.stringify(schema)}`).toBe(true);
      whole++;
    };
    for (let i = 0; i < schemas.length; i += 8) await Promise.all(schemas.slice(i, i + 8).map((schema, j) => answer(schema, i + j)));
    expect(refused).toBeLessThan(schemas.length / 4);
    expect(whole).toBeGreaterThan(schemas.length / 3);
  });

  it("is the same beside others, with either head, and with guesses asked for", async () => {
    const options = [0, 0.9, 1.5].map((temperature) => ({ temperature, topK: 30, seed: 5, format: { schema } }));
    const alone: string[] = [];
    for (const one of options) alone.push((await model.generate(prompt, one).result()).text);
    const crowd = [...options, { temperature: 1, topK: 0, seed: 9, maxTokens: 40 }, ...options.map((one) => ({ ...one, speculate: true }))];
    for (const some of [model, twoStage]) {
      const together = await Promise.all(crowd.map((one) => some.generate(prompt, one).result()));
      expect(together.slice(0, 3).map(({ text }) => text)).toEqual(alone);
      expect(together.slice(4).map(({ text }) => text)).toEqual(alone);
    }
  });

  it("scans nothing for tokens that are few: only others' states are prepared for it", async () => {
    // The traced answer counts the calls of the steps that both share.
    const traced = { temperature: 0, maxTokens: 12, ignoreEos: true, trace: true };
    const prepared = async (beside: object): Promise<number> => {
      const [{ trace }] = await Promise.all([twoStage.generate("The", traced).result(), twoStage.generate(prompt, beside).result()]);
      return trace!.kernelCalls.prepareScan!;
    };
    const few = { format: { grammar: 'root ::= ("a" | "b" | "c"){10}' }, topK: 0 };
    const alone = (await twoStage.generate("The", traced).result()).trace!.kernelCalls.prepareScan!;
    expect(await prepared(few)).toBe(alone);
    expect(await prepared({ maxTokens: 10, topK: 5 })).toBeGreaterThan(1.5 * alone); // what counts otherwise
  });

  it("ends when it is whole, and says where it is cut short", async () => {
    const forced = await model.generate(prompt, { format: { grammar: 'root ::= "yes" | "no"' }, temperature: 2 }).result();
    expect(["yes", "no"]).toContain(forced.text);
    expect(forced.stopReason).toBe("eos");
    const cut = await model.generate(prompt, { format: { schema }, maxTokens: 3 }).result();
    expect(cut.stopReason).toBe("length");
    expect(() => JSON.parse(cut.text)).toThrow();
    const nothing = await model.generate(prompt, { format: { grammar: 'root ::= ""' } }).result();
    expect([nothing.text, nothing.stopReason]).toEqual(["", "eos"]);
  });

  it.each([
    [{ format: {} }, /format must be \{ schema/],
    [{ format: { schema, grammar: "" } }, /format must be/],
    [{ format: { grammar: 3 } }, /format must be/],
    [{ format: { schema: { not: {} } } }, /#\/not/],
    [{ format: { grammar: "a" } }, /line 1/],
    [{ format: { schema }, ignoreEos: true }, /ignoreEos can't be combined/],
    [{ format: { schema }, trace: true }, /trace .* can't be combined/],
  ])("refuses %j", (options, message) => {
    expect(() => model.generate(prompt, options as object)).toThrow(
      expect.objectContaining({ code: "usage", message: expect.stringMatching(message) }),
    );
  });
});
