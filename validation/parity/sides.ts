import { dirname, join } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { type FileOptions, type LoadOptions, loadModel, type Model } from "../../engine/index.js";
import { PACKAGE_FILE } from "../records/package.js";
import type { Outputs } from "./figures.js";
import type { SideOptions, SideRecord } from "./types.js";

/** The folder of the embedded model, with both its formats and its stored outputs. */
export const EMBEDDED_FOLDER = join(dirname(PACKAGE_FILE), "models/bitnet-stories-4m");
/** Its SafeTensors and its GGUF form, which hold equal numbers. */
export const EMBEDDED_PAIR = [join(EMBEDDED_FOLDER, "packed"), join(EMBEDDED_FOLDER, "ggml-model-i2_s.gguf")] as const;

/** In float32 without quantised activations, or as it is shipped. */
export type Arithmetic = "reference" | "kernels";

/** Threads and tier of the kernels: they change no figure. */
export type KernelOptions = Pick<LoadOptions, "threads" | "tier">;

/** A loaded side. */
export interface Side {
  readonly model: Model;
  readonly record: SideRecord;
  readonly parameters: number;
  /** For the provenance. */
  readonly tier: string;
  readonly threads: number;
}

/** Loads a side. @throws BitnetError */
export async function openSide(
  path: string,
  arithmetic: Arithmetic,
  options: FileOptions,
  kernels: KernelOptions,
  signal?: AbortSignal,
): Promise<Side> {
  const model = await loadModel(path, {
    ...options,
    ...(signal && { signal }),
    ...(arithmetic === "reference" ? { reference: true, activationQuant: false } : { ...kernels, v8Flags: true }),
  });
  try {
    const { format, sha256, parameters, kernels: running, threads } = await model.describe();
    const record = { path, format, sha256, kernels: arithmetic, ...givenOptions(options) };
    return { model, record, parameters, tier: running.tier, threads };
  } catch (error) {
    await model.close();
    throw error;
  }
}

/** The options of a side's file, as a record has them; nothing if none was given. */
export function givenOptions({ activation, activations, i2sLayout, tokenizer }: FileOptions): Pick<SideRecord, "options"> {
  const options: SideOptions = {
    ...(activation !== undefined && { activation }),
    ...(activations !== undefined && { activations }),
    ...(i2sLayout !== undefined && { i2s_layout: i2sLayout }),
    ...(tokenizer !== undefined && { tokenizer }),
  };
  return Object.keys(options).length > 0 ? { options } : {};
}

/** The library's options for what a record says about a side's file. */
export function fileOptionsOf({ options = {} }: SideRecord): FileOptions {
  const { activation, activations, i2s_layout: i2sLayout, tokenizer } = options;
  return {
    ...(activation !== undefined && { activation }),
    ...(activations !== undefined && { activations }),
    ...(i2sLayout !== undefined && { i2sLayout }),
    ...(tokenizer !== undefined && { tokenizer }),
  };
}

/** Feeds a side a token path. */
export async function outputsOf(model: Model, ids: readonly number[], signal?: AbortSignal): Promise<Outputs> {
  const logits: Float32Array[] = [];
  const { nll } = await model.score(ids, { ...(signal && { signal }), onLogits: (_, row) => logits.push(row) });
  return { logits, nll };
}

/** What a model writes when it always takes the likeliest token, its own end included. */
export async function greedyIds(model: Model, ids: readonly number[], maxTokens: number, signal?: AbortSignal): Promise<readonly number[]> {
  if (maxTokens === 0 || ids.length >= model.contextLength) return [];
  const generation = model.generate(ids, { temperature: 0, repetitionPenalty: 1, maxTokens, ...(signal && { signal }) });
  const result = await generation.result();
  signal?.throwIfAborted();
  return result.ids;
}

/** @throws BitnetError unless both sides have the same vocabulary */
export function checkAlike(a: Side, b: Side): void {
  const [left, right] = [a.model.config.vocabSize, b.model.config.vocabSize];
  if (left === right) return;
  throw new BitnetError(
    "usage",
    `${a.record.path} has a vocabulary of ${left} tokens and ${b.record.path} one of ${right}: they must be two forms of one model`,
  );
}
