/** What a damaged or hostile model ends in, by way of the library. */
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openSource } from "#host/files.js";
import { openCheckpoint, type TensorInfo } from "../container/checkpoint.js";
import { type GgufEntry, readGguf } from "../container/gguf.js";
import { writeGguf } from "../container/gguf-writer.js";
import { BitnetError } from "../errors.js";
import { loadModel } from "../generation/model.js";
import type { LoadOptions } from "../generation/runner.js";

const I2S = "validation/fixtures/gguf/ggml-model-i2_s.gguf";
const BITNET_25 = "validation/fixtures/gguf/ggml-model-i2_s-arch-bitnet-25.gguf";
const PACKED = "models/bitnet-stories-4m/packed";
const BF16 = "validation/fixtures/safetensors-bf16";
const TEXT = "Once upon a time, there was a little fox who lived in the woods.";
const REFERENCE: LoadOptions = { reference: true, contextLength: 64 };

let directory = "";
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "bitnet-load-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

type Change = (bytes: Buffer, at: (name: string) => TensorInfo) => Buffer | undefined;

let count = 0;
/** A changed copy of a model, in a place of its own: what to load, and the file that was changed. */
async function changed(path: string, change: Change, config: object = {}): Promise<{ path: string; file: string }> {
  const checkpoint = await openCheckpoint(path);
  await checkpoint.close();
  const [original] = checkpoint.files;
  const bytes = readFileSync(original!);
  const result = change(bytes, (name) => checkpoint.tensors.get(name)!) ?? bytes;
  const copy = join(directory, String(count++));
  if (checkpoint.format === "gguf") {
    writeFileSync(`${copy}.gguf`, result);
    return { path: `${copy}.gguf`, file: `${copy}.gguf` };
  }
  cpSync(path, copy, { recursive: true });
  writeFileSync(join(copy, "model.safetensors"), result);
  const json: object = JSON.parse(readFileSync(join(copy, "config.json"), "utf8"));
  writeFileSync(join(copy, "config.json"), JSON.stringify({ ...json, ...config }));
  return { path: copy, file: join(copy, "model.safetensors") };
}

/** Loads, closes, and gives the error if there was one. */
async function outcome(path: string, options: LoadOptions = {}): Promise<BitnetError | undefined> {
  try {
    await (await loadModel(path, { threads: 2, contextLength: 64, ...options })).close();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(BitnetError);
    const { message, code } = error as BitnetError;
    expect(message).not.toMatch(/[\r\n]|\.$/);
    expect(code).not.toBe("internal");
    return error as BitnetError;
  }
}

async function logitsOf(path: string, options: LoadOptions = {}): Promise<Float32Array> {
  const model = await loadModel(path, { threads: 2, contextLength: 64, ...options });
  try {
    return await model.logits(model.tokenizer.encode(TEXT));
  } finally {
    await model.close();
  }
}

const same = (a: Float32Array, b: Float32Array): boolean => Buffer.compare(Buffer.from(a.buffer), Buffer.from(b.buffer)) === 0;

describe("sound files", () => {
  test("the architecture's older name changes no bit", async () => {
    expect(same(await logitsOf(BITNET_25), await logitsOf(I2S))).toBe(true);
  });

  test("bitlinear's scale is the inverse of autobitlinear's", async () => {
    // Powers of 2, whose inverses are exact.
    const scales = (sign: 1 | -1): Change => {
      return (bytes, at) => {
        for (let layer = 0; layer < 4; layer++) {
          for (const [i, role] of [
            "self_attn.q",
            "self_attn.k",
            "self_attn.v",
            "self_attn.o",
            "mlp.gate",
            "mlp.up",
            "mlp.down",
          ].entries()) {
            const { offset } = at(`model.layers.${layer}.${role}_proj.weight_scale`);
            bytes.writeUInt16LE((127 + sign * (i - 6)) << 7, offset); // bf16 of 2^±(i − 6)
          }
        }
        return bytes;
      };
    };
    const quantization = (linear_class?: string) => ({ quantization_config: { quant_method: "bitnet", linear_class } });
    const multiplied = await changed(PACKED, scales(1), quantization("autobitlinear"));
    const divided = await changed(PACKED, scales(-1), quantization("bitlinear"));
    const byDefault = await changed(PACKED, scales(-1), quantization());
    const wrong = await changed(PACKED, scales(-1), quantization("autobitlinear"));
    const expected = await logitsOf(multiplied.path);
    expect(same(await logitsOf(divided.path), expected)).toBe(true);
    expect(same(await logitsOf(byDefault.path), expected)).toBe(true);
    expect(same(await logitsOf(divided.path, REFERENCE), expected)).toBe(true);
    expect(same(await logitsOf(wrong.path), expected)).toBe(false); // negative control
  });
});

