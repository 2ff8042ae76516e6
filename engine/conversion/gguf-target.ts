import { directoryName } from "#host/files.js";
import type { NewTensor, TensorInfo, TensorType } from "../container/checkpoint.js";
import { GGML_TYPES_BY_NAME } from "../container/ggml-types.js";
import type { GgufEntry } from "../container/gguf.js";
import { writeGguf } from "../container/gguf-writer.js";
import { isObject, readJsonSidecar, type SidecarFiles } from "../container/sidecar.js";
import { BitnetError } from "../errors.js";
import { asMultipliers } from "../model/layers.js";
import { tensorNames } from "../model/names.js";
import { LONG_FACTORS, ROPE_FACTORS } from "../model/rope.js";
import { encodeFloats } from "../packing/float-encode.js";
import { familyOf } from "./families.js";
import { changedMetadata, ggufMetadata } from "./gguf-metadata.js";
import { ggufTokenizer } from "./gguf-tokenizer.js";
import { lookAtLayers, normsOf, type SourceModel, tablesOf } from "./model.js";
import type { TensorReader } from "./reader.js";
import { layerBytes, Roundings, readVector, requireFit, tableBytes } from "./tensors.js";
import type { ConversionTarget, EmbeddingType } from "./types.js";

/** The type of a table in the output. @throws BitnetError usage: its rows are no whole blocks */
function tableType({ file, name, type, shape }: TensorInfo, asked: EmbeddingType | undefined, layers: TensorType): TensorType {
  const plain = ["F32", "F16", "BF16"].includes(type);
  const chosen = asked?.toUpperCase() ?? (layers === "F32" ? "F32" : plain ? "F16" : type);
  const columns = shape.at(-1)!;
  const { blockElements } = GGML_TYPES_BY_NAME.get(chosen)!;
  if (columns % blockElements === 0) return chosen;
  throw new BitnetError(
    "usage",
    `${file}: tensor ${name} has rows of ${columns} elements, but ${chosen.toLowerCase()} requires a multiple of ${blockElements}; choose another type for the embedding`,
    { file, tensor: name },
  );
}

/** The tokenizer of tokenizer.json, and the chat template. @throws BitnetError tokenizer */
async function tokenizerEntries(model: SourceModel, files: SidecarFiles): Promise<GgufEntry[]> {
  const { vocabulary, tokenizer, defaults, chatTemplate } = model;
  const config = (await readJsonSidecar(files, "tokenizer_config.json", "tokenizer")) ?? {};
  const idOf = (key: string): number | undefined => {
    const value = config[key];
    const text = isObject(value) ? value.content : value;
    return typeof text === "string" ? tokenizer.idOf(text) : undefined;
  };
  const entries = ggufTokenizer(vocabulary, model.config.vocabSize, {
    unknown: idOf("unk_token"),
    padding: idOf("pad_token"),
    ends: [...defaults.eosIds],
  });
  if (chatTemplate !== undefined) entries.push({ key: "tokenizer.chat_template", type: "string", value: chatTemplate });
  return entries;
}

/** Writes a model as GGUF. @throws BitnetError, with nothing written */
export async function writeAsGguf(
  model: SourceModel,
  path: string,
  type: TensorType,
  embedding: EmbeddingType | undefined,
  reader: TensorReader,
): Promise<ConversionTarget> {
  const { checkpoint, config, sources, tokenizerFiles } = model;
  const { read } = reader;
  const stays = checkpoint.format === "gguf";
  const architecture = stays ? config.architecture : familyOf(config).gguf;
  const pairs = (stays ? config.rope : familyOf(config).rope) === "norm" ? config.headDim : undefined;
  const names = tensorNames("gguf", architecture, config);
  const roundings = new Roundings();

  const tables = tablesOf(sources, names).map(([name, tensor]): NewTensor & { type: TensorType } => {
    const chosen = tableType(tensor, embedding, type);
    return { name, shape: tensor.shape, type: chosen, data: tableBytes(tensor, chosen, read, roundings) };
  });
  const layers = await lookAtLayers(sources, names, reader);
  for (const { layer } of layers) requireFit(layer, type, roundings);
  const norms: NewTensor[] = [];
  for (const [name, tensor, role] of normsOf(sources, names)) {
    const values = await readVector(tensor, read);
    asMultipliers(values, role, config);
    norms.push({ name, shape: tensor.shape, type: "F32", data: encodeFloats("F32", values) });
  }
  // LongRoPE's two tensors stay as they are.
  const long = Object.values(LONG_FACTORS).flatMap((name) => checkpoint.tensors.get(name) ?? []);
  const ropeFactors: NewTensor[] = [];
  for (const { name, shape, ...tensor } of long)
    ropeFactors.push({ name, shape, type: "F32", data: encodeFloats("F32", await readVector({ name, shape, ...tensor }, read)) });
  if (config.ropeFactors && long.length === 0) {
    const values = Float32Array.from(config.ropeFactors);
    ropeFactors.push({ name: ROPE_FACTORS, shape: [values.length], type: "F32", data: encodeFloats("F32", values) });
  }
  const tokenizer = tokenizerFiles && (await tokenizerEntries(model, tokenizerFiles));
  const metadata = stays
    ? await changedMetadata(checkpoint, type, config, tokenizer)
    : [...ggufMetadata(architecture, directoryName(checkpoint.files[0]!), type, config, checkpoint.path), ...(tokenizer ?? [])];
  await writeGguf(path, {
    metadata,
    tensors: [
      ...tables,
      ...ropeFactors,
      ...layers.map(({ name, rotated, layer }): NewTensor => {
        const { rows, columns } = layer.packing.source;
        return {
          name,
          shape: [rows, columns],
          type,
          data: layerBytes(layer, type, read, roundings, rotated ? pairs : undefined),
        };
      }),
      ...norms,
    ],
  });
  return { architecture, embedding: tables[0]!.type, layers: type, rounded: roundings.results() };
}
