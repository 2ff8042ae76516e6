import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { StepLimits } from "../compute/step.js";
import type { SamplingOptions } from "../sampling/types.js";
import { FakeRunner, say } from "./fakes.test.helper.js";
import type { GenerationRequest } from "./jobs.js";
import { Scheduler } from "./scheduler.js";
import type { StopReason } from "./types.js";

const VOCAB = 23;
const EOS = 7;
const STOP = 11;
const greedy: SamplingOptions = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 };
const roomy: StepLimits = { maxRows: 16, maxOutputs: 8, blockSize: 4, blocks: 64, contextLength: 64, states: 0 };
const tick = () => new Promise<void>((resolve) => setImmediate(resolve));

function request(promptIds: readonly number[], extra: Partial<GenerationRequest> = {}): GenerationRequest {
  return { promptIds, sampling: greedy, maxTokens: Infinity, eosIds: new Set(), stopIds: new Set(), ...extra };
}

/** The answer, computed alone and without any cache. */
function alone(asked: GenerationRequest, contextLength: number): { ids: number[]; stopReason: StopReason } {
  const tokens = [...asked.promptIds];
  const ids: number[] = [];
  for (;;) {
    if (ids.length >= asked.maxTokens) return { ids, stopReason: "length" };
    if (tokens.length >= contextLength) return { ids, stopReason: "context" };
    const { sampling } = asked;
    const counted = (sampling.frequencyPenalty ?? 0) !== 0;
    const seen = Int32Array.from(new Set(sampling.repetitionPenalty !== 1 ? tokens : counted ? ids : []));
    const counts = counted && { counts: seen.map((one) => ids.filter((id) => id === one).length) };
    const { id } = say(tokens, { row: 0, want: "sample", options: sampling, index: ids.length, seen, ...counts, trace: false }, VOCAB);
    tokens.push(id!);
    ids.push(id!);
    if (asked.eosIds.has(id!)) return { ids, stopReason: "eos" };
    if (asked.stopIds.has(id!)) return { ids, stopReason: "stop" };
  }
}

const rowsOf = (runner: FakeRunner) => runner.batches.reduce((sum, { tokens }) => sum + tokens.length, 0);

