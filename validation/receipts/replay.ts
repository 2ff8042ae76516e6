import { BitnetError } from "../../engine/errors.js";
import type { GenerationResult, GenerationTrace, LoadOptions, Model } from "../../engine/index.js";
import { NUMERICS_VERSION } from "../../engine/numerics.js";
import { implausible } from "../records/plausible.js";
import { tokenizerSha256 } from "../records/tokenizer-hash.js";
import { callsImplausible, callsMisfit } from "./calls.js";
import { canonicalJson, type Receipt, receiptDigest, receiptSettings } from "./receipt.js";

/** The package that is to replay a receipt. */
export interface Here {
  readonly kernelSha256: string;
  /** undefined: not known here, as in a page. */
  readonly modulesSha256?: string;
}

/** What of a receipt contradicts itself, or was written by other kernels; undefined: nothing. */
export function receiptFault(receipt: Receipt, here: Here): string | undefined {
  const { provenance, settings, digest } = receipt;
  if (receiptDigest(receipt) !== digest) return "the receipt was altered: its digest does not match its other fields";
  if (provenance.numerics_version !== NUMERICS_VERSION)
    return `numerics_version is ${provenance.numerics_version}, but ${NUMERICS_VERSION} here: replay it with the package version that wrote it`;
  if (provenance.kernel_sha256 !== here.kernelSha256)
    return "kernel_sha256 differs from that of these kernels: replay it with the package version that wrote it";
  const modules = "modules_sha256" in provenance ? provenance.modules_sha256 : undefined;
  if (modules !== undefined && here.modulesSha256 !== undefined && modules !== here.modulesSha256)
    return "modules_sha256 differs from that of this package: replay it with the package version that wrote it";
  if (provenance.seed !== settings.seed) return "provenance/seed differs from settings/seed";
  return implausible(provenance) ?? callsMisfit(receipt);
}

/** How the model of a receipt was loaded, where that can change what is written. */
export function receiptLoad({ model }: Receipt): LoadOptions {
  return {
    ...(model.activation !== null && { activation: model.activation }),
    ...(model.activations !== undefined && { activations: model.activations }),
    ...(model.i2s_layout !== null && { i2sLayout: model.i2s_layout }),
    contextLength: model.context_length,
    kv: model.kv,
    head: model.head,
  };
}

/** What a replay ran on, and what of the receipt is not as it came now; undefined: all is. */
export interface Replay {
  readonly tier: string;
  readonly threads: number;
  readonly difference: string | undefined;
}

/** Replays a receipt with a model that was loaded as `receiptLoad` says. @param tokenizer the file that was given instead of the model's own */
export async function replayReceipt(
  receipt: Receipt,
  model: Model,
  { tokenizer, signal }: { readonly tokenizer?: string | undefined; readonly signal?: LoadOptions["signal"] } = {},
): Promise<Replay> {
  const { provenance } = receipt;
  const { sha256, kernels, threads } = await model.describe();
  const ended = (difference: string | undefined): Replay => ({ tier: kernels.tier, threads, difference });
  if (sha256 !== provenance.model_sha256) return ended(`model_sha256 differs from that of ${model.path}: it is another model file`);
  if (tokenizerSha256(model.tokenizer) !== provenance.tokenizer_sha256)
    return ended(`tokenizer_sha256 differs from that of ${tokenizer ?? model.path}: it is another tokenizer`);
  const result = await replay(receipt, model, signal);
  if (typeof result === "string") return ended(result);
  const difference = firstDifference(receipt, result);
  if (difference !== undefined) return ended(difference);
  const { kernelCalls } = result.trace;
  if (ranAlike(receipt, { tier: kernels.tier, threads }) && canonicalJson(receipt.kernel_calls) !== canonicalJson(kernelCalls))
    return ended("kernel_calls differ from the replay, which has the same tier and threads");
  return ended(
    callsImplausible(
      { calls: receipt.kernel_calls, tier: provenance.kernel_tier ?? "none", threads: provenance.threads ?? 1 },
      { calls: kernelCalls, tier: kernels.tier, threads },
    ),
  );
}

/** Whether a replay ran on the receipt's tier and threads, so that calls of kernels can be compared. */
export function ranAlike({ provenance }: Receipt, { tier, threads }: Pick<Replay, "tier" | "threads">): boolean {
  return tier === provenance.kernel_tier && threads === provenance.threads;
}

type Traced = GenerationResult & { readonly trace: GenerationTrace };

/** What the receipt's request gives now, or why it can't be asked for. */
async function replay({ prompt_ids, settings }: Receipt, model: Model, signal: LoadOptions["signal"]): Promise<Traced | string> {
  try {
    const generation = model.generate(prompt_ids, {
      temperature: settings.temperature,
      topK: settings.top_k,
      topP: settings.top_p,
      minP: settings.min_p,
      repetitionPenalty: settings.repetition_penalty,
      presencePenalty: settings.presence_penalty,
      frequencyPenalty: settings.frequency_penalty,
      seed: settings.seed,
      maxTokens: settings.max_tokens ?? Infinity,
      stop: settings.stop,
      stopIds: settings.stop_ids,
      ignoreEos: settings.eos_ids.length === 0,
      speculate: settings.speculate,
      trace: true,
      ...(signal && { signal }),
    });
    const result = await generation.result();
    if (signal?.aborted) throw signal.reason;
    return result as Traced;
  } catch (error) {
    if (!(error instanceof BitnetError) || error.code !== "usage") throw error;
    return `can't be replayed: ${error.message}`;
  }
}

/** What of a receipt is first not as the replay gave it. */
function firstDifference(receipt: Receipt, { trace, text, stopReason }: Traced): string | undefined {
  const { steps } = trace;
  const settings = receiptSettings(trace.settings);
  for (const [name, value] of Object.entries(receipt.settings)) {
    if (canonicalJson(value) !== canonicalJson(settings[name as keyof typeof settings]))
      return `settings/${name} differs from what the model's files and the receipt give here`;
  }
  const shared = Math.min(steps.length, receipt.steps.length);
  for (let i = 0; i < shared; i++) {
    const [was, now] = [receipt.steps[i]!, steps[i]!];
    const step = `step ${i + 1} of ${receipt.steps.length}`;
    if (was.hidden !== now.hidden) return `${step}: its hidden state differs from the replay`;
    if (was.id !== now.id) return `${step}: its id is ${was.id}, but ${now.id} in the replay`;
  }
  if (steps.length !== receipt.steps.length) {
    return `step ${shared + 1}: the receipt has ${receipt.steps.length} steps, but the replay has ${steps.length}`;
  }
  if (receipt.stop_reason !== stopReason) return `stop_reason is ${receipt.stop_reason}, but ${stopReason} in the replay`;
  if (receipt.text !== text) return "text differs from the replay";
  if (receipt.chain !== trace.chain) return "chain differs from the replay";
  return undefined;
}