describe("damaged weights", () => {
  const f32 = (value: number) => (bytes: Buffer, at: number) => bytes.writeFloatLE(value, at);
  const u16 = (value: number) => (bytes: Buffer, at: number) => bytes.writeUInt16LE(value, at);
  const or = (value: number) => (bytes: Buffer, at: number) => bytes.writeUInt8(bytes.readUInt8(at) | value, at);
  const LAYER = "blk.2.ffn_up.weight";
  const SCALE = "model.layers.2.mlp.up_proj.weight_scale";
  const I2S_SCALE = (768 * 256) / 4;
  const scale = /: the scale of tensor .* is .*, but scales must be positive and finite: the file is damaged/;
  const number = /: tensor .* contains an infinity or NaN near byte \d+: the file is damaged/;
  const code = /: tensor .* has the code 3 at byte \d+, which is not a ternary weight/;

  test.each<[string, string, string, number, (bytes: Buffer, at: number) => number, RegExp]>([
    ["I2_S scale 0", I2S, LAYER, I2S_SCALE, f32(0), scale],
    ["HF scale NaN", PACKED, SCALE, 0, u16(0x7fc0), scale],
    ["I2_S code 3", I2S, LAYER, 31_337, or(0x30), code],
    ["HF code 3", PACKED, SCALE.replace("_scale", ""), 31_337, or(0x03), code],
    ["master NaN", BF16, SCALE.replace("_scale", ""), 1000, u16(0x7fc0), number],
    ["norm Infinity", I2S, "blk.3.attn_sub_norm.weight", 512, f32(Infinity), number],
    ["embedding NaN", I2S, "token_embd.weight", 2 * 256 * 4000, u16(0x7e00), number],
  ])("%s", async (_, path, tensor, byte, write, message) => {
    const copy = await changed(path, (bytes, at) => {
      write(bytes, at(tensor).offset + byte);
      return bytes;
    });
    for (const options of [{ threads: 2 }, REFERENCE]) {
      const error = await outcome(copy.path, options);
      expect(error).toMatchObject({ code: "file", file: copy.file, tensor });
      expect(error!.message).toMatch(message);
      expect(error!.message).toContain(`${copy.file}: `);
      expect(error!.message).toContain(tensor);
    }
  });
});

describe("damaged files", () => {
  const FILES = [I2S, PACKED] as const;

  test.each(FILES)("%s, truncated anywhere", async (path) => {
    const whole = readFileSync((await changed(path, (bytes) => bytes)).file).length;
    for (const length of [0, 1, 7, 8, 23, 24, 100, 4000, 130_000, whole >> 1, whole - 40_000, whole - 33, whole - 1]) {
      const copy = await changed(path, (bytes) => bytes.subarray(0, length));
      const error = await outcome(copy.path);
      expect(error).toMatchObject({ code: "file", file: copy.file });
      expect(error!.message).toContain(copy.file);
    }
  });

  test.each(FILES)("%s, a bit flipped: it loads, or the error names the file", async (path) => {
    const random = (i: number, below: number): number => Math.floor((((i * 7919 + 13) % 1009) / 1009) * below);
    const headerBytes = path === I2S ? 131_840 : 8_000;
    let refused = 0;
    for (let i = 0; i < 16; i++) {
      // Lengths and counts stand at the beginning, tensors at the end of a GGUF's header.
      const at = i < 6 ? random(i, 64) : i < 10 ? headerBytes - 1 - random(i, 3000) : random(i, headerBytes);
      const copy = await changed(path, (bytes) => {
        bytes[at]! ^= 1 << (i % 8);
        return bytes;
      });
      const error = await outcome(copy.path);
      if (error === undefined) continue;
      refused++;
      expect(error.message, `byte ${at}`).toContain(copy.path);
      expect(["file", "unsupported", "tensor", "tokenizer"]).toContain(error.code);
    }
    expect(refused).toBeGreaterThan(6);
  });
});