describe("any schedule gives every caller the answer computed alone", () => {
  const limits = fc
    .record({
      maxRows: fc.integer({ min: 1, max: 9 }),
      maxOutputs: fc.integer({ min: 1, max: 5 }),
      blockSize: fc.integer({ min: 1, max: 4 }),
      contextLength: fc.integer({ min: 3, max: 24 }),
      spare: fc.integer({ min: 0, max: 6 }),
      /** Half of the networks have recurrent layers. */
      states: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 6 })),
    })
    .map(({ spare, ...rest }): StepLimits => ({ ...rest, blocks: Math.ceil(rest.contextLength / rest.blockSize) + spare }));
  const call = fc.record({
    kind: fc.constantFrom("generate", "generate", "generate", "nll", "logits", "nll+logits"),
    /** Prompts out of few: common beginnings are the rule. */
    prompt: fc.record({ base: fc.integer({ min: 0, max: 2 }), length: fc.integer({ min: 1, max: 22 }), own: fc.nat(VOCAB - 1) }),
    maxTokens: fc.constantFrom(Infinity, 1, 2, 5, 9),
    penalty: fc.constantFrom(1, 1.5),
    frequency: fc.constantFrom(0, 0, 0.5),
    seed: fc.nat(3),
    speculate: fc.boolean(),
    ends: fc.boolean(),
    /** Steps of the runner to wait before the call. */
    delay: fc.nat(12),
    /** Steps after which it is aborted, if ever. */
    abort: fc.option(fc.nat(9), { nil: undefined, freq: 4 }),
  });

  test("with aborts, few blocks and idle sequences taken over", async () => {
    await fc.assert(
      fc.asyncProperty(limits, fc.array(call, { minLength: 1, maxLength: 12 }), async (limit, calls) => {
        const runner = new FakeRunner(limit, VOCAB);
        runner.onStep = tick;
        const scheduler = new Scheduler(runner, VOCAB);
        const wait = async (steps: number) => {
          const until = runner.batches.length + steps;
          // Where nothing runs no step comes: then time alone counts.
          for (let patience = 0; runner.batches.length < until && patience < steps * 3; patience++) await tick();
        };
        const run = async ({
          kind,
          prompt,
          maxTokens,
          penalty,
          frequency,
          seed,
          speculate,
          ends,
          delay,
          abort,
        }: (typeof calls)[number]) => {
          const most = kind === "generate" ? limit.contextLength - 1 : limit.contextLength;
          const length = Math.min(prompt.length, most);
          const ids = Array.from({ length }, (_, i) => (i === length - 1 ? prompt.own : (prompt.base * 5 + i) % VOCAB));
          const controller = new AbortController();
          const { signal } = controller;
          await wait(delay);
          if (abort !== undefined) void wait(abort).then(() => controller.abort());
          if (kind === "generate") {
            const asked = request(ids, {
              maxTokens,
              sampling: { ...greedy, seed, repetitionPenalty: penalty, frequencyPenalty: frequency },
              eosIds: new Set(ends ? [EOS] : []),
              stopIds: new Set(ends ? [STOP] : []),
              speculate,
              signal,
            });
            const expected = alone(asked, limit.contextLength);
            const heard: number[] = [];
            const onToken = (id: number) => heard.push(id) < 0;
            const outcome = await scheduler.generate({ ...asked, onToken }).done;
            if (outcome.stopReason === "aborted") {
              expect(signal.aborted).toBe(true);
              expect(outcome.ids).toEqual(expected.ids.slice(0, outcome.ids.length));
              expect(heard).toEqual(outcome.ids);
            } else {
              expect({ ids: outcome.ids, stopReason: outcome.stopReason }).toEqual(expected);
              expect(heard).toEqual(["eos", "stop"].includes(outcome.stopReason) ? outcome.ids.slice(0, -1) : outcome.ids);
            }
            expect(outcome.cachedTokens).toBeLessThan(ids.length);
          } else {
            const got: [number, unknown][] = [];
            const want = kind as "nll" | "logits" | "nll+logits";
            const done = scheduler.rows({ ids, want, first: seed, signal, onRow: (position, output) => got.push([position, output]) });
            const aborted = await done.then(
              () => false,
              (error: unknown) => {
                expect(error).toBe(signal.reason);
                return true;
              },
            );
            const expected = ids.flatMap((_, position): [number, unknown][] => {
              const target = ids[position + 1];
              if (position < seed || (want === "nll" && target === undefined)) return [];
              const output = want === "logits" || target === undefined ? { want: "logits" as const } : { want, target };
              return [[position, say(ids.slice(0, position + 1), { ...output, row: 0 }, VOCAB)]];
            });
            expect(got).toEqual(aborted ? expected.slice(0, got.length) : expected);
          }
        };
        await Promise.all(calls.map(run));

        // Nothing leaked: a sequence that needs all blocks of a context still runs.
        const last = request([1], { sampling: { ...greedy, seed: 99 } });
        expect((await scheduler.generate(last).done).ids).toEqual(alone(last, limit.contextLength).ids);
      }),
      { numRuns: 400, seed: 5 },
    );
  });
});

