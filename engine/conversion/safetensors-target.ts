import { inDirectory, writeAtomic } from "#host/files.js";
import type { NewTensor, TensorType } from "../container/checkpoint.js";
import { writeSafetensors } from "../container/safetensors.js";
import { isObject, readJsonSidecar, type SidecarFiles } from "../container/sidecar.js";
import { BitnetError } from "../errors.js";
import { tensorNames } from "../model/names.js";
import { encodeFloats, isExactIn } from "../packing/float-encode.js";
import { familyOf } from "./families.js";
import { hfConfig, PACKED } from "./hf-config.js";
import { jsonTokenizer } from "./json-tokenizer.js";
import { lookAtLayers, normsOf, type SourceModel, tablesOf } from "./model.js";
import type { TensorReader } from "./reader.js";
import { layerBytes, Roundings, readVector, requireFit, smallestExact, tableBytes } from "./tensors.js";
import type { ConversionTarget } from "./types.js";

/** A chat template, where tokenizer_config.json has none. */
const TEMPLATE_FILE = "chat_template.jinja";

/** Files of a tokenizer. */
const TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", TEMPLATE_FILE];

/** Order of the types in the file: wide ones first, so that each number lies at a multiple of its size. */
const WIDTHS = ["U8", "F16", "BF16", "F32"];

/** Every file of the output but the weights: name → text. @throws BitnetError */
async function sidecars(model: SourceModel): Promise<Map<string, string>> {
  const { checkpoint, config, tokenizerFiles, vocabulary, tokenizer, chatTemplate, defaults } = model;
  const files = new Map<string, string>();
  const json = (name: string, value: unknown): void => void files.set(name, `${JSON.stringify(value, undefined, 2)}\n`);
  const copy = async (name: string, from: SidecarFiles): Promise<void> => {
    const text = await from.sidecar(name);
    if (text !== undefined) files.set(name, text);
  };
  if (checkpoint.format === "safetensors") {
    const old = (await readJsonSidecar(checkpoint, "config.json", "file")) ?? {};
    const left = isObject(old.quantization_config) ? old.quantization_config.modules_to_not_convert : undefined;
    json("config.json", { ...old, quantization_config: { ...PACKED, ...(left != null && { modules_to_not_convert: left }) } });
    await copy("generation_config.json", checkpoint);
  } else {
    json("config.json", hfConfig(config, tokenizer.bosId, tokenizer.eosIds, checkpoint.path));
    const ends = [...defaults.eosIds];
    const { temperature, topK, topP, minP, repetitionPenalty } = defaults.sampling;
    // Without them the file would ask for greedy decoding, which the GGUF does not.
    json("generation_config.json", {
      ...(tokenizer.bosId !== undefined && { bos_token_id: tokenizer.bosId }),
      ...(ends.length > 0 && { eos_token_id: ends }),
      ...{ do_sample: true, temperature, top_k: topK, top_p: topP, min_p: minP, repetition_penalty: repetitionPenalty },
    });
  }
  if (checkpoint.format === "safetensors" && tokenizerFiles) {
    for (const name of TOKENIZER_FILES) await copy(name, tokenizerFiles);
    // A tokenizer instead of the model's own may come without a template.
    if (chatTemplate !== undefined && tokenizerFiles !== checkpoint) files.set(TEMPLATE_FILE, chatTemplate);
  } else {
    const written = jsonTokenizer(vocabulary, chatTemplate, config.contextLength);
    files.set("tokenizer.json", written.tokenizer);
    files.set("tokenizer_config.json", written.config);
  }
  return files;
}

/** What a network has that no SafeTensors are written with; undefined: nothing. */
function onlyInGguf({
  recurrent,
  rotation,
  postNorms,
  embeddingScale,
  residualScale,
  logitScale,
}: SourceModel["config"]): string | undefined {
  if (recurrent) return "recurrent layers";
  if (rotation) return "rotated weights";
  if (postNorms) return "norms behind blocks";
  return embeddingScale !== 1 || residualScale !== 1 || logitScale !== 1 ? "scaled residuals" : undefined;
}

/** Writes a model as packed SafeTensors into a directory. @throws BitnetError */
export async function writeAsSafetensors(model: SourceModel, directory: string, reader: TensorReader): Promise<ConversionTarget> {
  const { checkpoint, config, sources } = model;
  const { read } = reader;
  const architecture = checkpoint.format === "safetensors" ? config.architecture : familyOf(config).hf;
  if (config.innerNorms) {
    const message = `${checkpoint.path}: packed SafeTensors of embedding models are not supported; convert to GGUF`;
    throw new BitnetError("usage", message, { file: checkpoint.path });
  }
  const only = onlyInGguf(config);
  if (only !== undefined) {
    const message = `${checkpoint.path}: SafeTensors of models with ${only} are not supported; convert to GGUF`;
    throw new BitnetError("usage", message, { file: checkpoint.path });
  }
  if (config.activations === "float" && architecture === "LlamaForCausalLM") {
    const message = `${checkpoint.path}: packed SafeTensors of ${architecture} imply 8-bit activations, but this model's are unquantised; convert to GGUF`;
    throw new BitnetError("usage", message, { file: checkpoint.path });
  }
  const names = tensorNames("safetensors", architecture, config);
  const roundings = new Roundings();
  const tensors: NewTensor[] = [];

  const vector = (name: string, values: Float32Array): void => {
    const type = isExactIn("BF16", values) ? "BF16" : "F32";
    tensors.push({ name, shape: [values.length], type, data: encodeFloats(type, values) });
  };
  const tableTypes: TensorType[] = [];
  for (const [name, tensor] of tablesOf(sources, names)) {
    const type = await smallestExact(tensor, read);
    tableTypes.push(type);
    tensors.push({ name, shape: tensor.shape, type, data: tableBytes(tensor, type, read, roundings) });
  }
  for (const { name, layer } of await lookAtLayers(sources, names, reader)) {
    requireFit(layer, "U8", roundings);
    const { rows, columns } = layer.packing.source;
    tensors.push({ name, shape: [rows / 4, columns], type: "U8", data: layerBytes(layer, "U8", read, roundings) });
    vector(`${name}_scale`, Float32Array.of(layer.scale!));
  }
  for (const [name, tensor] of normsOf(sources, names)) vector(name, await readVector(tensor, read));
  tensors.sort((a, b) => WIDTHS.indexOf(b.type) - WIDTHS.indexOf(a.type)); // stable

  for (const [name, text] of await sidecars(model)) {
    await writeAtomic(inDirectory(directory, name), async (sink) => void (await sink.write(new TextEncoder().encode(text))));
  }
  await writeSafetensors(inDirectory(directory, WEIGHTS_FILE), { tensors, metadata: new Map([["format", "pt"]]) });
  return { architecture, embedding: tableTypes[0]!, layers: "U8", rounded: roundings.results() };
}

/** The name that Hugging Face's library looks for. */
export const WEIGHTS_FILE = "model.safetensors";
