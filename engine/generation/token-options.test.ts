import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type GenerateOptions, type GenerationResult, loadModel, type Model } from "../index.js";

// The embedded model with both heads: biases, penalties and logprobs, against what is computed here from its logits, and beside other answers.

const PROMPT = "Once upon a time";
let exact: Model;
let twoStage: Model;
beforeAll(async () => {
  exact = await loadModel(undefined, { head: "exact", threads: 1, contextLength: 512 });
  twoStage = await loadModel(undefined, { head: "two-stage", threads: 2, contextLength: 512 });
});
afterAll(() => Promise.all([exact.close(), twoStage.close()]));

const write = (model: Model, options: GenerateOptions, prompt = PROMPT): Promise<GenerationResult> =>
  model.generate(prompt, { maxTokens: 12, ...options }).result();
const only = (model: Model, text: string): number =>
  model.tokenizer.encode(text, { bos: false, after: model.tokenizer.encode("a").at(-1) })[0]!;

describe("logprobs", () => {
  test("are the logarithm of the softmax of the model's own logits, whatever the sampling", async () => {
    const options = { logprobs: 5, temperature: 1.5, topK: 40, seed: 3, repetitionPenalty: 1.3, presencePenalty: 1, logitBias: { 300: 4 } };
    const { promptIds, ids, logprobs } = await write(twoStage, options);
    const all = [...promptIds, ...ids];
    const logits = await exact.logits(all);
    const { nll } = await exact.score(all);
    const vocab = exact.config.vocabSize;
    expect(logprobs).toHaveLength(ids.length);
    for (const [i, { id, logprob, top }] of logprobs!.entries()) {
      const position = promptIds.length - 1 + i;
      const row = logits.subarray(position * vocab, (position + 1) * vocab);
      const max = Math.max(...row);
      const logSum = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - max), 0));
      const best = Array.from(row.keys()).sort((a, b) => row[b]! - row[a]! || a - b);
      expect(id).toBe(ids[i]);
      expect(logprob).toBe(-nll[position]!); // to the bit
      expect(top.map((one) => one.id)).toEqual(best.slice(0, 5));
      for (const one of [{ id, logprob }, ...top]) expect(one.logprob).toBeCloseTo(row[one.id]! - max - logSum, 10);
      expect(top.reduce((sum, one) => sum + Math.exp(one.logprob), 0)).toBeLessThanOrEqual(1);
    }
  });

  test("do not change an answer, and are not there unless they are asked for", async () => {
    for (const model of [exact, twoStage]) {
      const plain = await write(model, { seed: 4 });
      expect(plain).not.toHaveProperty("logprobs");
      const { ids, logprobs } = await write(model, { seed: 4, logprobs: 0 });
      expect(ids).toEqual(plain.ids);
      expect(logprobs!.map(({ id, top }) => [id, top.length])).toEqual(ids.map((id) => [id, 0]));
    }
  });
});

const GRAMMAR = { grammar: 'root ::= "yes" | "no, " [a-f]+ "."' };
/** Each field alone, all together, with a format, with guesses. */
const ASKED: readonly GenerateOptions[] = [
  { temperature: 0, logprobs: 3 },
  { temperature: 0, presencePenalty: 1.5, frequencyPenalty: 0.7 },
  { temperature: 0, frequencyPenalty: -0.4, repetitionPenalty: 1.2, speculate: true, maxTokens: 30 },
  {
    temperature: 1.2,
    topK: 30,
    seed: 2,
    presencePenalty: -1,
    frequencyPenalty: 0.5,
    logitBias: { 300: 5, 11: -7.5, 12: -100 },
    logprobs: 2,
  },
  { temperature: 1, seed: 9, logitBias: { 300: 100, 301: 100, 302: 99 } },
  { temperature: 1, topP: 0.9, topK: 0, seed: 3, logitBias: { 500: 6 }, speculate: true },
  { temperature: 1, seed: 5, format: GRAMMAR, logitBias: { 80: -100, 81: 3 }, presencePenalty: 2, logprobs: 4 },
];

test("an answer is the same with either head, alone and among 8 others", async () => {
  const told = ({ ids, text, stopReason, logprobs }: GenerationResult) => ({ ids, text, stopReason, logprobs });
  for (const [i, options] of ASKED.entries()) {
    const alone = told(await write(exact, options));
    const others = ASKED.map((other) => write(twoStage, other, "The dog")).concat(write(twoStage, {}, "A cat"));
    expect(others).toHaveLength(8);
    expect({ i, ...told(await write(twoStage, options)) }).toEqual({ i, ...alone });
    await Promise.all(others);
    expect({ i, ...told(await write(twoStage, options)) }).toEqual({ i, ...alone });
  }
});

test("guesses change nothing where tokens are counted", async () => {
  const options = { temperature: 0, frequencyPenalty: -0.8, presencePenalty: 0.3, maxTokens: 60, ignoreEos: true };
  const prompt = "The dog ran. The dog ran. The dog ran. The dog";
  const plain = await write(exact, options, prompt);
  const guessed = await write(exact, { ...options, speculate: true, logprobs: 1 }, prompt);
  expect(guessed.ids).toEqual(plain.ids);
  expect(guessed.timings.acceptedTokens).toBeGreaterThan(0);
  expect(guessed.logprobs!.map(({ id }) => id)).toEqual(plain.ids);
});

