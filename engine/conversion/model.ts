import type { Checkpoint, TensorInfo } from "../container/checkpoint.js";
import type { SidecarFiles } from "../container/sidecar.js";
import type { GenerationDefaults } from "../generation/defaults.js";
import { generationDefaults } from "../generation/defaults.js";
import { checkVocabulary } from "../generation/model.js";
import type { FileOptions } from "../generation/runner.js";
import { type ModelConfig, readConfig } from "../model/config.js";
import { type FloatRole, layerFloats, layerLinears, ROTATED } from "../model/layers.js";
import type { TensorNames } from "../model/names.js";
import { type NetworkSources, readWeights } from "../model/weights.js";
import { loadChatTemplate } from "../text/find-template.js";
import { openTokenizerFiles, readVocabulary } from "../text/load.js";
import { createTokenizer } from "../text/tokenizer.js";
import type { Tokenizer } from "../text/types.js";
import type { Vocabulary } from "../text/vocabulary.js";
import { type Layer, lookAt } from "./layer.js";
import type { TensorReader } from "./reader.js";

/** All that a model's files say. */
export interface SourceModel {
  readonly checkpoint: Checkpoint;
  readonly config: ModelConfig;
  readonly sources: NetworkSources;
  /** Where the tokenizer comes from; undefined: from GGUF metadata. */
  readonly tokenizerFiles: SidecarFiles | undefined;
  readonly vocabulary: Vocabulary;
  readonly tokenizer: Tokenizer;
  /** Jinja. */
  readonly chatTemplate: string | undefined;
  readonly defaults: GenerationDefaults;
}

/** Reads all but the weights. @throws BitnetError */
export async function readModel(checkpoint: Checkpoint, options: FileOptions): Promise<SourceModel> {
  const config = await readConfig(checkpoint, options);
  const sources = readWeights(checkpoint, config, options);
  const given = await openTokenizerFiles(options.tokenizer);
  const tokenizerFiles = given ?? (checkpoint.format === "safetensors" ? checkpoint : undefined);
  const vocabulary = await readVocabulary(checkpoint, given);
  const tokenizer = createTokenizer(vocabulary);
  checkVocabulary(checkpoint.path, tokenizer, config);
  const chatTemplate = (await loadChatTemplate(checkpoint, tokenizer, given))?.source;
  const defaults = await generationDefaults(checkpoint, tokenizer);
  return { checkpoint, config, sources, tokenizerFiles, vocabulary, tokenizer, chatTemplate, defaults };
}

/** A ternary layer with its name in the output. */
export interface NamedLayer {
  readonly name: string;
  /** Its rows are those of heads that are rotated. */
  readonly rotated: boolean;
  readonly layer: Layer;
}

/** The network's ternary layers, each looked at. @throws BitnetError */
export async function lookAtLayers({ layers }: NetworkSources, names: TensorNames, reader: TensorReader): Promise<NamedLayer[]> {
  const found: NamedLayer[] = [];
  for (const [index, layer] of layers.entries()) {
    for (const [role, source] of layerLinears(layer)) {
      const name = names.layer[role].replace("%", String(index));
      found.push({ name, rotated: ROTATED.has(role), layer: await lookAt(source, reader.read) });
    }
  }
  return found;
}

/** Every norm, and what else is kept in f32, with its name in the output and its role. */
export function normsOf(
  { layers, outputNorm }: NetworkSources,
  names: TensorNames,
): (readonly [string, TensorInfo, FloatRole | "outputNorm"])[] {
  const inner = layers.flatMap((layer, index) =>
    layerFloats(layer).map(([role, tensor]) => [names.layer[role].replace("%", String(index)), tensor, role] as const),
  );
  return [...inner, [names.outputNorm, outputNorm, "outputNorm"]];
}

/** The embedding, and the output head if it is another. */
export function tablesOf({ embedding, head }: NetworkSources, names: TensorNames): (readonly [string, TensorInfo])[] {
  return head === undefined
    ? [[names.embedding, embedding]]
    : [
        [names.embedding, embedding],
        [names.head, head],
      ];
}
