import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { convertModel, describeModel, encodeChat, inspectModel, loadModel, type Model, openTokenizer, probeModel } from "../index.js";

// Every wrong argument of a public function is a BitnetError `usage`, one sentence. JavaScript's callers have no types to stop them.

const EMBEDDED = pathToFileURL("models/bitnet-stories-4m/ggml-model-i2_s.gguf");
/** As a caller without types sees a function. */
type Loose = (...args: readonly unknown[]) => unknown;

let model: Model;
beforeAll(async () => {
  model = await (loadModel as Loose as (...args: unknown[]) => Promise<Model>)(EMBEDDED, { threads: 1, tier: null, signal: null });
});
afterAll(() => model.close());

async function failure(call: () => unknown): Promise<Error> {
  try {
    await call();
  } catch (error) {
    return error as Error;
  }
  throw new Error("was not refused");
}

/** A view of memory that was given away: to read it throws. */
function detached(): Uint8Array {
  const view = new Uint8Array(8);
  structuredClone(view.buffer, { transfer: [view.buffer] });
  return view;
}

const WRONG_CALLS: readonly [name: string, call: (model: Model) => unknown, message: string | RegExp][] = [
  ["generate()", (m) => (m.generate as Loose).call(m), "prompt must be a string or a list of token ids, not undefined"],
  ["generate(null)", (m) => (m.generate as Loose).call(m, null), "prompt must be a string or a list of token ids, not null"],
  ["generate(5)", (m) => (m.generate as Loose).call(m, 5), "prompt must be a string or a list of token ids, not 5"],
  ["generate(bytes)", (m) => (m.generate as Loose).call(m, Buffer.from("x")), /^prompt must be .*, not a Uint8Array$/],
  ["generate([])", (m) => m.generate([]), "the prompt is empty: at least one token is required"],
  ["generate(['1'])", (m) => (m.generate as Loose).call(m, ["1"]), 'token id "1" (number 1 of the prompt) is not a whole number'],
  ["generate, misspelt", (m) => (m.generate as Loose).call(m, "a", { maxToken: 5 }), /no option "maxToken": did you mean maxTokens\?$/],
  ["generate, signal alone", (m) => (m.generate as Loose).call(m, "a", AbortSignal.timeout(9e6)), /must be an object.*not an AbortSignal$/],
  ["generate, string", (m) => (m.generate as Loose).call(m, "a", { temperature: "1" }), /^temperature must be a number .*, not "1"$/],
  ["chat, misspelt", (m) => (m.chat as Loose).call(m, [{ role: "user", content: "x" }], { topp: 1 }), /^chat\(\) has no option "topp"/],
  ["chat, number", (m) => (m.chat as Loose).call(m, [], { continueFinalMessage: 1 }), "continueFinalMessage must be true or false, not 1"],
  ["render, misspelt", (m) => (m.chatTemplate!.render as Loose)([], { tools: [] }), /^the chat template has no option "tools"/],
  ["encodeChat, misspelt", (m) => (encodeChat as Loose)(m.tokenizer, m.chatTemplate, [], { specials: true }), /did you mean special\?$/],
  ["encodeChat()", () => (encodeChat as Loose)(), "tokenizer must be a model's tokenizer, not undefined"],
  ["encodeChat, template", (m) => (encodeChat as Loose)(m.tokenizer, "{{ x }}", []), /^template must be a model's chatTemplate, not "/],
  ["score()", (m) => (m.score as Loose).call(m), "text must be a string, a Uint8Array or a list of token ids, not undefined"],
  ["score, onLogits", (m) => (m.score as Loose).call(m, "a b", { onLogits: 1 }), "onLogits must be a function, not 1"],
  ["logits('x')", (m) => (m.logits as Loose).call(m, "x"), 'ids must be a list of token ids, not "x"'],
  ["logits, options", (m) => (m.logits as Loose).call(m, [1], 5), /^the options of logits\(\) must be an object/],
  ["encode()", (m) => (m.tokenizer.encode as Loose)(), "text must be a string, not undefined"],
  ["encode, misspelt", (m) => (m.tokenizer.encode as Loose)("a", { boss: true }), 'encode() has no option "boss": did you mean bos?'],
  [
    "encode, literal",
    (m) => (m.tokenizer.encode as Loose)("a", { literal: [5] }),
    "literal must be a list of ranges [start, end), not a list",
  ],
  ["encodeBytes, literal", (m) => (m.tokenizer.encodeBytes as Loose)(Buffer.from("a"), { literal: [] }), /no option "literal"/],
  ["encodeBytes('x')", (m) => (m.tokenizer.encodeBytes as Loose)("x"), 'bytes must be a Uint8Array, not "x"'],
  ["decode(5)", (m) => (m.tokenizer.decode as Loose)(5), "ids must be a list of token ids, not 5"],
  ["decodeBytes()", (m) => (m.tokenizer.decodeBytes as Loose)(), "ids must be a list of token ids, not undefined"],
  ["decoder, after", (m) => (m.tokenizer.decoder as Loose)({ after: "x" }), 'after must be a token id, not "x"'],
  ["push('x')", (m) => (m.tokenizer.decoder().push as Loose)("x"), 'id must be a token id, not "x"'],
  ["decode, odd ids", (m) => (m.tokenizer.decode as Loose)([Symbol("x")]), /^token id a symbol is not in the vocabulary/],
  ["decode, deep ids", (m) => (m.tokenizer.decode as Loose)([{ toString: null }]), /^token id an object is not in the vocabulary/],
  ["decode, false list", (m) => (m.tokenizer.decode as Loose)({ [Symbol.toStringTag]: "Array" }), /^ids must be a list of token ids/],
  ["logits, false list", (m) => (m.logits as Loose).call(m, { [Symbol.toStringTag]: "Int32Array" }), /^ids must be a list/],
  ["encodeBytes, false", (m) => (m.tokenizer.encodeBytes as Loose)({ [Symbol.toStringTag]: "Uint8Array" }), /^bytes must be a Uint8Array/],
  [
    "encode, literal with a hole",
    (m) => (m.tokenizer.encode as Loose)("a", { literal: new Array(1) }),
    /^literal must be a list of ranges/,
  ],
  ["generate, stop with a hole", (m) => (m.generate as Loose).call(m, "a", { stop: new Array(1) }), /^stop must be a list of strings/],
  ["chat with a hole", (m) => m.chat(new Array(1)).result(), /^message 0 is null, not an object/],
  ["temperature, detached", (m) => (m.generate as Loose).call(m, "a", { temperature: detached() }), /^temperature must be a number/],
  ["idOf()", (m) => (m.tokenizer.idOf as Loose)(), "token must be a string, not undefined"],
  ["textOf(1e9)", (m) => m.tokenizer.textOf(1e9), "token id 1000000000 is not in the vocabulary, whose ids are 0 to 4095"],
  ["isSpecial('x')", (m) => (m.tokenizer.isSpecial as Loose)("x"), 'id must be a token id, not "x"'],
  ["loadModel('')", () => loadModel(""), "path must be a path or a file: URL, not an empty string"],
  ["loadModel, thread", () => (loadModel as Loose)(EMBEDDED, { thread: 2 }), 'loadModel() has no option "thread": did you mean threads?'],
  ["loadModel, '2'", () => (loadModel as Loose)(EMBEDDED, { threads: "2" }), 'threads must be a whole number from 1 to 256, not "2"'],
  ["loadModel, context", () => (loadModel as Loose)(EMBEDDED, { contextLength: "x" }), /^contextLength must be a whole number .*not "x"$/],
  ["loadModel, onProgress", () => (loadModel as Loose)(EMBEDDED, { onProgress: {} }), "onProgress must be a function, not an object"],
  ["loadModel, signal", () => (loadModel as Loose)(EMBEDDED, { signal: { aborted: false } }), /^signal must be an AbortSignal/],
  ["loadModel, tokenizer", () => (loadModel as Loose)(EMBEDDED, { tokenizer: 5 }), "tokenizer must be a path or a file: URL, not 5"],
  ["openTokenizer(5)", () => (openTokenizer as Loose)(5), "path must be a path or a file: URL, not 5"],
  [
    "openTokenizer, threads",
    () => (openTokenizer as Loose)(EMBEDDED, { threads: 2 }),
    /^openTokenizer\(\) has no option "threads"; it has tokenizer$/,
  ],
  ["describeModel, thread", () => (describeModel as Loose)(EMBEDDED, { thread: 2 }), /did you mean threads\?$/],
  ["inspectModel, options", () => (inspectModel as Loose)(EMBEDDED, "x"), /^the options of inspectModel\(\) must be an object/],
  [
    "probeModel, contextLength",
    () => (probeModel as Loose)(EMBEDDED, { contextLength: 9 }),
    /^probeModel\(\) has no option "contextLength"/,
  ],
  ["convertModel()", () => (convertModel as Loose)(), "path must be a path or a file: URL, not undefined"],
  ["convertModel, out", () => (convertModel as Loose)(EMBEDDED, 5), "out must be a path or a file: URL, not 5"],
  ["convertModel, typ", () => (convertModel as Loose)(EMBEDDED, "x.gguf", { typ: "f16" }), /no option "typ": did you mean type\?$/],
];

test.each(WRONG_CALLS)("%s", async (_, call, message) => {
  const error = await failure(() => call(model));
  expect(error).toMatchObject({ name: "BitnetError", code: "usage" });
  if (typeof message === "string") expect(error.message).toBe(message);
  else expect(error.message).toMatch(message);
});

test("null means not given, for all options and for each", async () => {
  const generate = (options: unknown) => (model.generate as Loose).call(model, "Once", options) as ReturnType<Model["generate"]>;
  const some = { maxTokens: 3, temperature: 0 };
  const all = { topK: null, topP: null, minP: null, repetitionPenalty: null, seed: null, stop: null, stopIds: null, signal: null };
  expect((await generate({ ...some, ...all, trace: null }).result()).ids).toEqual((await generate(some).result()).ids);
  expect((await model.score("Once upon", null)).ids).toHaveLength(3);
  const { tokenizer } = await (openTokenizer as (path: unknown, options: unknown) => ReturnType<typeof openTokenizer>)(null, null);
  expect(tokenizer.encode("Once")).toEqual(model.tokenizer.encode("Once"));
});

test("what a caller's own code throws ends that call, and no other", async () => {
  const mine = new Error("mine");
  const hostile = {
    get aborted(): boolean {
      throw mine;
    },
  } as AbortSignal;
  const raise = (): never => {
    throw mine;
  };
  const other = model.generate("Once upon a time", { maxTokens: 40, ignoreEos: true }).result();
  const failures = [
    model.generate("The dog", { signal: hostile }).result(),
    model.score("The dog ran", { signal: hostile }),
    model.score("The dog ran", { onLogits: raise }),
    model.logits([1, 2], { signal: hostile }),
    loadModel(EMBEDDED, { onProgress: raise }),
  ];
  for (const error of await Promise.all(failures.map((failed) => failure(() => failed)))) expect(error).toBe(mine);
  expect((await other).ids).toHaveLength(40);
  expect((await model.generate("x", { maxTokens: 2 }).result()).stopReason).toBe("length");
});

test("a signal ends an inspection", async () => {
  const reason = new Error("enough");
  const controller = new AbortController();
  const stopped = failure(() => inspectModel(EMBEDDED, { onProgress: () => controller.abort(reason), signal: controller.signal }));
  expect(await stopped).toBe(reason);
});

test.each(["relu2", "silu"] as const)("activation %s is what the model is read with", async (activation) => {
  expect((await describeModel(EMBEDDED, { activation })).config.activation).toBe(activation);
});
