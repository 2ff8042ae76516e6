import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { convertModel } from "../../engine/conversion/convert.js";
import { temporaryDirectory } from "../../engine/conversion/models.test.helper.js";
import type { ConversionType } from "../../engine/conversion/types.js";
import { BitnetError, type ErrorCode } from "../../engine/errors.js";
import { loadModel } from "../../engine/generation/model.js";
import type { LoadOptions } from "../../engine/generation/runner.js";
import { some, THOROUGH } from "../../engine/thorough.test.helper.js";
import { STANDINS } from "./standins.js";

/** What comes of a file that runs. */
interface Runs {
  /** The prompt's first id, if it is BOS. */
  readonly bos?: number;
  readonly stops: readonly string[];
  /** A part of each note, in order. */
  readonly notes?: readonly RegExp[];
  readonly activations: "int8" | "float" | "int8, assumed" | "float, assumed";
  readonly context: number;
  readonly theta: number;
  readonly yarn?: true;
  /** Of a system's "Be kind." and a user's "Hi". */
  readonly chat?: string;
  readonly options?: LoadOptions;
  /** Greedy text after "Once upon a time", where it means something; else two names with the same must have the same. */
  readonly text: string;
  /** To convert to, and then from there; default GGUF, then packed SafeTensors, then GGUF. */
  readonly forms?: readonly ConversionType[];
}

interface Refused {
  readonly code: ErrorCode;
  readonly says: RegExp;
}

/** What comes of a file that makes vectors. */
interface Embeds {
  readonly embeds: "mean" | "last";
  readonly architecture: string;
  readonly context: number;
  readonly theta: number;
  readonly ends: readonly [first: string | undefined, last: string | undefined];
}

const STORY = ", there was a little girl named Lily";
const B2B4T = {
  bos: 4080,
  stops: ["<|end_of_text|>", "<|eot_id|>"],
  activations: "int8",
  context: 2048,
  theta: 500_000,
  chat: "<|begin_of_text|>System: Be kind.<|eot_id|>User: Hi<|eot_id|>Assistant: ",
  text: STORY,
} as const;
const ASSUMED_SPLIT = /^tokenizer\.ggml\.pre is missing: assuming LLaMA-3's tokenizer/;
const PLACEHOLDER_NOTE = /^the file's chat template is a placeholder from bitnet\.cpp's converter/;

const CHATML = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
const FALCON_E = {
  stops: ["<|end_of_text|>", "<|im_end|>"],
  activations: "int8",
  context: 32_768,
  theta: 1_000_042,
  chat: CHATML,
  text: "falcon",
} as const;
const FALCON3_CHAT = "<|system|>\nBe kind.\n<|user|>\nHi\n<|assistant|>\n";
const LLAMA3 = {
  bos: 632,
  stops: ["<|end_of_text|>", "<|eot_id|>"],
  activations: "int8",
  context: 512,
  theta: 1_000_042,
  chat: "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
  text: "llama3",
} as const;
const OLD = { bos: 1, stops: ["</s>"], activations: "int8", context: 512, theta: 10_000, text: "3b" } as const;
const BONSAI = {
  stops: ["<|endoftext|>", "<|im_end|>"],
  activations: "float",
  context: 65_536,
  theta: 1_000_000,
  yarn: true,
  text: "bonsai",
  forms: ["f16"],
} as const;

const BONSAI_2 = {
  stops: ["<|endoftext|>", "<|im_end|>"],
  activations: "float",
  context: 262_144,
  theta: 10_000_000,
  chat: `${CHATML}<think>\n`,
  text: "bonsai 2",
  forms: ["pq2_0", "ptq1_0", "f16"],
} as const;

