import { createHash } from "node:crypto";
import { join } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { type Model, NUMERICS_VERSION } from "../../engine/index.js";
import { DEFAULT_KV } from "../../engine/numerics.js";
import { type Provenance, type ProvenanceOptions, provenance } from "../records/provenance.js";
import { writeRecord } from "../records/records.js";
import { tokenizerSha256 } from "../records/tokenizer-hash.js";
import { type ChoiceFigures, type Chosen, choiceFigures, choose, type TextFigures, textFigures } from "./figures.js";
import { encodePair, type Item } from "./items.js";
import { Results } from "./results.js";
import { type Window, windowsOf } from "./windows.js";

/** What a folder of results has. */
export const RESULTS_FILE = "results.jsonl";
export const RECORD_FILE = "eval_record.json";

/** What was evaluated, and how. Fields as in `schemas/eval-record.v1.schema.json`. */
export interface EvalRecord {
  readonly kind: "eval-record";
  readonly provenance: Provenance;
  readonly evaluation: "text" | "choices";
  /** path: as given; null: the embedded model, or its own items. */
  readonly model: { readonly path: string | null; readonly kv: string };
  readonly input: { readonly path: string | null; readonly sha256: string };
  readonly policy: TextPolicy | ChoicePolicy;
  readonly figures: TextFigures | ChoiceFigures;
}

export interface TextPolicy {
  /** Most tokens that are computed at once, and how many later the next window begins. */
  readonly window: number;
  readonly stride: number;
  /** Tokens of the text that were taken; null: all. */
  readonly max_tokens: number | null;
  /** Each window is led by BOS, which takes one of its places. */
  readonly bos: boolean;
}

export interface ChoicePolicy {
  /** Between a query and a choice. */
  readonly delimiter: string;
  readonly bos: boolean;
  /** Sequences whose beginning was cut off because they were longer than the context. */
  readonly truncated: number;
}

