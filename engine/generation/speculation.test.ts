import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { RowOutput, StepBatch, StepLimits, StepOutput } from "../compute/step.js";
import { type GenerateOptions, type GenerationResult, loadModel } from "../index.js";
import { resolveOptions } from "./defaults.js";
import { FakeRunner, FakeTokenizer, generationDefaultsFor, hash, hiddenOf, historyOf } from "./fakes.test.helper.js";
import { Scheduler } from "./scheduler.js";
import { generate } from "./stream.js";

const tokenizer = new FakeTokenizer();
/** What the fake network can say: letters, the halves of a letter, and seldom the end. */
const SAID = [...tokenizer.encode("ab é", { bos: false }), tokenizer.idOf("<|eot_id|>")!];
const SELDOM = SAID.length - 1;

/** A network that mostly goes by its last two tokens, so that it soon repeats itself, and now and then by everything there is. */
function habits(history: readonly number[], output: RowOutput): StepOutput {
  if (output.want !== "sample") return { nll: hash(...history) / 2 ** 32 };
  const { options, index, trace } = output;
  const hidden = trace ? { hidden: hiddenOf(history) } : {};
  const mood = hash(...history, options.seed, index, ...historyOf(output));
  if (mood % 97 === 0) return { id: SAID[SELDOM]!, ...hidden };
  const from = mood % 11 === 0 ? mood : hash(...history.slice(-2), options.seed);
  return { id: SAID[(from >>> 8) % SELDOM]!, ...hidden };
}

interface Call {
  readonly prompt: readonly number[];
  readonly options: GenerateOptions;
  /** Score the prompt instead. */
  readonly score: boolean;
}

interface Heard {
  /** All that a caller can tell an answer by. */
  readonly answers: readonly unknown[];
  readonly results: readonly GenerationResult[];
  readonly runner: FakeRunner;
  readonly scheduler: Scheduler;
}

const newRunner = (limits: StepLimits) => new FakeRunner(limits, tokenizer.size);

/** Runs all calls at once, then each of its prompts and answers again as the beginning of another. */
async function hear(limits: StepLimits, calls: readonly Call[], speculate: boolean, make = newRunner): Promise<Heard> {
  const runner = make(limits);
  runner.speak = habits;
  const scheduler = new Scheduler(runner, tokenizer.size);
  const defaults = generationDefaultsFor(tokenizer);
  const results: GenerationResult[] = [];
  const one = async ({ prompt, options, score }: Call): Promise<unknown> => {
    if (score) {
      const nll: unknown[] = [];
      await scheduler.rows({ ids: prompt, want: "nll", onRow: (_, output) => nll.push(output.nll) });
      return nll;
    }
    const resolved = resolveOptions({ ...options, speculate, trace: true }, defaults, tokenizer.size);
    const generation = generate(scheduler, tokenizer, prompt, resolved);
    let streamed = "";
    for await (const piece of generation) streamed += piece;
    const result = await generation.result();
    results.push(result);
    const { ids, text, stopReason, trace } = result;
    // Each step's own, whatever was guessed, put back or computed again.
    expect(trace!.steps).toEqual(ids.map((id, i) => ({ id, hidden: hiddenOf([...prompt, ...ids.slice(0, i)]) })));
    return { ids, text, stopReason, streamed, chain: trace!.chain };
  };
  return { answers: await Promise.all(calls.map(one)), results, runner, scheduler };
}

const rowsOf = (batches: readonly StepBatch[]) => batches.reduce((sum, { tokens }) => sum + tokens.length, 0);
const total = (results: readonly GenerationResult[], name: "draftedTokens" | "acceptedTokens" | "decodedTokens") =>
  results.reduce((sum, { timings }) => sum + timings[name], 0);