const EXPECTED: Readonly<Record<string, Runs | Embeds | Refused>> = {
  "2b4t-gguf": { ...B2B4T, notes: [ASSUMED_SPLIT, PLACEHOLDER_NOTE] },
  "2b4t-gguf-early": { ...B2B4T, notes: [ASSUMED_SPLIT, PLACEHOLDER_NOTE] },
  "2b4t-packed": B2B4T,
  "2b4t-transformers5": B2B4T,
  "bitnet-3b": OLD,
  "bitnet-3b-gguf": OLD,
  "bitnet-3b-gguf-2026": { ...OLD, options: { activation: "silu" } },
  "falcon-e-gguf": { ...FALCON_E, activations: "int8, assumed" },
  "falcon-e-packed": FALCON_E,
  "falcon-e-tied": { ...FALCON_E, text: "falcon, tied" },
  "falcon-e-bfloat16": { ...FALCON_E, activations: "int8, assumed", text: "falcon, written out" },
  "falcon-e-prequantized": { code: "tensor", says: /layers\.0\.self_attn\.q_proj.*many magnitudes.*"quantization_mode": "online"/ },
  "falcon3-gguf": { ...FALCON_E, stops: ["<|endoftext|>"], activations: "int8, assumed", chat: FALCON3_CHAT },
  "falcon3-gguf-community": { code: "tokenizer", says: /tokenizer\.ggml\.pre is missing, .*pass the model's own tokenizer\.json/ },
  "falcon3-packed": { ...FALCON_E, context: 512, chat: undefined },
  "llama3-packed": LLAMA3,
  "llama3-gguf": { ...LLAMA3, context: 32_768, activations: "int8, assumed" },
  trilm: { stops: ["<|endoftext|>"], activations: "int8, assumed", context: 2048, theta: 10_000, text: "trilm" },
  "bonsai-q2_0": BONSAI,
  "bonsai-q2_0-g64": BONSAI,
  "bonsai-pq2_0": BONSAI,
  "bonsai-unpacked": { ...BONSAI, chat: CHATML },
  "bonsai-mlx": {
    code: "unsupported",
    says: /is MLX quantisation \(2 bits, groups of 128\), which is not supported; get the model's GGUF/,
  },
  bitcpm: {
    bos: 1,
    stops: ["</s>"],
    activations: "float, assumed",
    context: 32_768,
    theta: 10_000,
    chat: CHATML,
    text: "bitcpm",
    forms: ["f16"],
  },
  "bitnet-embedding-0.6b": {
    ...{ embeds: "mean", architecture: "qwen3", context: 32_768, theta: 1_000_000 },
    ends: [undefined, "<|endoftext|>"],
  },
  "bitnet-embedding-270m": { embeds: "mean", architecture: "gemma3", context: 32_768, theta: 10_000, ends: ["<bos>", undefined] },
  maple: { code: "unsupported", says: /general\.architecture is "maple", Maple, whose experts/ },
  "bonsai-2": BONSAI_2,
  "bonsai-2-with-guesses": BONSAI_2,
  "bonsai-2-tied": { ...BONSAI_2, text: "bonsai 2, tied" },
  "bonsai-2-tied-pq2_0": { ...BONSAI_2, text: "bonsai 2, tied" },
  "bonsai-2-of-qwen3": { code: "unsupported", says: /prism\.hadamard\.weight_names has no "blk\.0\.attn_k\.weight"/ },
  "image-encoder": { code: "unsupported", says: /general\.architecture is "clip", an image encoder/ },
  "bonsai-deepgrove": { code: "unsupported", says: /architectures\[0\] is "QLlamaForCausalLM", deepgrove's Bonsai/ },
};

const { path: root, remove } = temporaryDirectory();
afterAll(remove);

const paths = new Map<string, string>();
beforeAll(async () => {
  for (const { name, write } of STANDINS) paths.set(name, await write(join(root, name)));
});

/** What a file of the model does, whatever its form. */
async function answerOf(path: string, options: LoadOptions = {}) {
  const model = await loadModel(path, { threads: 1, ...options });
  try {
    const { tokenizer, config } = await model.describe();
    const { promptIds, ids, text } = await model.generate("Once upon a time", { maxTokens: 8, temperature: 0 }).result();
    const { activations, activationsAssumed, ropeTheta, ropeScaling } = config;
    return {
      same: { promptIds, ids, stops: tokenizer.stops.map((stop) => stop.text), activations, ropeTheta, ropeScaling },
      text,
      addsBos: tokenizer.addsBos,
      bosId: tokenizer.bos?.id,
      activations: `${activations}${activationsAssumed ? ", assumed" : ""}`,
      context: config.contextLength,
      notes: model.notes,
      chat: await model.chatTemplate?.render([
        { role: "system", content: "Be kind." },
        { role: "user", content: "Hi" },
      ]),
    };
  } finally {
    await model.close();
  }
}

/** To GGUF, to SafeTensors, and back. */
const FORMS = some<ConversionType>(["i2_s", "packed", "i2_s"], 0);

/** The model in other forms, each made of the one before. */
async function converted(name: string, { options = {}, forms = FORMS }: Runs): Promise<string[]> {
  const { activation } = options;
  const made: string[] = [];
  for (const type of forms) {
    const out = join(root, `${name}-${made.length}${type === "packed" ? "" : ".gguf"}`);
    await convertModel(made.at(-1) ?? paths.get(name)!, out, { type, activation: made.length === 0 ? activation : undefined });
    made.push(out);
  }
  return made;
}

/** A text's vector, before and after conversion. */
async function expectVectors(name: string, { embeds, architecture, context, theta, ends: [first, last] }: Embeds): Promise<void> {
  const out = join(root, `${name}.gguf`);
  await convertModel(paths.get(name)!, out, { type: "f16" });
  const vectors: Float32Array[] = [];
  for (const path of [paths.get(name)!, out]) {
    const model = await loadModel(path, { threads: 1 });
    try {
      const { tokenizer, config } = await model.describe();
      expect({ pooling: model.pooling, first: tokenizer.addsBos ? tokenizer.bos?.text : undefined }).toEqual({ pooling: embeds, first });
      expect(model.tokenizer.addsEos ? tokenizer.eos[0]?.text : undefined).toBe(last);
      expect(config).toMatchObject({ architecture, contextLength: context, ropeTheta: theta, innerNorms: true, activations: "int8" });
      expect(model.notes).toEqual([]);
      vectors.push((await model.embed(["Once upon a time"]))[0]!);
    } finally {
      await model.close();
    }
  }
  expect(vectors[1]).toEqual(vectors[0]);
}

/** Greedy ids by the text that stands for them. */
const answers = new Map<string, readonly number[]>();

describe("published models", () => {
  it("have a stand-in each", () => {
    expect(STANDINS.map(({ name }) => name).sort()).toEqual(Object.keys(EXPECTED).sort());
  });

  it.each(STANDINS)("$name", async ({ name }) => {
    const expected = EXPECTED[name]!;
    if ("code" in expected) {
      const error: unknown = await loadModel(paths.get(name)!, { threads: 1 }).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(BitnetError);
      expect(error).toMatchObject({ code: expected.code, message: expect.stringMatching(expected.says) });
      return;
    }
    if ("embeds" in expected) return expectVectors(name, expected);
    const { same, ...answer } = await answerOf(paths.get(name)!, expected.options);
    const { bos, notes = [] } = expected;
    expect({ ...answer, text: undefined }).toEqual({
      addsBos: bos !== undefined,
      bosId: answer.bosId,
      activations: expected.activations,
      context: expected.context,
      notes: notes.map((note) => expect.stringMatching(note)),
      chat: expected.chat,
      text: undefined,
    });
    expect(same.stops).toEqual(expected.stops);
    expect(same.ropeTheta).toBe(expected.theta);
    expect(same.ropeScaling).toEqual(
      expected.yarn && {
        ...{ type: "yarn", factor: 4, attention: Math.fround(1 + 0.1 * Math.log(4)) },
        ramp: { originalContext: 16_384, fast: 32, slow: 1, truncate: true },
      },
    );
    if (bos !== undefined) expect(same.promptIds[0]).toBe(bos);
    if (expected.text === STORY) expect(answer.text).toBe(STORY);
    expect(same.ids).toHaveLength(8);
    const before = answers.get(expected.text);
    if (before) expect(same.ids).toEqual(before);
    else answers.set(expected.text, same.ids);

    // Any form it can be converted to answers the same.
    if (before && !THOROUGH) return; // of models with the same numbers, CI converts every form
    const last = (await converted(name, expected)).at(-1)!;
    const after = await answerOf(last);
    expect(after.same).toEqual(same);
    expect(after.chat).toBe(answer.chat);
  });

  it("Bonsai 2 thinks or doesn't, as the template's variable says", async () => {
    const model = await loadModel(paths.get("bonsai-2")!, { threads: 1 });
    const ends = (text: string): string => text.slice(text.lastIndexOf("assistant"));
    const prompt = async (enable_thinking?: boolean): Promise<string> => {
      const template = enable_thinking === undefined ? {} : { enable_thinking };
      const { promptIds } = await model.chat([{ role: "user", content: "Hi" }], { template, maxTokens: 1 }).result();
      return ends(model.tokenizer.decode(promptIds));
    };
    expect(await prompt()).toBe("assistant\n<think>\n");
    expect(await prompt(true)).toBe("assistant\n<think>\n");
    expect(await prompt(false)).toBe("assistant\n<think>\n\n</think>\n\n");
    await model.close();
  });

  it.each(["bonsai-2", "bitcpm"])("%s has no SafeTensors form, and says so", async (name) => {
    const out = join(root, `${name}-packed`);
    await expect(convertModel(paths.get(name)!, out, { type: "packed" })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(/SafeTensors of models with .* are not supported; convert to GGUF/),
    });
    expect(existsSync(out)).toBe(false);
  });

  it("is not run without the activation function that its file leaves open", async () => {
    const loading = loadModel(paths.get("bitnet-3b-gguf-2026")!, { threads: 1 });
    await expect(loading).rejects.toMatchObject({ code: "unsupported", message: expect.stringMatching(/--activation silu or relu2/) });
  });

  it("has the same logits in each form with the same numbers", async () => {
    const logits = async (name: string) => {
      const model = await loadModel(paths.get(name)!, { threads: 1 });
      const values = await model.logits([79, 423, 101, 268]);
      await model.close();
      return Buffer.from(values.buffer).toString("base64");
    };
    expect(await logits("falcon-e-gguf")).toBe(await logits("falcon-e-packed"));
    expect(await logits("bonsai-q2_0")).toBe(await logits("bonsai-pq2_0"));
    expect(await logits("bonsai-2-tied")).toBe(await logits("bonsai-2-tied-pq2_0"));
    expect(await logits("bonsai-2")).toBe(await logits("bonsai-2-with-guesses"));
  });
});