describe("penalties count what the answer has, and not the prompt", () => {
  test.each([
    ["presence", { presencePenalty: 2 }, (times: number) => (times > 0 ? 2 : 0)],
    ["frequency", { frequencyPenalty: 0.6 }, (times: number) => 0.6 * times],
    [
      "both, and a bias",
      { presencePenalty: -0.5, frequencyPenalty: 1, logitBias: { 300: 2.5 } },
      (times: number) => (times > 0 ? -0.5 : 0) + times,
    ],
  ] as const)("%s", async (_, options, subtracted) => {
    const prompt = exact.tokenizer.encode("The dog ran and the dog ran and the dog");
    const { ids } = await exact.generate(prompt, { temperature: 0, maxTokens: 14, ignoreEos: true, ...options }).result();
    const all = [...prompt, ...ids];
    const logits = await exact.logits(all);
    const vocab = exact.config.vocabSize;
    for (const [i, id] of ids.entries()) {
      const position = prompt.length - 1 + i;
      const bias = "logitBias" in options ? options.logitBias : {};
      const scores = Array.from(logits.subarray(position * vocab, (position + 1) * vocab), (logit, one) =>
        Math.fround(
          Math.fround(logit + ((bias as Record<number, number>)[one] ?? 0)) -
            subtracted(ids.slice(0, i).filter((had) => had === one).length),
        ),
      );
      expect(id).toBe(scores.indexOf(Math.max(...scores)));
    }
  });
});

describe("biases", () => {
  test("-100 bans, 100 chooses, also where the sampling is hot", async () => {
    for (const model of [exact, twoStage]) {
      for (const temperature of [0, 1, 1000]) {
        const free = await write(model, { temperature, topK: 0, topP: 1, repetitionPenalty: 1, ignoreEos: true });
        const banned = Object.fromEntries(free.ids.map((id) => [id, -100]));
        const others = await write(model, { temperature, topK: 0, topP: 1, repetitionPenalty: 1, ignoreEos: true, logitBias: banned });
        expect(others.ids.filter((id) => id in banned)).toEqual([]);
        const forced = await write(model, { temperature, logitBias: { 77: 100 }, frequencyPenalty: 2 });
        expect(new Set(forced.ids)).toEqual(new Set([77]));
      }
    }
  });

  test("the order in which they are given does not matter, and those of 0 are none", async () => {
    const biases: [number, number][] = [
      [900, 3],
      [20, -4],
      [300, 2.5],
      [4, 0],
    ];
    const ids = async (entries: [number, number][]) => (await write(exact, { seed: 8, logitBias: Object.fromEntries(entries) })).ids;
    const inOrder = await ids(biases);
    expect(await ids(biases.toReversed())).toEqual(inOrder);
    expect(await ids(biases.slice(0, 3))).toEqual(inOrder);
  });

  test("hold within a format, and give way where it leaves nothing else", async () => {
    const format = { grammar: 'root ::= "yes" | "no"' };
    const beginnings = (word: string) =>
      Array.from({ length: word.length }, (_, i) => exact.tokenizer.idOf(word.slice(0, i + 1))).filter((id) => id !== undefined);
    const ban = (...words: string[]) => Object.fromEntries(words.flatMap(beginnings).map((id) => [id, -100]));
    for (const model of [exact, twoStage]) {
      const answer = async (logitBias: Record<number, number>) => (await write(model, { temperature: 0, format, logitBias })).text;
      expect(await answer(ban("yes"))).toBe("no");
      expect(await answer(ban("no"))).toBe("yes");
      expect(["yes", "no"]).toContain(await answer(ban("yes", "no")));
      expect(["yes", "no"]).toContain(await answer({ [only(model, " dog")]: 100 })); // it never fits
    }
  });

  test.each([
    [{ 4096: 1 }, /logitBias must have ids of the vocabulary, which has 4096, not "4096"/],
    [{ "-1": 1 }, /not "-1"/],
    [{ "1e3": 1 }, /not "1e3"/],
    [{ 7: 100.5 }, /logitBias of token 7 must be a number from -100 to 100, not 100.5/],
    [{ 7: Number.NaN }, /not NaN/],
    [{ 7: "1" }, /not "1"/],
    [[1], /logitBias must be an object/],
    [Object.fromEntries(Array.from({ length: 1025 }, (_, id) => [id, 1])), /of up to 1024 tokens, not an object/],
  ])("%j is refused", (logitBias, message) => {
    expect(() => exact.generate(PROMPT, { logitBias: logitBias as Record<number, number> })).toThrow(
      expect.objectContaining({ code: "usage", message: expect.stringMatching(message) as string }),
    );
  });

  test.each([21, -1, 0.5, true])("logprobs: %s is refused", (logprobs) => {
    expect(() => exact.generate(PROMPT, { logprobs: logprobs as number })).toThrow(/logprobs must be a whole number from 0 to 20/);
  });
});

test("pieces are the text and the tokens of the result, each once; logprobs are beside them", async () => {
  const options = { logprobs: 1, temperature: 0, maxTokens: 20, stop: ["zzz"] };
  const generation = exact.generate(PROMPT, options);
  const pieces = [];
  for await (const piece of generation.pieces()) pieces.push(piece);
  const { text, ids, logprobs } = await generation.result();
  expect(pieces.length).toBeGreaterThan(5);
  expect(pieces.map((piece) => piece.text).join("")).toBe(text);
  expect(pieces.flatMap((piece) => piece.ids)).toEqual(ids);
  expect(pieces.flatMap((piece) => piece.logprobs!)).toEqual(logprobs);
  const strings = [];
  for await (const piece of exact.generate(PROMPT, options)) strings.push(piece);
  expect(strings).toEqual(pieces.map((piece) => piece.text).filter((piece) => piece !== ""));
  const { logprobs: none } = await (async () => {
    for await (const piece of exact.generate(PROMPT, { maxTokens: 1 }).pieces()) return piece;
    throw new Error("there is no piece");
  })();
  expect(none).toBeUndefined();
});
