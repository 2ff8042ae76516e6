import type { Checkpoint } from "../container/checkpoint.js";
import type { ModelConfig, Rotation } from "../model/model-config.js";
import { isFloatMatrix, isPassedOver } from "../model/weights.js";
import type { SamplingOptions } from "../sampling/types.js";
import type { ChatTemplate, Tokenizer } from "../text/types.js";
import type { GenerationDefaults } from "./defaults.js";

/** A special token, by text and by id. */
export interface TokenDescription {
  readonly id: number;
  readonly text: string;
}

/** A network's hyper-parameters without the vectors of its rotation. */
export type DescribedConfig = Omit<ModelConfig, "rotation"> & { readonly rotation: Pick<Rotation, "blockSize"> | undefined };

/** Describes a model and how it would run here. Plain data. */
export interface ModelDescription {
  readonly path: string;
  readonly format: Checkpoint["format"];
  readonly name: string | undefined;
  readonly architecture: string;
  readonly config: DescribedConfig;
  /** Number of weights of all tensors, with packed weights counted singly and without scales. */
  readonly parameters: number;
  readonly fileSize: number;
  readonly files: readonly string[];
  /** Tensor types of each class; several if the file mixes them. */
  readonly quantisation: {
    readonly linears: string;
    readonly embedding: string;
    readonly norms: string;
    /** How inputs of ternary layers are quantised, and whether that is assumed. */
    readonly activations: string;
    /** Why the weights can't be loaded; undefined: they can. */
    readonly refusal?: string | undefined;
  };
  readonly tokenizer: {
    readonly source: string;
    readonly size: number;
    readonly bos: TokenDescription | undefined;
    readonly eos: readonly TokenDescription[];
    /** Tokens that end an answer, from all sources. */
    readonly stops: readonly TokenDescription[];
    readonly addsBos: boolean;
  };
  readonly chatTemplate: string | null;
  /** Assumptions about what the files don't state, each a sentence. */
  readonly notes: readonly string[];
  readonly generationDefaults: SamplingOptions;
  /** Of the model file; see `Checkpoint.sha256`. */
  readonly sha256: string;
  readonly kernels: { readonly tier: string; readonly why: string };
  readonly threads: number;
}

/** What a user should know of how the network is taken. */
export function configNotes({ window }: ModelConfig): string[] {
  return window === undefined
    ? []
    : [`the context ends at ${window} tokens: some layers see no further (sliding windows), which is not supported for longer texts`];
}

/** Gathers the description. Reads the whole file once, for its hash. */
export async function describe(
  checkpoint: Checkpoint,
  config: ModelConfig,
  tokenizer: Tokenizer,
  chatTemplate: ChatTemplate | undefined,
  defaults: GenerationDefaults,
  kernels: { readonly tier: string; readonly why: string },
  threads: number,
  refusal?: string,
): Promise<ModelDescription> {
  const token = (id: number): TokenDescription => ({ id, text: tokenizer.textOf(id) });
  const tensors = [...checkpoint.tensors.values()].filter(({ name }) => !name.endsWith("_scale") && !isPassedOver(name));
  const name = checkpoint.metadata.get("general.name");
  // By shape: norms are vectors, and the tables have a row for each id.
  const norms = tensors.filter(({ name, shape }) => shape.length === 1 || isFloatMatrix(name));
  const tables = tensors.filter(({ shape }) => shape.length === 2 && shape[0] === config.vocabSize);
  const linears = tensors.filter(({ name, shape }) => shape.length === 2 && shape[0] !== config.vocabSize && !isFloatMatrix(name));
  const types = (of: readonly { readonly type: string }[]): string => [...new Set(of.map(({ type }) => type))].join(", ");
  const elements = (of: readonly { readonly shape: readonly number[]; readonly type: string }[]): number =>
    of.reduce((sum, { shape, type }) => sum + shape.reduce((product, extent) => product * extent, type === "U8" ? 4 : 1), 0);
  return {
    path: checkpoint.path,
    format: checkpoint.format,
    name: typeof name === "string" ? name : undefined,
    architecture: config.architecture,
    config: { ...config, rotation: config.rotation && { blockSize: config.rotation.blockSize } },
    parameters: elements(norms) + elements(tables) + elements(linears),
    fileSize: checkpoint.byteLength,
    files: checkpoint.files,
    quantisation: {
      linears: `${types(linears)}${config.packing ? ` (${config.packing.mode})` : ""}`,
      embedding: types(tables),
      norms: types(norms),
      activations: `${config.activations === "int8" ? "int8 per token" : "unquantised (15 bits for each group of columns)"}${config.activationsAssumed ? ", assumed: the file does not state it" : ""}`,
      ...(refusal !== undefined && { refusal }),
    },
    tokenizer: {
      source: tokenizer.source,
      size: tokenizer.size,
      bos: tokenizer.bosId === undefined ? undefined : token(tokenizer.bosId),
      eos: tokenizer.eosIds.map(token),
      stops: [...defaults.eosIds].sort((a, b) => a - b).map(token),
      addsBos: tokenizer.addsBos,
    },
    chatTemplate: chatTemplate?.source ?? null,
    notes: [...configNotes(config), ...tokenizer.notes, ...(chatTemplate?.notes ?? [])],
    generationDefaults: defaults.sampling,
    sha256: await checkpoint.sha256(),
    kernels,
    threads,
  };
}
