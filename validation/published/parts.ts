/** What the stand-ins are made of: the embedded model's numbers and tokenizer, small random models, and ways to write them under other keys. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { NewTensor } from "../../engine/container/checkpoint.js";
import { openCheckpoint } from "../../engine/container/checkpoint.js";
import type { GgufEntry, GgufValueType } from "../../engine/container/gguf.js";
import { writeGguf } from "../../engine/container/gguf-writer.js";
import { writeSafetensors } from "../../engine/container/safetensors.js";
import type { StringList } from "../../engine/container/string-list.js";
import { type FamilyModel, makeFamilyModel, type Shape } from "../families/model.js";

export const STORY_GGUF = "models/bitnet-stories-4m/ggml-model-i2_s.gguf";
export const STORY_PACKED = "models/bitnet-stories-4m/packed";

export type Json = Readonly<Record<string, unknown>>;

export interface Standin {
  readonly name: string;
  /** The public repository whose file this stands for. */
  readonly repository: string;
  /**
   * `dump`: every key was seen in a full listing; `part`: some were; `source`: from the converter or class that writes such files, which was read;
   * `inferred`: the rest follows from siblings.
   */
  readonly known: "dump" | "part" | "source" | "inferred";
  /** Writes it. @returns the path to give as a model */
  readonly write: (folder: string) => Promise<string>;
}

/** The turns of many published models. */
export const CHATML =
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/** Metadata in the order of the file: `A.` in a key stands for the architecture. Whole numbers are u32 and fractions f32, as converters write them. */
export function entries(architecture: string, keys: Readonly<Record<string, unknown>>): GgufEntry[] {
  return Object.entries(keys).map(([name, value]): GgufEntry => {
    const key = name.replace(/^A\./, `${architecture}.`);
    if (value instanceof Float32Array) return { key, type: "array", elementType: "float32", value: [...value] };
    if (value instanceof Int32Array) return { key, type: "array", elementType: "int32", value: [...value] };
    if (Array.isArray(value)) return { key, type: "array", elementType: "string", value: value as string[] };
    if (typeof value === "string" || typeof value === "boolean") return { key, type: typeof value === "string" ? "string" : "bool", value };
    const type: GgufValueType = Number.isInteger(value) && !/freq_base|epsilon|factor$/.test(key) ? "uint32" : "float32";
    return { key, type, value: value as number };
  });
}

/** The embedded model's tensors and tokenizer, as its GGUF has them. */
export async function storyParts(): Promise<{
  readonly tensors: readonly NewTensor[];
  readonly tokens: readonly string[];
  readonly types: Int32Array;
  readonly merges: readonly string[];
  readonly template: string;
}> {
  const checkpoint = await openCheckpoint(STORY_GGUF);
  await checkpoint.close();
  const bytes = readFileSync(STORY_GGUF);
  const list = (key: string): string[] => {
    const found = checkpoint.metadata.get(key) as StringList;
    return Array.from({ length: found.length }, (_, i) => found.at(i)!);
  };
  return {
    tensors: [...checkpoint.tensors.values()].map(({ name, shape, type, offset, byteLength }) => ({
      ...{ name, shape, type },
      data: new Uint8Array(bytes.subarray(offset, offset + byteLength)),
    })),
    tokens: list("tokenizer.ggml.tokens"),
    types: Int32Array.from(checkpoint.metadata.get("tokenizer.ggml.token_type") as Int32Array),
    merges: list("tokenizer.ggml.merges"),
    template: checkpoint.metadata.get("tokenizer.chat_template") as string,
  };
}

/** Two small layers: enough for a model to be a whole one. */
const SMALL = { layers: 2, hidden: 256, heads: 4, kvHeads: 2, headDim: 64, ffn: 512, vocab: 640, eps: 1e-6, windows: [8], quick: 8 };

/** A random model of a family; `more` is what sets it apart. */
export function smallModel(
  family: Shape["family"],
  more: Partial<Shape> & { readonly tied: boolean; readonly theta: number },
): FamilyModel {
  return makeFamilyModel({ ...SMALL, name: family, family, seed: 71, ...more });
}

export async function writeGgufFile(folder: string, name: string, metadata: GgufEntry[], tensors: readonly NewTensor[]): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, name);
  await writeGguf(path, { metadata, tensors: [...tensors] });
  return path;
}

/** A directory as the hub has it: weights and the JSON files beside them. */
export async function writeDirectory(
  folder: string,
  tensors: readonly NewTensor[],
  files: Readonly<Record<string, unknown>>,
): Promise<string> {
  mkdirSync(folder, { recursive: true });
  await writeSafetensors(join(folder, "model.safetensors"), { tensors: [...tensors], metadata: new Map([["format", "pt"]]) });
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(folder, name), typeof content === "string" ? content : JSON.stringify(content, undefined, 2));
  }
  return folder;
}

/** A JSON file of the embedded model's SafeTensors form. */
export function storyJson(name: string): Json {
  return JSON.parse(readFileSync(join(STORY_PACKED, name), "utf8")) as Json;
}

/** Its tensors. */
export async function storyPackedTensors(): Promise<NewTensor[]> {
  const checkpoint = await openCheckpoint(STORY_PACKED);
  await checkpoint.close();
  const bytes = readFileSync(join(STORY_PACKED, "model.safetensors"));
  return [...checkpoint.tensors.values()].map(({ name, shape, type, offset, byteLength }) => ({
    ...{ name, shape, type },
    data: new Uint8Array(bytes.subarray(offset, offset + byteLength)),
  }));
}
