import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { StepLimits } from "../compute/step.js";
import { resolveOptions } from "./defaults.js";
import { FakeRunner, FakeTokenizer, generationDefaultsFor } from "./fakes.test.helper.js";
import { Scheduler } from "./scheduler.js";
import { generate, maxAnswerLength } from "./stream.js";
import type { GenerateOptions } from "./types.js";

const tokenizer = new FakeTokenizer();
const limits: StepLimits = { maxRows: 8, maxOutputs: 4, blockSize: 4, blocks: 32, contextLength: 64, states: 0 };
const PROMPT = tokenizer.encode("hi ");
const [HALF, OTHER_HALF] = tokenizer.encode("é", { bos: false }) as [number, number];

/** A model that answers every prompt with these tokens, over and over. */
function setUp(script: readonly number[], options: GenerateOptions = {}) {
  const runner = new FakeRunner(limits, tokenizer.size);
  runner.speak = (history) => ({ id: script[(history.length - PROMPT.length) % script.length]! });
  const scheduler = new Scheduler(runner, tokenizer.size);
  const resolved = resolveOptions(options, generationDefaultsFor(tokenizer), tokenizer.size);
  return { runner, scheduler, generation: generate(scheduler, tokenizer, PROMPT, resolved) };
}

const ids = (text: string) => tokenizer.encode(text, { bos: false });

async function read<T>(generation: AsyncIterable<T>): Promise<T[]> {
  const pieces: T[] = [];
  for await (const piece of generation) pieces.push(piece);
  return pieces;
}