describe("batches", () => {
  test("of calls made in the same breath are shared", async () => {
    const runner = new FakeRunner(roomy, VOCAB);
    const scheduler = new Scheduler(runner, VOCAB);
    await Promise.all([1, 2, 3].map((id) => scheduler.generate(request([id, id], { maxTokens: 5 })).done));
    expect(runner.batches.length).toBe(5);
    expect(runner.batches[0]!.tables.length).toBe(3);
  });

  test("have a row of every decoding sequence while long prompts are computed, and prompts take turns", async () => {
    const runner = new FakeRunner({ ...roomy, maxRows: 6, blocks: 200 }, VOCAB);
    runner.onStep = tick;
    const scheduler = new Scheduler(runner, VOCAB);
    const arrived: number[] = [];
    const first = scheduler.generate(
      request([1], {
        maxTokens: 30,
        onToken: () => {
          arrived.push(runner.batches.length);
          return false;
        },
      }),
    ).done;
    while (arrived.length < 3) await tick();
    const prompts = [2, 3].map((id) => Array.from({ length: 60 }, () => id));
    const others = prompts.map((prompt) => scheduler.generate(request(prompt, { maxTokens: 1 })).done);
    await Promise.all([first, ...others]);
    expect(arrived).toEqual(Array.from({ length: 30 }, (_, i) => i + 1)); // a token from every batch
    const served = runner.batches
      .filter(({ tables }) => tables.length === 2)
      .map(({ tokens }) => tokens.find((token) => token === 2 || token === 3));
    expect(new Set(served.slice(0, 2)).size).toBe(2);
    expect(served.length).toBe(24);
  });

  test("keep within blocks by putting the youngest back, and say nothing of it", async () => {
    const limits = { ...roomy, maxRows: 8, blockSize: 2, contextLength: 40, blocks: 20 };
    const runner = new FakeRunner(limits, VOCAB);
    const scheduler = new Scheduler(runner, VOCAB);
    const asked = [1, 2, 3].map((id) => request([id, id, id], { maxTokens: 30 }));
    const outcomes = await Promise.all(asked.map((one) => scheduler.generate(one).done));
    for (const [i, one] of asked.entries()) expect(outcomes[i]).toMatchObject(alone(one, limits.contextLength));
    expect(rowsOf(runner)).toBeGreaterThan(3 * 32); // something was computed twice, but not again and again
    expect(rowsOf(runner)).toBeLessThan(160);
    // The oldest never waited: its n-th token came from the n-th batch.
    for (const [i, { positions }] of runner.batches.slice(0, 30).entries()) expect(positions[i === 0 ? 2 : 0]).toBe(i + 2);
  });
});

describe("a sequence that was put back", () => {
  test("leaves nothing behind when it is aborted before its next turn", async () => {
    const limits = { ...roomy, maxRows: 8, blockSize: 2, contextLength: 40, blocks: 20 };
    const runner = new FakeRunner(limits, VOCAB);
    const controller = new AbortController();
    let most = 0;
    runner.onStep = ({ tables }) => {
      most = Math.max(most, tables.length);
      if (tables.length < most) controller.abort(); // the younger one lost its blocks just now
    };
    const scheduler = new Scheduler(runner, VOCAB);
    const first = scheduler.generate(request([1, 1], { maxTokens: 30 })).done;
    const aborted = await scheduler.generate(request([2, 2], { signal: controller.signal })).done;
    expect(aborted.stopReason).toBe("aborted");
    expect(aborted.ids.length).toBeGreaterThan(5);
    const again = request([2, 2, ...aborted.ids], { maxTokens: 2 });
    expect(await scheduler.generate(again).done).toMatchObject({ cachedTokens: 0, ...alone(again, limits.contextLength) });
    await first;
  });
});

describe("admission", () => {
  test("is bounded: what comes when all places are taken is refused, and only that", async () => {
    const runner = new FakeRunner(roomy, VOCAB);
    runner.onStep = tick;
    const scheduler = new Scheduler(runner, VOCAB, VOCAB, { maxRunning: 2, maxWaiting: 1 });
    const asked = [1, 2, 3].map((id) => request([id], { maxTokens: 4 }));
    const running = asked.map((one) => scheduler.generate(one).done);
    const busy = expect.objectContaining({
      code: "busy",
      message: expect.stringMatching(/^0 answers are being computed and 3 wait, .* try again later/),
    });
    expect(() => scheduler.generate(request([4]))).toThrow(busy);
    await expect(scheduler.rows({ ids: [4, 5], want: "nll", onRow: () => {} })).rejects.toMatchObject({ code: "busy" });
    await undefined;
    await undefined;
    expect(scheduler.stats).toMatchObject({ running: 2, waiting: 1, refused: 2 });
    for (const [i, outcome] of (await Promise.all(running)).entries()) expect(outcome).toMatchObject(alone(asked[i]!, roomy.contextLength));
    expect(scheduler.stats).toMatchObject({
      running: 0,
      waiting: 0,
      promptTokens: 3,
      generatedTokens: 12,
      computedTokens: 12,
      cachedTokens: 0,
    });
    expect(await scheduler.generate(asked[0]!).done).toMatchObject(alone(asked[0]!, roomy.contextLength));
  });
});