export interface EvaluationOptions extends Omit<ProvenanceOptions, "model" | "seed"> {
  readonly model: Model;
  /** As given; undefined: the embedded model. */
  readonly modelPath: string | undefined;
  /** Of the KV cache (undefined: its default), and of what the file does not state: they change results. */
  readonly kv: string | undefined;
  readonly files: Readonly<Record<string, unknown>>;
  readonly input: { readonly path: string | undefined; readonly bytes: Uint8Array };
  /** Folder of results; undefined: nothing is written. */
  readonly out: string | undefined;
  /** Each result has the ids and the log-likelihood of each token. */
  readonly receipts: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** A window's result. */
interface WindowLine extends Window {
  /** −ln p of tokens first … to − 1, nats. */
  readonly nll: readonly number[];
  readonly ids?: readonly number[];
}

/** Perplexity of a text. @throws BitnetError usage, io */
export async function evaluateText(
  options: EvaluationOptions & {
    readonly window?: number | undefined;
    readonly stride?: number | undefined;
    readonly maxTokens?: number | undefined;
  },
): Promise<EvalRecord> {
  const { model, input, signal, receipts } = options;
  const { tokenizer } = model;
  const lead = tokenizer.addsBos ? [tokenizer.bosId!] : [];
  const { window, stride } = windowing(options, model.contextLength, lead.length);
  const all = tokenizer.encodeBytes(input.bytes, { bos: false });
  const ids = options.maxTokens === undefined ? all : all.slice(0, options.maxTokens);
  const windows = windowsOf(ids.length, window - lead.length, stride, lead.length > 0);
  if (windows.length === 0) throw new BitnetError("usage", `${input.path ?? "the text"}: there is no token to score`);
  const policy: TextPolicy = { window, stride, max_tokens: options.maxTokens ?? null, bos: lead.length > 0 };
  const lines = await resumed<WindowLine>(options, "text", policy, windows.length, async (i) => {
    const { from, to, first } = windows[i]!;
    const fed = [...lead, ...ids.slice(from, to)];
    const { nll } = await model.score(fed, { ...(signal && { signal }) });
    // nll[t] is of fed[t + 1].
    const own = nll.slice(first - from + lead.length - 1);
    return { from, to, first, nll: own, ...(receipts && { ids: fed }) };
  });
  const scored = ids.slice(windows[0]!.first);
  const before = windows[0]!.first === 0 ? lead.at(-1) : ids[0];
  const bytes = tokenizer.decodeBytes(scored, { special: true, ...(before !== undefined && { after: before }) }).length;
  return finish(
    options,
    "text",
    policy,
    textFigures(
      lines.flatMap(({ nll }) => nll),
      bytes,
    ),
  );
}

/** As llama.cpp's perplexity tool: half of each window is context. */
const WINDOW = 512;

function windowing(
  asked: { readonly window?: number | undefined; readonly stride?: number | undefined },
  contextLength: number,
  lead: number,
): { readonly window: number; readonly stride: number } {
  const window = asked.window ?? Math.min(WINDOW, contextLength);
  if (window > contextLength)
    throw new BitnetError("usage", `--window is ${window}, but the context only ${contextLength}: give a smaller window, or raise --ctx`);
  // A window without BOS has no context for its first token.
  const most = window - 1;
  const stride = asked.stride ?? Math.max(1, window >> 1);
  if (stride > most) throw new BitnetError("usage", `--stride must be at most ${most}, so that each token has context, not ${stride}`);
  if (window - lead < 1) throw new BitnetError("usage", `--window must be at least 2, not ${window}`);
  return { window, stride };
}

/** An item's result. */
interface ItemLine extends Chosen {
  readonly id: string;
  /** Σ ln p of each choice's tokens. */
  readonly loglikelihoods: readonly number[];
  readonly truncated: number;
  readonly tokens?: readonly { readonly ids: readonly number[]; readonly first: number; readonly nll: readonly number[] }[];
}

const DELIMITER = " ";

/** Multiple choice. @throws BitnetError usage: an item that can't be scored, by its id; io */
export async function evaluateChoices(options: EvaluationOptions & { readonly items: readonly Item[] }): Promise<EvalRecord> {
  const { model, items, receipts, signal } = options;
  const context = model.contextLength;
  const lines = await resumed<ItemLine>(
    options,
    "choices",
    { delimiter: DELIMITER, bos: model.tokenizer.addsBos },
    items.length,
    async (i) => {
      const { id, query, choices, gold } = items[i]!;
      const refuse = (what: string): never => {
        throw new BitnetError("usage", `item ${JSON.stringify(id)}: ${what}`);
      };
      let truncated = 0;
      const scored = await Promise.all(
        choices.map(async (choice) => {
          const pair = encodePair(model.tokenizer, query, choice);
          if (pair.first === 0) refuse("the query is empty, and the model has no BOS token to begin with");
          if (pair.ids.length <= pair.first) refuse(`the choice ${JSON.stringify(choice)} adds no token to the query`);
          const cut = Math.max(0, pair.ids.length - context);
          if (cut >= pair.first) refuse(`the choice ${JSON.stringify(choice)} alone is longer than the context of ${context} tokens`);
          if (cut > 0) truncated++;
          const ids = pair.ids.slice(cut);
          const first = pair.first - cut;
          const { nll } = await model.score(ids, { ...(signal && { signal }) });
          return { ids, first, nll: nll.slice(first - 1) };
        }),
      );
      const loglikelihoods = scored.map(({ nll }) => -nll.reduce((sum, value) => sum + value, 0));
      return { id, loglikelihoods, ...choose(loglikelihoods, choices, gold), truncated, ...(receipts && { tokens: scored }) };
    },
  );
  const truncated = lines.reduce((sum, line) => sum + line.truncated, 0);
  return finish(options, "choices", { delimiter: DELIMITER, bos: model.tokenizer.addsBos, truncated }, choiceFigures(lines));
}

/** Results 0 … count − 1, those that an earlier run has left read from its file. */
async function resumed<Line extends object>(
  options: EvaluationOptions,
  evaluation: EvalRecord["evaluation"],
  policy: object,
  count: number,
  work: (index: number) => Promise<Line>,
): Promise<Line[]> {
  const { model, out, input, kv = DEFAULT_KV, files, receipts, signal, onProgress } = options;
  const { sha256 } = await model.describe();
  const head = {
    ...{ evaluation, model_sha256: sha256, tokenizer_sha256: tokenizerSha256(model.tokenizer), numerics_version: NUMERICS_VERSION },
    ...{ input_sha256: sha256Of(input.bytes), context_length: model.contextLength, kv, files, policy, receipts },
  };
  const results = out === undefined ? undefined : Results.open<Line>(join(out, RESULTS_FILE), head);
  try {
    const lines = [...(results?.done ?? [])].slice(0, count);
    onProgress?.(lines.length, count);
    while (lines.length < count) {
      signal?.throwIfAborted();
      const line = await work(lines.length);
      results?.append(line);
      lines.push(line);
      onProgress?.(lines.length, count);
    }
    return lines;
  } finally {
    results?.close();
  }
}

async function finish(
  options: EvaluationOptions,
  evaluation: EvalRecord["evaluation"],
  policy: EvalRecord["policy"],
  figures: EvalRecord["figures"],
): Promise<EvalRecord> {
  const { model, modelPath, kv = DEFAULT_KV, input, out } = options;
  const { sha256, kernels, threads } = await model.describe();
  const record: EvalRecord = {
    kind: "eval-record",
    provenance: await provenance({
      ...options,
      seed: null,
      model: { sha256, tokenizerSha256: tokenizerSha256(model.tokenizer), tier: kernels.tier, threads },
    }),
    evaluation,
    model: { path: modelPath ?? null, kv },
    input: { path: input.path ?? null, sha256: sha256Of(input.bytes) },
    policy,
    figures,
  };
  if (out !== undefined) await writeRecord(join(out, RECORD_FILE), "eval-record", record);
  return record;
}

const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