const call: fc.Arbitrary<Call> = fc.record({
  prompt: fc.array(fc.constantFrom(...SAID.slice(0, SELDOM)), { minLength: 1, maxLength: 20 }),
  options: fc.record({
    maxTokens: fc.constantFrom(1, 2, 3, 8, 20, 60),
    seed: fc.nat(20),
    temperature: fc.constantFrom(0, 0.8),
    repetitionPenalty: fc.constantFrom(1, 1, 1.3),
    frequencyPenalty: fc.constantFrom(0, 0, 0.5),
    stop: fc.constantFrom([], [], ["ab a"], ["bbb", "a  a"], ["éa"]),
    stopIds: fc.constantFrom([], [], [], [SAID[1]!]),
    ignoreEos: fc.boolean(),
  }),
  score: fc.constantFrom(false, false, false, true),
});
const roomy: StepLimits = { maxRows: 64, maxOutputs: 32, blockSize: 4, blocks: 400, contextLength: 96, states: 0 };

describe("speculation changes no answer", () => {
  test("of any calls at once, in caches and batches of any size", async () => {
    const limits = fc
      .record({
        maxRows: fc.integer({ min: 1, max: 24 }),
        maxOutputs: fc.integer({ min: 1, max: 12 }),
        blockSize: fc.integer({ min: 1, max: 5 }),
        contextLength: fc.integer({ min: 21, max: 64 }),
        spare: fc.integer({ min: 0, max: 12 }),
        states: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 9 })),
      })
      .map(({ spare, ...rest }): StepLimits => ({ ...rest, blocks: Math.ceil(rest.contextLength / rest.blockSize) + spare }));
    let drafted = 0;
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(limits, fc.array(call, { minLength: 1, maxLength: 6 }), async (limit, calls) => {
        const off = await hear(limit, calls, false);
        const on = await hear(limit, calls, true);
        expect(on.answers).toEqual(off.answers);
        expect(total(off.results, "draftedTokens")).toBe(0);
        drafted += total(on.results, "draftedTokens");
        accepted += total(on.results, "acceptedTokens");
        expect(on.runner.batches.every((batch) => isFrugal(batch, limit.blockSize))).toBe(true);
        // What is left in the cache is right, and nothing leaked: an answer that goes on from it, and one that needs all blocks.
        for (const { promptIds, ids } of [...on.results, { promptIds: [SAID[0]!], ids: [] }]) {
          const again: Call = {
            prompt: [...promptIds, ...ids].slice(0, limit.contextLength - 1),
            options: { ignoreEos: true },
            score: false,
          };
          const request = { promptIds: again.prompt, ...resolveOptions(again.options, generationDefaultsFor(tokenizer), tokenizer.size) };
          const outcome = await on.scheduler.generate({ ...request, speculate: true }).done;
          expect([{ ids: outcome.ids, stopReason: outcome.stopReason }]).toMatchObject(
            (await hear(limit, [again], false)).results.map(pick),
          );
        }
      }),
      { numRuns: 150, seed: 8 },
    );
    expect(drafted).toBeGreaterThan(accepted);
    expect(accepted).toBeGreaterThan(300);
  });

  /** Whether every sequence has the blocks of its rows and no more: those of wrong guesses were given back. */
  function isFrugal({ tables, sequences, positions }: StepBatch, blockSize: number): boolean {
    return tables.every(({ length }, i) => length === Math.floor(positions[sequences.lastIndexOf(i)]! / blockSize) + 1);
  }

  const pick = ({ ids, stopReason }: GenerationResult) => ({ ids, stopReason });

  test("and takes no more passes, where there is room, and fewer where the text repeats itself", async () => {
    let saved = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(call, { minLength: 1, maxLength: 4 }), async (calls) => {
        const off = await hear(roomy, calls, false);
        const on = await hear(roomy, calls, true);
        expect(on.answers).toEqual(off.answers);
        expect(on.runner.batches.length).toBeLessThanOrEqual(off.runner.batches.length);
        saved += off.runner.batches.length - on.runner.batches.length;
      }),
      { numRuns: 100, seed: 9 },
    );
    expect(saved).toBeGreaterThan(200);
  });

  test("because each guess is checked: a runner that agrees with every guess is found out", async () => {
    class Agreeable extends FakeRunner {
      override async step(batch: StepBatch): Promise<StepOutput[]> {
        const outputs = await super.step(batch);
        return outputs.map((output, i) => {
          const { row, want } = batch.outputs[i]!;
          const guess = batch.sequences[row + 1] === batch.sequences[row] ? batch.tokens[row + 1] : undefined;
          return want === "sample" && guess !== undefined ? { ...output, id: guess } : output;
        });
      }
    }
    const calls = [{ prompt: tokenizer.encode("abab"), options: { ignoreEos: true, seed: 4 }, score: false }];
    const off = await hear(roomy, calls, false);
    expect((await hear(roomy, calls, true)).answers).toEqual(off.answers);
    const make = (limits: StepLimits) => new Agreeable(limits, tokenizer.size);
    expect((await hear(roomy, calls, false, make)).answers).toEqual(off.answers);
    expect((await hear(roomy, calls, true, make)).answers).not.toEqual(off.answers);
  });
});