describe("the cache", () => {
  const prompt = Array.from({ length: 20 }, (_, i) => i);

  test("gives the next turn of a chat what the turn before computed", async () => {
    const runner = new FakeRunner(roomy, VOCAB);
    const scheduler = new Scheduler(runner, VOCAB);
    const first = await scheduler.generate(request(prompt, { maxTokens: 6 })).done;
    expect(first.cachedTokens).toBe(0);
    const before = rowsOf(runner);
    const turn = request([...prompt, ...first.ids, 3, 4], { maxTokens: 4 });
    const second = await scheduler.generate(turn).done;
    expect(second.cachedTokens).toBe(25); // the token chosen last was never computed
    expect(rowsOf(runner) - before).toBe(3 + 3);
    expect(second).toMatchObject(alone(turn, roomy.contextLength));
  });

  test("gives all but the last token to the same prompt again", async () => {
    const scheduler = new Scheduler(new FakeRunner(roomy, VOCAB), VOCAB);
    const first = await scheduler.generate(request(prompt, { maxTokens: 6 })).done;
    const second = await scheduler.generate(request(prompt, { maxTokens: 6 })).done;
    expect(second.cachedTokens).toBe(19);
    expect(second.ids).toEqual(first.ids);
  });

  test("is shared with a sequence of which little would be used, and not taken from it", async () => {
    const scheduler = new Scheduler(new FakeRunner(roomy, VOCAB), VOCAB);
    await scheduler.generate(request(prompt, { maxTokens: 1 })).done;
    const other = await scheduler.generate(request([...prompt.slice(0, 9), 22, 22], { maxTokens: 1 })).done;
    expect(other.cachedTokens).toBe(8); // full blocks
    const again = await scheduler.generate(request(prompt, { maxTokens: 1 })).done;
    expect(again.cachedTokens).toBe(19);
  });

  test("computes once what prompts of one time begin with, in whole blocks", async () => {
    const runner = new FakeRunner({ ...roomy, maxRows: 8 }, VOCAB);
    const scheduler = new Scheduler(runner, VOCAB);
    const asked = Array.from({ length: 8 }, (_, i) => request([...prompt, i, i], { maxTokens: 3 }));
    const outcomes = await Promise.all(asked.map((one) => scheduler.generate(one).done));
    for (const [i, outcome] of outcomes.entries()) expect(outcome).toMatchObject(alone(asked[i]!, roomy.contextLength));
    expect(outcomes.reduce((sum, { cachedTokens }) => sum + cachedTokens, 0)).toBe(7 * 20);
    expect(rowsOf(runner)).toBe(20 + 8 * (2 + 2));
  });

  test("is shared with a sequence that still computes, which may end before the other has all", async () => {
    const runner = new FakeRunner({ ...roomy, maxRows: 4 }, VOCAB);
    const controller = new AbortController();
    runner.onStep = () => {
      if (runner.batches.length === 3) controller.abort();
    };
    const scheduler = new Scheduler(runner, VOCAB);
    const second = request([...prompt, 5], { maxTokens: 3 });
    const [first, outcome] = await Promise.all([
      scheduler.generate(request(prompt, { signal: controller.signal })).done,
      scheduler.generate(second).done,
    ]);
    expect(first.stopReason).toBe("aborted");
    expect(outcome).toMatchObject(alone(second, roomy.contextLength));
    expect(rowsOf(runner)).toBe(second.promptIds.length + 2);
  });

  test("survives scoring, and forgets the sequence used longest ago", async () => {
    const scheduler = new Scheduler(new FakeRunner({ ...roomy, blocks: 17 }, VOCAB), VOCAB);
    const prompts = [5, 6].map((id) => Array.from({ length: 30 }, () => id));
    await scheduler.generate(request(prompts[0]!, { maxTokens: 1 })).done; // 8 blocks
    await scheduler.generate(request(prompts[1]!, { maxTokens: 1 })).done; // 8 blocks
    await scheduler.rows({ ids: prompts[1]!.slice(0, 4), want: "nll", onRow: () => {} }); // 1 block, which is free
    await scheduler.rows({ ids: prompts[1]!.slice(0, 8), want: "nll", onRow: () => {} }); // 2: the first is dropped
    expect((await scheduler.generate(request(prompts[1]!, { maxTokens: 1 })).done).cachedTokens).toBe(29);
    expect((await scheduler.generate(request(prompts[0]!, { maxTokens: 1 })).done).cachedTokens).toBe(0);
  });

  test("keeps what an aborted prompt had computed", async () => {
    const runner = new FakeRunner({ ...roomy, maxRows: 4 }, VOCAB);
    const controller = new AbortController();
    runner.onStep = () => {
      if (runner.batches.length === 3) controller.abort();
    };
    const scheduler = new Scheduler(runner, VOCAB);
    const outcome = await scheduler.generate(request(prompt, { signal: controller.signal })).done;
    expect(outcome).toMatchObject({ ids: [], stopReason: "aborted" });
    expect(runner.batches.length).toBe(3); // within one batch
    const again = request(prompt, { maxTokens: 3 });
    expect(await scheduler.generate(again).done).toMatchObject({ cachedTokens: 12, ...alone(again, roomy.contextLength) });
  });
});

