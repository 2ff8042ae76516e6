import { availableParallelism } from "node:os";
import { dirname } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import {
  type GenerationResult,
  type GenerationTrace,
  type LoadOptions,
  loadModel,
  type Model,
  NUMERICS_VERSION,
} from "../../engine/index.js";
import { modulesSha256 } from "../records/build.js";
import { PACKAGE_FILE } from "../records/package.js";
import { implausible } from "../records/plausible.js";
import { kernelSha256, tokenizerSha256 } from "../records/provenance.js";
import { readRecord } from "../records/records.js";
import { callsImplausible, callsMisfit } from "./calls.js";
import { splitFields } from "./fields.js";
import { canonicalJson, type Receipt, receiptDigest, receiptSettings } from "./receipt.js";

/** How to replay a receipt. */
export interface VerifyOptions {
  /** Where the model is now; default: where the receipt says. */
  readonly model?: string | undefined;
  /** Where a tokenizer that was given instead of the model's own is now. */
  readonly tokenizer?: string | undefined;
  /** `tier` and `threads`: default: those of the receipt, but no more threads than can run at once here. */
  readonly load: Pick<LoadOptions, "threads" | "crowded" | "tier" | "reference" | "onProgress" | "signal">;
}

/** What a receipt that holds was replayed with. */
export interface Verification {
  readonly receipt: Receipt;
  readonly tier: string;
  readonly threads: number;
  /** Fields that were used in the replay, or came out of it again: paths such as `provenance/seed`. */
  readonly replayed: readonly string[];
  /** Fields that no replay can tell: only their digest holds them, and that they don't contradict each other. */
  readonly claimed: readonly string[];
}

/**
 * Replays a receipt, and compares everything that was recorded with what comes now.
 * @throws BitnetError receipt: it was altered, or something differs, which the message names; what `loadModel` throws
 */
export async function verifyReceipt(path: string, options: VerifyOptions): Promise<Verification> {
  const receipt = await readReceipt(path);
  const fail = (what: string): never => {
    throw new BitnetError("receipt", `${path}: ${what}`, { file: path });
  };
  const { provenance, model: loaded } = receipt;
  if (receiptDigest(receipt) !== receipt.digest) fail("the receipt was altered: its digest does not match its other fields");
  if (provenance.numerics_version !== NUMERICS_VERSION)
    fail(
      `numerics_version is ${provenance.numerics_version}, but ${NUMERICS_VERSION} here: replay it with the package version that wrote it`,
    );
  if (provenance.kernel_sha256 !== kernelSha256())
    fail("kernel_sha256 differs from that of these kernels: replay it with the package version that wrote it");
  if (provenance.modules_sha256 !== undefined && provenance.modules_sha256 !== modulesSha256(dirname(PACKAGE_FILE)))
    fail("modules_sha256 differs from that of this package: replay it with the package version that wrote it");
  if (provenance.seed !== receipt.settings.seed) fail("provenance/seed differs from settings/seed");
  const misfit = implausible(provenance) ?? callsMisfit(receipt);
  if (misfit !== undefined) fail(misfit);

  const modelPath = options.model ?? loaded.path ?? undefined;
  const tokenizer = options.tokenizer ?? loaded.tokenizer ?? undefined;
  const model = await loadModel(modelPath, {
    ...asWritten(receipt),
    ...options.load,
    ...(tokenizer !== undefined && { tokenizer }),
    ...(loaded.activation !== null && { activation: loaded.activation }),
    ...(loaded.activations !== undefined && { activations: loaded.activations }),
    ...(loaded.i2s_layout !== null && { i2sLayout: loaded.i2s_layout }),
    contextLength: loaded.context_length,
    kv: loaded.kv,
    head: loaded.head,
    v8Flags: true,
  });
  try {
    const { sha256, kernels, threads } = await model.describe();
    if (sha256 !== provenance.model_sha256) fail(`model_sha256 differs from that of ${model.path}: it is another model file`);
    if (tokenizerSha256(model.tokenizer) !== provenance.tokenizer_sha256)
      fail(`tokenizer_sha256 differs from that of ${tokenizer ?? model.path}: it is another tokenizer`);
    const result = await replay(path, receipt, model, options.load.signal);
    const difference = firstDifference(receipt, result);
    if (difference !== undefined) fail(difference);
    const sameKernels = kernels.tier === provenance.kernel_tier && threads === provenance.threads;
    if (sameKernels && canonicalJson(receipt.kernel_calls) !== canonicalJson(result.trace.kernelCalls))
      fail("kernel_calls differ from the replay, which has the same tier and threads");
    const impossible = callsImplausible(
      { calls: receipt.kernel_calls, tier: provenance.kernel_tier ?? "none", threads: provenance.threads ?? 1 },
      { calls: result.trace.kernelCalls, tier: kernels.tier, threads },
    );
    if (impossible !== undefined) fail(impossible);
    return { receipt, tier: kernels.tier, threads, ...splitFields(receipt, sameKernels) };
  } finally {
    await model.close();
  }
}

/** The tier and threads of a receipt, with which calls of kernels can be compared. What computed without kernels is replayed with them: they are faster. */
function asWritten({ provenance: { kernel_tier: tier, threads } }: Receipt): Pick<LoadOptions, "tier" | "threads"> {
  return {
    ...((tier === "plain" || tier === "relaxed" || tier === "wide" || tier === "vnni") && { tier }),
    ...(threads !== null && { threads: Math.min(threads, availableParallelism()) }),
  };
}

/** A receipt whose form is right. @throws BitnetError receipt; io */
async function readReceipt(path: string): Promise<Receipt> {
  try {
    return await readRecord<Receipt>(path, "receipt");
  } catch (error) {
    if (!(error instanceof BitnetError) || error.code !== "file") throw error;
    throw new BitnetError("receipt", error.message, { file: path }, { cause: error });
  }
}

type Traced = GenerationResult & { readonly trace: GenerationTrace };

async function replay(path: string, { prompt_ids, settings }: Receipt, model: Model, signal: LoadOptions["signal"]): Promise<Traced> {
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
    throw new BitnetError("receipt", `${path}: can't be replayed: ${error.message}`, { file: path }, { cause: error });
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