describe("an answer", () => {
  test("streams whole characters until the model ends its turn, whose token is not shown", async () => {
    const { generation } = setUp([...ids("so "), HALF, OTHER_HALF, ...ids("!<|eot_id|>")]);
    expect(await read(generation)).toEqual(["s", "o", " ", "é", "!"]);
    const result = await generation.result();
    expect(result).toMatchObject({ text: "so é!", stopReason: "eos", promptIds: PROMPT, ids: [...ids("so é!"), 2] });
    expect(result.timings).toMatchObject({ promptTokens: PROMPT.length, cachedTokens: 0, decodedTokens: 7 });
  });

  test("shows only the special tokens that are asked for, where they stand", async () => {
    const script = [...ids("a"), 1, ...ids("b"), 0, ...ids("c"), 1, 2];
    const { scheduler } = setUp(script);
    const resolved = resolveOptions({}, { ...generationDefaultsFor(tokenizer), eosIds: new Set([2]) }, tokenizer.size);
    const text = (shows?: (id: number) => boolean) => generate(scheduler, tokenizer, PROMPT, { ...resolved, shows }).result();
    expect((await text()).text).toBe("abc");
    expect((await text((id) => id === 1)).text).toBe(`a${tokenizer.textOf(1)}bc${tokenizer.textOf(1)}`);
  });

  test("tells in pieces which tokens' text is complete: halves of a character and what may be cut off wait", async () => {
    const script = [...ids("so "), HALF, OTHER_HALF, ...ids("!b"), ...ids("ab"), ...ids("<|eot_id|>")];
    const pieces = await read(setUp(script, { stop: ["abc"] }).generation.pieces());
    expect(pieces).toEqual([
      { text: "s", ids: ids("s") },
      { text: "o", ids: ids("o") },
      { text: " ", ids: ids(" ") },
      { text: "é", ids: [HALF, OTHER_HALF] },
      { text: "!", ids: ids("!") },
      { text: "b", ids: ids("b") },
      { text: "ab", ids: [...ids("ab"), 2] }, // the token that ends the answer is in the last
    ]);
    const stopped = await read(setUp([...ids("xabcy"), HALF], { stop: ["abc"] }).generation.pieces());
    expect(stopped).toEqual([
      { text: "x", ids: ids("x") },
      { text: "", ids: ids("abc") },
    ]);
    const halved = await read(setUp([...ids("x"), HALF, ...ids("y")], { maxTokens: 2 }).generation.pieces());
    expect(halved).toEqual([
      { text: "x", ids: ids("x") },
      { text: "\ufffd", ids: [HALF] },
    ]);
  });

  test("a token that ends inside a character is complete with the character, whatever else it says", async () => {
    // "x" and the first half of "é" in one token.
    const odd = Object.create(tokenizer) as FakeTokenizer;
    const bytesOf = (id: number) => (id === 3 ? Uint8Array.of(0x78, 0xc3) : tokenizer.decodeBytes([id], { special: false }));
    odd.decodeBytes = (list) => Uint8Array.from(list.flatMap((id) => [...bytesOf(id)]));
    odd.decoder = () => {
      const decoder = new TextDecoder();
      return { push: (id) => decoder.decode(bytesOf(id), { stream: true }), end: () => decoder.decode() };
    };
    const { scheduler } = setUp([3, OTHER_HALF, ...ids("a<|eot_id|>")]);
    const resolved = resolveOptions({}, generationDefaultsFor(tokenizer), tokenizer.size);
    const pieces = await read(generate(scheduler, odd, PROMPT, resolved).pieces());
    expect(pieces).toEqual([
      { text: "x", ids: [] },
      { text: "é", ids: [3, OTHER_HALF] },
      { text: "a", ids: ids("a") },
      { text: "", ids: [2] },
    ]);
  });

  test("any script: pieces are its text and its tokens, and each begins where the tokens before it end", async () => {
    const token = fc.constantFrom(...ids("ab :"), HALF, OTHER_HALF, ...ids("<|begin_of_text|>"));
    const stops = fc.array(fc.constantFrom("ab", "b:", "é", "aaa"), { maxLength: 2 });
    await fc.assert(
      fc.asyncProperty(fc.array(token, { minLength: 1, maxLength: 14 }), stops, fc.nat(20), async (script, stop, maxTokens) => {
        const { generation } = setUp(script, { stop, maxTokens });
        const pieces = await read(generation.pieces());
        const result = await generation.result();
        expect(pieces.map(({ text }) => text).join("")).toBe(result.text);
        expect(pieces.flatMap((piece) => piece.ids)).toEqual(result.ids);
        expect(pieces.slice(0, -1).filter(({ text }) => text === "")).toEqual([]);
        let told: number[] = [];
        let text = "";
        for (const piece of pieces.slice(0, -1)) {
          told = [...told, ...piece.ids];
          text += piece.text;
          expect(text.startsWith(tokenizer.decode(told, { special: false }))).toBe(true);
        }
      }),
    );
  });

  test("can be had as a result alone, before, during and after reading", async () => {
    const script = ids("abc<|end_of_text|>");
    expect(await setUp(script).generation.result()).toMatchObject({ text: "abc", stopReason: "eos" });
    const { generation, runner } = setUp(script);
    const result = generation.result();
    expect(await read(generation)).toEqual(["a", "b", "c"]);
    expect(await result).toMatchObject({ text: "abc" });
    expect(await generation.result()).toBe(await result);
    expect(runner.batches.length).toBe(4);
  });

  test("has a limit for tokens longer than any real ones, and the model goes on", async () => {
    const long = Object.create(tokenizer) as FakeTokenizer;
    long.decoder = () => ({ push: () => "x".repeat(2 ** 20), end: () => "" });
    long.decodeBytes = () => new Uint8Array(2 ** 20).fill(0x78);
    const { scheduler } = setUp(ids("abc"));
    const answer = (maxTokens: number) =>
      generate(scheduler, long, PROMPT, resolveOptions({ maxTokens }, generationDefaultsFor(tokenizer), tokenizer.size)).result();
    expect((await answer(16)).text).toHaveLength(maxAnswerLength);
    await expect(answer(17)).rejects.toMatchObject({
      code: "tokenizer",
      message: expect.stringMatching(/^the answer has more than 16777216/),
    });
    expect((await answer(1)).text).toHaveLength(2 ** 20);
  });

  test("is not begun before it is asked for", async () => {
    const { runner } = setUp(ids("abc"));
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(runner.batches.length).toBe(0);
  });

  test("takes its prompt from a function, which is called once, when the answer is asked for", async () => {
    const { runner, scheduler } = setUp(ids("ab<|eot_id|>"));
    const resolved = resolveOptions({}, generationDefaultsFor(tokenizer), tokenizer.size);
    let calls = 0;
    const prompt = async () => {
      calls++;
      return PROMPT;
    };
    const generation = generate(scheduler, tokenizer, prompt, resolved);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(calls).toBe(0);
    expect(await read(generation)).toEqual(["a", "b"]);
    expect(await generation.result()).toMatchObject({ promptIds: PROMPT, text: "ab" });
    expect(calls).toBe(1);
    const long = generate(scheduler, tokenizer, async () => Array(64).fill(1), resolved);
    await expect(read(long)).rejects.toMatchObject({ code: "usage" });
    const failed = generate(scheduler, tokenizer, () => Promise.reject(new Error("no template")), resolved);
    await expect(failed.result()).rejects.toThrow("no template");
    expect(runner.batches.length).toBe(3);
  });

  test("left while its prompt is made is not begun in earnest", async () => {
    const { runner, scheduler } = setUp(ids("abcdefgh"));
    const resolved = resolveOptions({}, generationDefaultsFor(tokenizer), tokenizer.size);
    let made: (prompt: number[]) => void = () => {};
    const prompt = new Promise<number[]>((resolve) => {
      made = resolve;
    });
    const generation = generate(scheduler, tokenizer, () => prompt, resolved);
    const reader = generation[Symbol.asyncIterator]();
    const first = reader.next();
    const left = reader.return?.();
    const aborted = new AbortController();
    const other = generate(scheduler, tokenizer, () => prompt, { ...resolved, signal: aborted.signal });
    const result = other.result();
    aborted.abort();
    made([...PROMPT]);
    expect(await result).toMatchObject({ stopReason: "aborted", ids: [] });
    await first;
    await left;
    expect(runner.batches.length).toBeLessThanOrEqual(10);
    await scheduler.close();
  });

  test("can be iterated only once", async () => {
    const { generation } = setUp(ids("a<|eot_id|>"));
    await read(generation);
    await expect(read(generation)).rejects.toMatchObject({ code: "usage" });
  });

  test("ends a character that never got whole", async () => {
    const { generation } = setUp([...ids("a"), HALF], { maxTokens: 2 });
    expect(await generation.result()).toMatchObject({ text: "a\ufffd", stopReason: "length" });
  });

  test("left early ends the work", async () => {
    const { generation, runner, scheduler } = setUp(ids("abcdefghij"));
    runner.onStep = () => new Promise((resolve) => setImmediate(resolve));
    for await (const piece of generation) if (piece === "c") break;
    expect(runner.batches.length).toBeLessThanOrEqual(4);
    expect(await generation.result()).toMatchObject({ stopReason: "aborted", text: expect.stringMatching(/^abc/) as string });
    const steps = runner.batches.length;
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(runner.batches.length).toBe(steps);
    await scheduler.close();
  });

  test("left while a piece is waited for ends at once", async () => {
    const { generation, runner, scheduler } = setUp(ids("abcdefghij"));
    let go: () => void = () => {};
    runner.onStep = () => new Promise((resolve) => (go = resolve));
    const reader = generation[Symbol.asyncIterator]();
    const first = reader.next();
    await new Promise((resolve) => setTimeout(resolve, 5));
    const left = reader.return?.();
    go();
    expect(await first).toEqual({ done: true, value: undefined });
    await left;
    expect(await generation.result()).toMatchObject({ stopReason: "aborted", text: "" });
    expect(runner.batches.length).toBe(1);
    await scheduler.close();
  });

  test("whose reader is garbage-collected is ended, and one that is awaited is not", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const begin = async (wait: boolean) => {
      const { generation, runner, scheduler } = setUp(ids("a"), {});
      runner.onStep = () => new Promise((resolve) => setTimeout(resolve, 5));
      await generation[Symbol.asyncIterator]().next();
      return { runner, scheduler, result: wait ? generation.result() : undefined };
    };
    const lost = await begin(false);
    const awaited = await begin(true);
    for (let steps = -1; steps < lost.runner.batches.length; ) {
      steps = lost.runner.batches.length;
      expect(steps).toBeLessThan(50);
      await new Promise((resolve) => setTimeout(resolve, 25));
      collect();
    }
    expect(await awaited.result).toMatchObject({ stopReason: "context" });
    await lost.scheduler.close();
  });

  test("without a reader is computed to its end, and its text waits", async () => {
    const { generation, runner } = setUp(ids("abcd<|eot_id|>"));
    const reader = generation[Symbol.asyncIterator]();
    expect(await reader.next()).toMatchObject({ value: "a" });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(runner.batches.length).toBe(5);
    expect(await read({ [Symbol.asyncIterator]: () => reader })).toEqual(["b", "c", "d"]);
  });

  test("aborted by its signal keeps what was said", async () => {
    const controller = new AbortController();
    const { generation } = setUp(ids("abcdefghij"), { signal: controller.signal });
    const pieces: string[] = [];
    for await (const piece of generation) {
      pieces.push(piece);
      controller.abort();
    }
    const result = await generation.result();
    expect(result.stopReason).toBe("aborted");
    expect(result.text).toBe(pieces.join(""));
  });

  test("of a broken or closed model throws to reader and result alike", async () => {
    const { generation, runner } = setUp(ids("abc"));
    runner.failAt = 2;
    const pieces: string[] = [];
    await expect(
      (async () => {
        for await (const piece of generation) pieces.push(piece);
      })(),
    ).rejects.toThrow("the worker died");
    expect(pieces.join("")).toBe("ab");
    await expect(generation.result()).rejects.toThrow("the worker died");
    const { generation: late, scheduler } = setUp(ids("abc"));
    await scheduler.close();
    await expect(late.result()).rejects.toMatchObject({ code: "closed" });
  });

  test("to a prompt without room is refused at the call", () => {
    const { scheduler } = setUp([]);
    const options = resolveOptions({}, generationDefaultsFor(tokenizer), tokenizer.size);
    expect(() => generate(scheduler, tokenizer, Array(64).fill(5), options)).toThrow(expect.objectContaining({ code: "usage" }));
  });
});