describe("an abort", () => {
  test("before the call, while queued, and while others run, ends that answer alone", async () => {
    const runner = new FakeRunner({ ...roomy, maxOutputs: 1 }, VOCAB); // one sequence at a time
    const scheduler = new Scheduler(runner, VOCAB);
    const running = request([1, 2], { maxTokens: 20 });
    const first = scheduler.generate(running).done;
    const queued = new AbortController();
    const second = scheduler.generate(request([3, 4], { signal: queued.signal })).done;
    const third = scheduler.generate(request([3, 4], { signal: AbortSignal.abort() })).done;
    expect(await third).toMatchObject({ ids: [], stopReason: "aborted" });
    expect(runner.batches.length).toBeLessThanOrEqual(1);
    const steps = runner.batches.length;
    queued.abort();
    expect(await second).toMatchObject({ ids: [], stopReason: "aborted" });
    expect(runner.batches.length - steps).toBeLessThanOrEqual(2);
    expect(await first).toMatchObject(alone(running, roomy.contextLength));
  });

  test("during a step silences what that step says", async () => {
    const runner = new FakeRunner(roomy, VOCAB);
    const controller = new AbortController();
    runner.onStep = () => {
      if (runner.batches.length === 5) controller.abort();
    };
    const heard: number[] = [];
    const onToken = (id: number) => heard.push(id) < 0;
    const outcome = await new Scheduler(runner, VOCAB).generate(request([1, 2], { signal: controller.signal, onToken })).done;
    expect(outcome.ids).toEqual(heard);
    expect(heard.length).toBe(4);
  });

  test("of a scoring rejects with the signal's reason", async () => {
    const runner = new FakeRunner({ ...roomy, maxRows: 2 }, VOCAB);
    const scheduler = new Scheduler(runner, VOCAB);
    const controller = new AbortController();
    runner.onStep = () => {
      if (runner.batches.length === 2) controller.abort(new Error("enough"));
    };
    const ids = Array.from({ length: 20 }, () => 1);
    await expect(scheduler.rows({ ids, want: "nll", signal: controller.signal, onRow: () => {} })).rejects.toThrow("enough");
    expect(runner.batches.length).toBe(2);
  });
});