describe("too large", () => {
  const entry = (key: string, value: number): GgufEntry => ({ key: `bitnet-b1.58.${key}`, type: "uint32", value });

  /** The model with an embedding of so many rows, in a sparse file: no byte of it is on the disk. */
  async function sparse(vocab: number): Promise<string> {
    const source = await openSource(I2S);
    const { entries, tensors } = await readGguf(source);
    const path = join(directory, `sparse-${vocab}.gguf`);
    const kept = tensors.filter(({ name }) => name !== "token_embd.weight");
    const written = [];
    for (const { name, shape, type, offset, byteLength } of kept) {
      written.push({ name, shape, type, data: await source.read(offset, byteLength) });
    }
    await source.close();
    // Written with one row, at the end of the file; then its header says more rows and the file is made longer.
    const metadata = entries.map((old) => (old.key === "bitnet-b1.58.vocab_size" ? entry("vocab_size", vocab) : old));
    await writeGguf(path, {
      metadata,
      tensors: [...written, { name: "token_embd.weight", shape: [1, 256], type: "F16", data: new Uint8Array(512) }],
    });
    const bytes = readFileSync(path);
    const name = bytes.lastIndexOf("token_embd.weight");
    const dimensions = name + "token_embd.weight".length + 4; // [256, rows] follow as u64
    expect(bytes.readBigUInt64LE(dimensions)).toBe(256n);
    bytes.writeBigUInt64LE(BigInt(vocab), dimensions + 8);
    writeFileSync(path, bytes);
    truncateSync(path, bytes.length + (vocab - 1) * 512);
    return path;
  }

  test("an output head of 5 GiB is refused before memory is taken", async () => {
    const path = await sparse(10 * 2 ** 20);
    const before = process.memoryUsage().rss;
    for (const [options, message] of [
      [
        { threads: 2, head: "exact" },
        /^the model needs \d+ MiB of memory, but WebAssembly can address 4096 MiB \(output head 5120 MiB, .*: even a context of 32 tokens/,
      ],
      [REFERENCE, /^the weights need 10243 MiB on the reference path, but at most 4096 MiB are possible/],
    ] as const) {
      const error = await outcome(path, options);
      expect(error?.code).toBe("memory");
      expect(error?.message).toMatch(message);
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(500 * 2 ** 20);
    rmSync(path);
  });

  test("a context longer than the model's is a mistake in usage", async () => {
    for (const contextLength of [2049, 0, -1, 1.5, Number.NaN, 1e308]) {
      const error = await outcome(I2S, { contextLength });
      expect(error).toMatchObject({
        code: "usage",
        message: expect.stringContaining("contextLength must be a whole number from 1 to 2048"),
      });
    }
  });

  test("a context that doesn't fit", async () => {
    const long = await changed(PACKED, (bytes) => bytes, { max_position_embeddings: 1_000_000 });
    // 4 layers · 2 heads · 2 · 64 · 4 bytes = 4 KiB a position; half of the 4 GiB is left
    const error = await outcome(long.path, { contextLength: 1_000_000, firstAddress: 2 ** 31 });
    expect(error?.code).toBe("memory");
    const fitting = Number(/: a context of (\d+) tokens would fit/.exec(error!.message)?.[1]);
    expect(fitting).toBeGreaterThan(500_000);
    expect(fitting).toBeLessThan(2 ** 19);
  });
});