describe("stop rules", () => {
  test("a stop string over several tokens is held back and not shown", async () => {
    const { generation, runner } = setUp(ids("one. Two. "), { stop: [". T", "xyz"] });
    expect(await read(generation)).toEqual(["o", "n", "e"]);
    expect(await generation.result()).toMatchObject({ stopReason: "stop", text: "one", ids: ids("one. T") });
    expect(runner.batches.length).toBe(6);
  });
  test("what only looked like one is shown at the end", async () => {
    const { generation } = setUp(ids("one. "), { stop: [". T"], maxTokens: 5 });
    expect(await read(generation)).toEqual(["o", "n", "e", ". "]);
  });
  test("a stop id ends the answer unseen", async () => {
    const { generation } = setUp(ids("one. Two"), { stopIds: ids(".") });
    expect(await generation.result()).toMatchObject({ stopReason: "stop", text: "one", ids: ids("one.") });
  });
  test("the end of turn can be written past", async () => {
    const { generation } = setUp(ids("a<|eot_id|>b"), { ignoreEos: true, maxTokens: 4 });
    expect(await generation.result()).toMatchObject({ stopReason: "length", text: "aba" });
  });
  test("a full context says so", async () => {
    const { generation } = setUp(ids("a"));
    expect(await generation.result()).toMatchObject({ stopReason: "context", ids: { length: 64 - PROMPT.length } });
  });
});