describe("failures", () => {
  test("of the runner reject everything, and later calls", async () => {
    const runner = new FakeRunner(roomy, VOCAB);
    runner.failAt = 3;
    const scheduler = new Scheduler(runner, VOCAB);
    const calls = [
      scheduler.generate(request([1])).done,
      scheduler.generate(request([2])).done,
      scheduler.rows({ ids: Array.from({ length: 60 }, () => 1), want: "nll", onRow: () => {} }),
    ];
    for (const result of await Promise.allSettled(calls)) expect(result).toMatchObject({ reason: { message: "the worker died" } });
    await expect(scheduler.generate(request([1])).done).rejects.toThrow("the worker died");
    await expect(scheduler.generate(request([1], { maxTokens: 0 })).done).rejects.toThrow("the worker died");
    expect(runner.batches.length).toBe(4);
  });

  test("of a listener end its own answer alone", async () => {
    const scheduler = new Scheduler(new FakeRunner(roomy, VOCAB), VOCAB);
    const broken = scheduler.generate(
      request([1], {
        onToken: () => {
          throw new Error("no ears");
        },
      }),
    ).done;
    const sound = request([2], { maxTokens: 10 });
    const other = scheduler.generate(sound).done;
    await expect(broken).rejects.toThrow("no ears");
    expect(await other).toMatchObject(alone(sound, roomy.contextLength));
  });

  test("close() rejects what is under way and what comes after, and closes the runner", async () => {
    const runner = new FakeRunner(roomy, VOCAB);
    runner.onStep = tick;
    const scheduler = new Scheduler(runner, VOCAB);
    const calls = [scheduler.generate(request([1])).done, scheduler.generate(request([2])).done];
    await tick();
    await scheduler.close();
    await scheduler.close();
    for (const result of await Promise.allSettled(calls)) expect(result).toMatchObject({ reason: { code: "closed" } });
    await expect(scheduler.generate(request([1])).done).rejects.toMatchObject({ code: "closed" });
    await expect(scheduler.rows({ ids: [1], want: "logits", onRow: () => {} })).rejects.toMatchObject({ code: "closed" });
    expect(runner.closed).toBe(true);
  });
});

describe("prompts that can't be used", () => {
  const scheduler = new Scheduler(new FakeRunner(roomy, VOCAB), VOCAB);
  const long = (length: number) => Array.from({ length }, () => 1);

  test.each([
    ["empty", [], "empty"],
    ["an id past the vocabulary", [1, VOCAB], "token id 23 (number 2 of the prompt)"],
    ["a negative id", [-1], "token id -1"],
    ["a fraction", [0.5], "token id 0.5"],
    ["no room", long(64), "64 tokens, and the context of 64 leaves no room"],
  ])("%s", (_, ids, words) => {
    expect(() => scheduler.generate(request(ids))).toThrow(
      expect.objectContaining({ code: "usage", message: expect.stringContaining(words) as string }),
    );
  });

  test("rows of too long or strange texts", async () => {
    for (const ids of [[], [VOCAB], long(65)]) {
      await expect(scheduler.rows({ ids, want: "nll", onRow: () => {} })).rejects.toMatchObject({ code: "usage" });
    }
    await scheduler.rows({ ids: long(64), want: "nll", onRow: () => {} });
  });

  test("the last place of the context is written to", async () => {
    const outcome = await scheduler.generate(request(long(63))).done;
    expect(outcome).toMatchObject({ stopReason: "context", ids: { length: 1 } });
  });

  test("nothing asked for is nothing done", async () => {
    const runner = new FakeRunner(roomy, VOCAB);
    const idle = new Scheduler(runner, VOCAB);
    expect(await idle.generate(request([1], { maxTokens: 0 })).done).toMatchObject({ ids: [], stopReason: "length" });
    await idle.rows({ ids: [1], want: "nll", onRow: () => expect.unreachable() });
    expect(runner.batches.length).toBe(0);
  });
});