/** A network that counts to four, over and over. */
const counting = (history: readonly number[]): StepOutput => ({ id: 10 + ((history.at(-1)! - 10 + 1) % 4) });
const COUNTED = Array.from({ length: 20 }, (_, i) => 10 + (i % 4));

function start(runner: FakeRunner, scheduler: Scheduler, promptIds: readonly number[], maxTokens: number, speculate = true) {
  runner.speak = counting;
  const resolved = resolveOptions({ maxTokens, speculate }, generationDefaultsFor(tokenizer), tokenizer.size);
  return scheduler.generate({ ...resolved, promptIds }).done;
}

describe("guesses", () => {
  test("save passes, are counted, and never reach past the last token wanted", async () => {
    const runner = newRunner(roomy);
    const outcome = await start(runner, new Scheduler(runner, tokenizer.size), COUNTED, 30);
    expect(outcome).toMatchObject({ stopReason: "length", ids: { length: 30 } });
    const passes = runner.batches.length;
    expect(passes).toBeLessThan(12);
    expect(outcome.acceptedTokens).toBe(30 - passes);
    expect(outcome.draftedTokens).toBe(outcome.acceptedTokens); // it never departs from its habit
    expect(rowsOf(runner.batches)).toBe(COUNTED.length + 29);
  });

  test("reach the end of the context, and not past it", async () => {
    const runner = newRunner(roomy);
    const outcome = await start(runner, new Scheduler(runner, tokenizer.size), COUNTED, Infinity);
    expect(outcome).toMatchObject({ stopReason: "context", ids: { length: 96 - COUNTED.length } });
    expect(Math.max(...runner.batches.flatMap(({ positions }) => [...positions]))).toBe(94);
  });

  test("are not computed past a token that would end the answer", async () => {
    const runner = newRunner(roomy);
    runner.speak = counting;
    const request = resolveOptions({ speculate: true, stopIds: [11] }, generationDefaultsFor(tokenizer), tokenizer.size);
    const outcome = await new Scheduler(runner, tokenizer.size).generate({ ...request, promptIds: COUNTED }).done;
    expect(outcome).toMatchObject({ ids: [10, 11], stopReason: "stop" });
    expect(rowsOf(runner.batches)).toBe(COUNTED.length + 1);
  });

  test("wait while a prompt fills the batches", async () => {
    const passes = async (speculate: boolean) => {
      const runner = newRunner({ ...roomy, maxRows: 8 });
      const scheduler = new Scheduler(runner, tokenizer.size);
      const first = start(runner, scheduler, COUNTED, 60, speculate);
      const long = Array.from({ length: 80 }, (_, i) => 5 + (i % 30));
      await start(runner, scheduler, long, 1, speculate);
      const until = runner.batches.length;
      await first;
      return { until, all: runner.batches.length };
    };
    const [on, off] = [await passes(true), await passes(false)];
    expect(on.until).toBe(off.until);
    expect(on.all).toBeLessThan(off.all - 20);
  });

  test("put no other sequence back, and drop no idle one", async () => {
    // Two answers of 40 positions need exactly the blocks there are.
    const limits = { ...roomy, blockSize: 4, blocks: 24, contextLength: 96, states: 0 };
    const runner = newRunner(limits);
    const scheduler = new Scheduler(runner, tokenizer.size);
    const prompts = [COUNTED, COUNTED.map((id) => id + 4)];
    const outcomes = await Promise.all(prompts.map((prompt) => start(runner, scheduler, prompt, 28)));
    const drafted = outcomes.reduce((sum, { draftedTokens }) => sum + draftedTokens, 0);
    const accepted = outcomes.reduce((sum, { acceptedTokens }) => sum + acceptedTokens, 0);
    expect(accepted).toBeGreaterThan(20);
    expect(rowsOf(runner.batches)).toBe(2 * (COUNTED.length + 27) + drafted - accepted); // nothing was computed twice

    // Both are idle now and hold all blocks. A third answer needs five blocks, and takes them from the older of the two.
    await start(
      runner,
      scheduler,
      COUNTED.map((id) => id + 20),
      1,
    );
    const again = await start(runner, scheduler, [...prompts[1]!, ...outcomes[1]!.ids], 1);
    expect(again.cachedTokens).toBeGreaterThanOrEqual(COUNTED.length + 27);
  });
});

