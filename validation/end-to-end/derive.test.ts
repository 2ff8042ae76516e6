import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { BF16, deriveF32Gguf, deriveF32Safetensors, I2S, PACKED, temporaryDirectory } from "./derive.test.helper.js";

const { sha256 } = JSON.parse(readFileSync("validation/golden/model/manifest.json", "utf8")) as { sha256: Record<string, string> };
const directory = temporaryDirectory();
afterAll(directory.remove);

const hashOf = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

it("our writers dequantise to the very bytes of the official tools' files", async () => {
  expect(hashOf(await deriveF32Gguf(directory.path))).toBe(sha256["gguf/ggml-model-f32.gguf"]);
  await deriveF32Safetensors(directory.path);
  expect(hashOf(join(directory.path, "model.safetensors"))).toBe(sha256["safetensors/f32/model.safetensors"]);
});

it("the fixtures are the files that the references ran on", () => {
  expect(hashOf(I2S)).toBe(sha256["gguf/ggml-model-i2_s.gguf"]);
  expect(hashOf(join(BF16, "model.safetensors"))).toBe(sha256["safetensors/bf16/model.safetensors"]);
  expect(hashOf(join(PACKED, "model.safetensors"))).toBe(sha256["safetensors/packed/model.safetensors"]);
});
