import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gguf as readWithPeer } from "@huggingface/gguf";
import { afterAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../container/checkpoint.js";
import { describeModel, loadModel, openTokenizer } from "../generation/model.js";
import { errorOf } from "../model/fixtures.test.helper.js";
import { some } from "../thorough.test.helper.js";
import { convertModel } from "./convert.js";
import { type SmallModel, temporaryDirectory, VOCAB, writeSmallModel } from "./models.test.helper.js";
import type { ConversionType, ConvertOptions } from "./types.js";

const { path: root, remove } = temporaryDirectory();
afterAll(remove);

let made = 0;
/** A path where nothing is. */
const fresh = (ending = ""): string => join(root, `${made++}${ending}`);

async function small(model: SmallModel): Promise<string> {
  const directory = fresh();
  mkdirSync(directory);
  return writeSmallModel(directory, model);
}

const IDS = [VOCAB - 16, 62, 256, 258, 300, 100];

/** Stands for bytes, which a test would compare one by one. */
const digest = (bytes: NodeJS.ArrayBufferView): string => createHash("sha256").update(bytes).digest("hex");

/** Of all logits of a few tokens. */
async function logits(path: string): Promise<string> {
  const model = await loadModel(path, { threads: 1 });
  try {
    return digest(await model.logits(IDS));
  } finally {
    await model.close();
  }
}

/** The bytes of every tensor. */
async function bytesOf(path: string): Promise<Map<string, { type: string; bytes: Uint8Array }>> {
  const checkpoint = await openCheckpoint(path);
  await checkpoint.close();
  const file = readFileSync(checkpoint.files[0]!);
  return new Map(
    [...checkpoint.tensors.values()].map(({ name, type, offset, byteLength }) => [
      name,
      { type, bytes: Uint8Array.from(file.subarray(offset, offset + byteLength)) },
    ]),
  );
}

/** Every tensor: type and digest of its bytes. */
async function tensorsOf(path: string): Promise<Record<string, string>> {
  return Object.fromEntries([...(await bytesOf(path))].sort().map(([name, { type, bytes }]) => [name, `${type} ${digest(bytes)}`]));
}

/** Takes the last five tokens out of a tokenizer.json; gives it. */
function shortenTokenizer(directory: string): { added_tokens: { id: number }[] } {
  const change = <T>(name: string, edit: (json: T) => void): T => {
    const json = JSON.parse(readFileSync(join(directory, name), "utf8")) as T;
    edit(json);
    writeFileSync(join(directory, name), JSON.stringify(json));
    return json;
  };
  change<{ added_tokens_decoder: Record<number, unknown> }>("tokenizer_config.json", ({ added_tokens_decoder: tokens }) => {
    for (let id = VOCAB - 5; id < VOCAB; id++) delete tokens[id];
  });
  return change<{ added_tokens: { id: number }[] }>("tokenizer.json", ({ added_tokens: tokens }) => void tokens.splice(-5));
}

const LLAMA3 = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

const FAMILIES: [SmallModel, gguf: string][] = [
  [{ architecture: "BitNetForCausalLM", activation: "relu2", subNorms: true }, "bitnet-b1.58"],
  [{ architecture: "BitnetForCausalLM", subNorms: true, form: "F32" }, "bitnet"],
  [{ architecture: "LlamaForCausalLM", tied: false, config: { rope_theta: 5e5, rope_scaling: LLAMA3 } }, "llama"],
  [{ architecture: "LlamaForCausalLM", headDim: 128 }, "llama"],
  [{ architecture: "Qwen3ForCausalLM", qkNorms: true, headDim: 128, ffn: 768 }, "qwen3"],
];

const FORMS = [
  ["i2_s", "f16"],
  ["tq2_0", "f32"],
] as const;

describe("SafeTensors → GGUF → SafeTensors", () => {
  it.each(FAMILIES)("%j keeps every tensor and every logit", async (model, architecture) => {
    const source = await small(model);
    const wanted = await logits(source);
    const packed = fresh();
    expect((await convertModel(source, packed)).rounded).toEqual([]);
    const tensors = await tensorsOf(packed);
    for (const [type, embedding] of some(FORMS, model.form === undefined ? 0 : 1)) {
      const gguf = fresh(".gguf");
      expect(await convertModel(source, gguf, { type, embedding })).toMatchObject({ architecture, format: "gguf", path: gguf });
      expect(await logits(gguf)).toEqual(wanted);
      const back = fresh();
      expect(await convertModel(gguf, back)).toMatchObject({ rounded: [], architecture: model.architecture });
      expect(await logits(back)).toEqual(wanted);
      expect(await tensorsOf(back)).toEqual(tensors);
    }
    if (model.form === undefined) expect(tensors).toEqual(await tensorsOf(source));
  });

  it("rows of q and k, and no others, lie in pairs in llama's GGUF", async () => {
    const source = await small({ architecture: "LlamaForCausalLM", form: "F32" });
    const gguf = fresh(".gguf");
    await convertModel(source, gguf, { type: "f32" });
    const [theirs, ours] = [await bytesOf(source), await bytesOf(gguf)];
    const row = (of: { bytes: Uint8Array }, index: number): Uint8Array => of.bytes.slice(index * 1024, (index + 1) * 1024);
    for (const name of ["q", "k", "v"]) {
      const [from, to] = [theirs.get(`model.layers.1.self_attn.${name}_proj.weight`)!, ours.get(`blk.1.attn_${name}.weight`)!];
      for (const head of [0, 64]) {
        for (const i of [0, 1, 17, 31]) {
          expect(row(to, head + (name === "v" ? i : 2 * i))).toEqual(row(from, head + i));
          expect(row(to, head + (name === "v" ? i + 32 : 2 * i + 1))).toEqual(row(from, head + i + 32));
        }
      }
    }
  });

  it("metadata state everything that would have to be guessed otherwise", async () => {
    const gguf = fresh(".gguf");
    await convertModel(await small(FAMILIES[4]![0]), gguf, { type: "tq1_0", embedding: "q6_k" });
    const { metadata, tensorInfos } = await readWithPeer(gguf, { allowLocalFile: true });
    expect(metadata).toMatchObject({
      "general.architecture": "qwen3",
      "general.file_type": 36,
      "general.quantization_version": 2,
      "qwen3.hidden_activation": "silu",
      "qwen3.attention.key_length": 128,
      "qwen3.attention.value_length": 128,
      "qwen3.rope.dimension_count": 128,
      "qwen3.embedding_length": 256,
      "tokenizer.ggml.pre": "llama-bpe",
      "tokenizer.ggml.bos_token_id": VOCAB - 16,
      "tokenizer.ggml.eos_token_id": VOCAB - 15,
      "tokenizer.ggml.eot_token_id": VOCAB - 7,
      "tokenizer.ggml.add_bos_token": true,
    });
    const types = new Map(tensorInfos.map(({ name, dtype }) => [name, dtype]));
    expect([types.get("token_embd.weight"), types.get("blk.0.attn_q.weight"), types.get("blk.1.attn_q_norm.weight")]).toEqual([14, 34, 0]);
  });

  it("fillers make the vocabulary as long as the embedding, and are gone again", async () => {
    const source = await small({ architecture: "BitNetForCausalLM", activation: "relu2", subNorms: true });
    const tokenizer = shortenTokenizer(source);
    const [gguf, back] = [fresh(".gguf"), fresh()];
    await convertModel(source, gguf);
    const { metadata } = await readWithPeer(gguf, { allowLocalFile: true });
    const tokens = new Map<string, unknown>(Object.entries(metadata)).get("tokenizer.ggml.tokens") as string[];
    expect([tokens.length, tokens[VOCAB - 6], tokens[VOCAB - 5]]).toEqual([VOCAB, expect.stringMatching(/^<\|/), `[PAD${VOCAB - 5}]`]);
    await convertModel(gguf, back);
    expect(JSON.parse(readFileSync(join(back, "tokenizer.json"), "utf8")).added_tokens).toEqual(tokenizer.added_tokens);
  });
});

describe("what ends an answer", () => {
  /** Ids of the ends, as `info` says them. */
  const stops = async (path: string): Promise<number[]> => (await describeModel(path)).tokenizer.stops.map(({ id }) => id);

  it.each([
    ["one that no list names but the text", []],
    ["a turn's", [VOCAB - 15, VOCAB - 3]],
    ["two of turns", [VOCAB - 3, VOCAB - 15, VOCAB - 4]],
    ["more than GGUF has keys for, a token of text too", [VOCAB - 15, VOCAB - 1, VOCAB - 2, VOCAB - 3, VOCAB - 4, VOCAB - 5, 10]],
  ])("is the same after conversion, there and back: %s", async (_, ids) => {
    const source = await small({ architecture: "LlamaForCausalLM" });
    writeFileSync(join(source, "generation_config.json"), JSON.stringify({ eos_token_id: ids }));
    const wanted = await stops(source);
    expect(wanted).toEqual([...new Set([...ids, VOCAB - 15, VOCAB - 7])].sort((a, b) => a - b)); // <|end_of_text|> and <|eot_id|> always
    const [gguf, again, back, more] = [fresh(".gguf"), fresh(".gguf"), fresh(), fresh(".gguf")];
    await convertModel(source, gguf);
    await convertModel(gguf, again, { type: "f16" });
    await convertModel(gguf, back);
    await convertModel(gguf, more, { tokenizer: source });
    for (const path of [gguf, again, back, more]) expect(await stops(path)).toEqual(wanted);
  });
});

describe("a tokenizer instead of the model's own", () => {
  it("goes into every output", async () => {
    const [source, other] = [await small({ architecture: "LlamaForCausalLM" }), await small({ architecture: "LlamaForCausalLM" })];
    const { added_tokens } = shortenTokenizer(other);
    const gguf = fresh(".gguf");
    await convertModel(source, gguf);
    for (const path of [source, gguf]) {
      const [again, packed] = [fresh(".gguf"), fresh()];
      await convertModel(path, again, { tokenizer: other });
      const found = await openTokenizer(again);
      expect([found.tokenizer.textOf(VOCAB - 5), found.chatTemplate?.source]).toEqual([`[PAD${VOCAB - 5}]`, expect.stringContaining("{%")]);
      await convertModel(path, packed, { tokenizer: other });
      expect(JSON.parse(readFileSync(join(packed, "tokenizer.json"), "utf8")).added_tokens).toEqual(added_tokens);
      expect((await openTokenizer(packed)).chatTemplate?.source).toBe(found.chatTemplate?.source);
    }
  });
});

describe("GGUF → GGUF", () => {
  it("keeps the metadata that don't change, and a quantised embedding as it is", async () => {
    const source = await small({ architecture: "LlamaForCausalLM", tied: false });
    const [first, second, third] = [fresh(".gguf"), fresh(".gguf"), fresh(".gguf")];
    await convertModel(source, first, { type: "f32", embedding: "q8_0" });
    expect(await convertModel(first, second, { type: "tq2_0" })).toMatchObject({ architecture: "llama", embedding: "Q8_0", rounded: [] });
    await convertModel(second, third, { type: "f32", embedding: "q8_0" });
    expect(await logits(second)).toEqual(await logits(first));
    expect(await tensorsOf(third)).toEqual(await tensorsOf(first));
    const metadata = async (path: string): Promise<string> =>
      JSON.stringify((await readWithPeer(path, { allowLocalFile: true })).metadata, (_, value) =>
        typeof value === "bigint" ? `${value}` : value,
      );
    expect(digest(Buffer.from(await metadata(third)))).toEqual(digest(Buffer.from(await metadata(first))));
  });

  it("scales that differ between groups go where there is room for them", async () => {
    const source = await small({ architecture: "Qwen3ForCausalLM", qkNorms: true, headDim: 128 });
    const [tq2, tq1, back, dense] = [fresh(".gguf"), fresh(".gguf"), fresh(".gguf"), fresh(".gguf")];
    await convertModel(source, tq2, { type: "tq2_0" });
    // Doubles the scale of one block.
    const checkpoint = await openCheckpoint(tq2);
    await checkpoint.close();
    const { offset } = checkpoint.tensors.get("blk.0.ffn_down.weight")!;
    const bytes = readFileSync(tq2);
    bytes.writeUInt16LE(bytes.readUInt16LE(offset + 64) + 0x400, offset + 64);
    writeFileSync(tq2, bytes);
    await convertModel(tq2, tq1, { type: "tq1_0" });
    await convertModel(tq1, back, { type: "tq2_0" });
    expect(await logits(tq1)).toEqual(await logits(tq2));
    expect(await tensorsOf(back)).toEqual(await tensorsOf(tq2));
    await convertModel(tq2, dense, { type: "f32" });
    const down = new Float32Array((await bytesOf(dense)).get("blk.0.ffn_down.weight")!.bytes.buffer);
    const sizes = new Set(down.map(Math.abs));
    sizes.delete(0);
    expect(sizes.size).toBe(2);
    const again = fresh(".gguf");
    await convertModel(dense, again, { type: "tq2_0", embedding: "f16" });
    expect(await tensorsOf(again)).toEqual(await tensorsOf(tq2));
    for (const options of [{ type: "i2_s" }, {}] as const) {
      const error = await errorOf(() => convertModel(tq2, fresh(options.type && ".gguf"), options));
      expect(error).toMatchObject({ code: "usage", tensor: "blk.0.ffn_down.weight" });
      expect(error.message).toContain("a scale for each group of 256 columns");
    }
  });

  it("scales of groups of 128 go through PrismML's types, and F16, and come back", async () => {
    const source = await small({ architecture: "Qwen3ForCausalLM", qkNorms: true, headDim: 128 });
    const pq2 = fresh(".gguf");
    await convertModel(source, pq2, { type: "pq2_0" });
    const checkpoint = await openCheckpoint(pq2);
    await checkpoint.close();
    const { offset, type } = checkpoint.tensors.get("blk.0.ffn_down.weight")!;
    expect(type).toBe("PQ2_0");
    const bytes = readFileSync(pq2);
    bytes.writeUInt16LE(bytes.readUInt16LE(offset) + 0x400, offset); // doubles the scale of one block
    writeFileSync(pq2, bytes);
    const [wanted, tensors] = [await logits(pq2), await tensorsOf(pq2)];
    let from = pq2;
    for (const type of ["ptq1_0", "f16", "pq2_0"] as const) {
      const to = fresh(".gguf");
      expect(await convertModel(from, to, { type })).toMatchObject({ layers: type.toUpperCase(), rounded: [] });
      expect(await logits(to), type).toEqual(wanted);
      from = to;
    }
    expect(await tensorsOf(from)).toEqual(tensors);
    const error = await errorOf(() => convertModel(pq2, fresh(".gguf"), { type: "tq2_0" }));
    expect(error.message).toContain("a scale for each group of 128 columns, but tq2_0 has one for 256");
  });

  it("scales of groups that f16 rounds are reported, and one that it can't hold is refused", async () => {
    const source = await small({ architecture: "Qwen3ForCausalLM", qkNorms: true, headDim: 128 });
    const dense = fresh(".gguf");
    await convertModel(source, dense, { type: "f32" });
    const checkpoint = await openCheckpoint(dense);
    await checkpoint.close();
    const { offset } = checkpoint.tensors.get("blk.0.ffn_down.weight")!;
    const scaleFirstGroup = (factor: number): void => {
      const bytes = readFileSync(dense);
      for (let at = offset; at < offset + 4 * 128; at += 4) bytes.writeFloatLE(bytes.readFloatLE(at) * factor, at);
      writeFileSync(dense, bytes);
    };
    scaleFirstGroup(1 + 2 ** -20);
    const { rounded } = await convertModel(dense, fresh(".gguf"), { type: "ptq1_0" });
    expect(rounded).toMatchObject([{ of: "scales of the ternary layers", type: "F16", changed: 1 }]);
    scaleFirstGroup(2 ** 24);
    const error = await errorOf(() => convertModel(dense, fresh(".gguf"), { type: "ptq1_0" }));
    expect(error).toMatchObject({ code: "usage", tensor: "blk.0.ffn_down.weight" });
    expect(error.message).toMatch(/has the scale \d+.*, which is out of range for the f16 scales of ptq1_0; choose i2_s or f32$/);
  });
});

describe("what was rounded", () => {
  it("is reported: an embedding that f16 doesn't hold, scales that f16 doesn't hold", async () => {
    const source = await small({ architecture: "LlamaForCausalLM", form: "F32" });
    const path = join(source, "model.safetensors");
    const bytes = readFileSync(path);
    const checkpoint = await openCheckpoint(source);
    await checkpoint.close();
    const { offset } = checkpoint.tensors.get("model.embed_tokens.weight")!;
    bytes.writeUInt16LE(0x2e80, offset); // bf16 5.8e-11: nothing in f16
    writeFileSync(path, bytes);
    const { rounded } = await convertModel(source, fresh(".gguf"), { type: "i2_s" });
    expect(rounded).toMatchObject([{ of: "model.embed_tokens.weight", type: "F16", changed: 1, count: VOCAB * 256 }]);
    expect((await convertModel(source, fresh(".gguf"), { type: "i2_s", embedding: "f32" })).rounded).toEqual([]);

    bytes.writeUInt16LE(0x7f00, offset); // bf16 1.7e38
    writeFileSync(path, bytes);
    const error = await errorOf(() => convertModel(source, fresh(".gguf"), { type: "i2_s" }));
    expect(error).toMatchObject({ code: "unsupported", tensor: "model.embed_tokens.weight" });
  });
});

describe("refused", () => {
  const odd = small({ architecture: "LlamaForCausalLM", ffn: 648 });
  const good = small({ architecture: "LlamaForCausalLM" });

  it.each<[string, ConvertOptions | undefined, string, RegExp]>([
    ["x.gguf", { type: "q4_0" as ConversionType }, "usage", /^type must be one of i2_s, .*, not "q4_0"$/],
    ["x.gguf", { embedding: "bf16" as "f16" }, "usage", /^embedding must be one of f16, f32, q8_0, q6_k, not "bf16"$/],
    ["x.gguf", { type: "packed" }, "usage", /x\.gguf: packed weights are written as a directory/],
    ["x", { type: "i2_s" }, "usage", /x: weights of type i2_s are written as GGUF, so the output's name must end in \.gguf/],
    ["x.safetensors", undefined, "usage", /SafeTensors output is a directory/],
    ["x", { embedding: "f16" }, "usage", /can't be chosen for packed SafeTensors/],
    ["no/such/x.gguf", undefined, "usage", /its directory does not exist/],
    ["no/such/x", undefined, "usage", /its directory does not exist/],
  ])("%s %j", async (name, options, code, message) => {
    const before = readdirSync(root);
    const error = await errorOf(async () => convertModel(await good, join(root, name), options));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(readdirSync(root)).toEqual(before);
  });

  it("rows that a type's blocks don't divide", async () => {
    const error = await errorOf(async () => convertModel(await odd, fresh(".gguf"), { type: "tq1_0" }));
    expect(error).toMatchObject({ code: "usage", tensor: "model.layers.0.mlp.down_proj.weight" });
    expect(error.message).toContain("has rows of 648 elements, but tq1_0 requires a multiple of 256; choose another type");
    const gguf = fresh(".gguf");
    await convertModel(await odd, gguf, { type: "f16" });
    expect(await logits(gguf)).toEqual(await logits(await odd));
  });

  it("to write over the input, or unasked over anything", async () => {
    const source = await small({ architecture: "LlamaForCausalLM" });
    const gguf = fresh(".gguf");
    await convertModel(source, gguf);
    const files = readdirSync(source).sort();
    for (const [path, out] of [
      [source, source],
      [join(source, "model.safetensors"), source],
      [gguf, gguf],
      [gguf, root],
    ] as const) {
      const error = await errorOf(() => convertModel(path, out, { force: true }));
      expect(error.message).toMatch(/is the model to convert; choose another output$/);
    }
    expect(readdirSync(source).sort()).toEqual(files);

    const target = fresh();
    mkdirSync(target);
    await convertModel(gguf, target); // an empty directory is free
    writeFileSync(join(target, "notes.txt"), "mine");
    expect((await errorOf(() => convertModel(gguf, target))).message).toMatch(/already exists; choose another output, or replace it/);
    await convertModel(gguf, target, { force: true });
    expect(readdirSync(target).sort()).toEqual([
      ...["config.json", "generation_config.json", "model.safetensors", "notes.txt"],
      ...["tokenizer.json", "tokenizer_config.json"],
    ]);
    // It samples as the GGUF does.
    const generation: unknown = JSON.parse(readFileSync(join(target, "generation_config.json"), "utf8"));
    expect(generation).toMatchObject({ do_sample: true, temperature: 0.7, top_k: 50, top_p: 0.9, min_p: 0, repetition_penalty: 1.1 });
    expect((await errorOf(() => convertModel(source, gguf))).message).toContain("already exists");
    await convertModel(source, gguf, { type: "f16", force: true });
    mkdirSync(`${target}.gguf`);
    expect((await errorOf(() => convertModel(source, `${target}.gguf`, { force: true }))).message).toContain("is a directory");
  });

  it("leaves nothing behind when it is stopped, or the model is damaged", async () => {
    const before = readdirSync(root);
    for (const out of [join(root, "stopped"), join(root, "stopped.gguf")]) {
      const stop = new AbortController();
      const stopping = convertModel(await good, out, {
        signal: stop.signal,
        onProgress: ({ done, total }) => {
          if (done > total / 2) stop.abort(new Error("enough"));
        },
      });
      await expect(stopping).rejects.toThrow("enough");
    }
    const source = await good;
    const path = join(source, "model.safetensors");
    const checkpoint = await openCheckpoint(source);
    await checkpoint.close();
    const bytes = readFileSync(path);
    const at = checkpoint.tensors.get("model.layers.1.mlp.down_proj.weight")!.offset + 100;
    const was = bytes[at]!;
    bytes[at] = 0xff;
    writeFileSync(path, bytes);
    const error = await errorOf(() => convertModel(source, join(root, "damaged.gguf")));
    expect(error).toMatchObject({ code: "file", tensor: "model.layers.1.mlp.down_proj.weight", offset: at });
    bytes[at] = was;
    writeFileSync(path, bytes);
    expect(readdirSync(root)).toEqual(before);
    expect(existsSync(join(root, "stopped"))).toBe(false);
  });
});

it("progress goes from nothing to all", async () => {
  const shares: number[] = [];
  await convertModel(await small({ architecture: "LlamaForCausalLM", form: "BF16" }), fresh(), {
    onProgress: ({ done, total }) => shares.push(done / total),
  });
  expect(shares.toSorted((a, b) => a - b)).toEqual(shares);
  expect(shares.at(-1)).toBe(1);
  expect(shares[0]).toBeLessThan(0.5);
});

it("needs no tokenizer_config.json", async () => {
  const [source, gguf] = [await small({ architecture: "LlamaForCausalLM" }), fresh(".gguf")];
  rmSync(join(source, "tokenizer_config.json"));
  await convertModel(source, gguf);
  expect(await logits(gguf)).toEqual(await logits(source));
});