describe("the embedded model", () => {
  const sampled = { temperature: 0.8, topP: 0.95 };
  const calls: readonly (readonly [string, GenerateOptions])[] = [
    ["Once upon a time", { temperature: 0 }],
    ["The dog", { temperature: 0 }],
    ["The dog", { ...sampled, seed: 5 }],
    ["Peter Rabbit hopped down", { ...sampled, topK: 20, repetitionPenalty: 1.1, seed: 6 }],
    ["The cat sat on the mat. The dog sat on the mat. The cat sat on", { ...sampled, seed: 7 }],
    ["I like you. I like you. I like you. I like", { temperature: 0, repetitionPenalty: 1.05 }],
    ["I like you. I like you. I like you. I like", { temperature: 0, stop: ["He", "ou. I li"] }],
  ];

  test("writes the same with and without, alone and together", async () => {
    const model = await loadModel(undefined, { threads: 2, contextLength: 512 });
    try {
      const ask = ([prompt, options]: (typeof calls)[number], speculate: boolean) =>
        model.generate(prompt, { maxTokens: 80, ...options, speculate }).result();
      const all = async (speculate: boolean, together: boolean): Promise<GenerationResult[]> => {
        if (together) return Promise.all(calls.map((one) => ask(one, speculate)));
        const results: GenerationResult[] = [];
        for (const one of calls) results.push(await ask(one, speculate));
        return results;
      };
      const said = (results: readonly GenerationResult[]) => results.map(({ ids, text, stopReason }) => ({ ids, text, stopReason }));
      const plain = await all(false, false);
      const alone = await all(true, false);
      expect(said(alone)).toEqual(said(plain));
      const together = await all(true, true);
      expect(said(together)).toEqual(said(plain));
      expect(total(plain, "draftedTokens")).toBe(0);
      for (const results of [alone, together]) {
        expect(total(results, "acceptedTokens")).toBeGreaterThan(20);
        expect(total(results, "draftedTokens")).toBeGreaterThan(total(results, "acceptedTokens"));
      }
      // A text that does nothing but repeat itself: most of it comes from guesses.
      const code = "for (let i = 0; i < 3; i++) { a[i] = b[i]; }\n".repeat(5);
      const [slow, fast] = [await ask([code, { temperature: 0 }], false), await ask([code, { temperature: 0 }], true)];
      expect(fast.ids).toEqual(slow.ids);
      expect(fast.timings.acceptedTokens).toBeGreaterThan(40);
    } finally {
      await model.close();
    }
  });
});
