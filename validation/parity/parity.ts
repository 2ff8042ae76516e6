import { dirname, join } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { type FileOptions, openTokenizer } from "../../engine/index.js";
import { type ProvenanceOptions, provenance } from "../records/provenance.js";
import { writeRecord, writeRows } from "../records/records.js";
import { tokenizerSha256 } from "../records/tokenizer-hash.js";
import { TIE } from "../statistics/kendall.js";
import { compare, greedyOf, type Outputs } from "./figures.js";
import { defaultGate, embeddedGate, judge, type MeasuredLane, type MeasuredPrompt, weightsRows } from "./gates.js";
import { readOracles, type StoredOracle } from "./oracle.js";
import { type Arithmetic, checkAlike, EMBEDDED_PAIR, greedyIds, type KernelOptions, openSide, outputsOf, type Side } from "./sides.js";
import { type ParityText, parityTexts } from "./texts.js";
import { LANES, type LaneName, type ParityFailure, type ParityReport, type Policy, type Verdict } from "./types.js";
import { compareWeights } from "./weights.js";

/** What to measure. */
export interface ParityOptions extends Omit<ProvenanceOptions, "model"> {
  /** Two forms of one model, the reference first; default: the embedded model's two, checked with the repository's own gates. */
  readonly models?: readonly [a: string, b: string] | undefined;
  /** Default: all that can be measured. */
  readonly lanes?: readonly LaneName[] | undefined;
  /** Default: those of the package. */
  readonly texts?: readonly ParityText[] | undefined;
  /** Fewer texts, shorter continuations. */
  readonly quick?: boolean | undefined;
  /** Default 50. */
  readonly topK?: number | undefined;
  /** Tokens of each greedy continuation; default 32, quick 16. */
  readonly maxTokens?: number | undefined;
  readonly files?: FileOptions | undefined;
  /** Of b, where they are others. */
  readonly filesB?: FileOptions | undefined;
  readonly kernels?: KernelOptions | undefined;
  /** Path of the report; failing rows go beside it. Without it nothing is written. */
  readonly out?: string | undefined;
  readonly onProgress?: ((progress: { readonly done: number; readonly total: number }) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Tokens of a window. */
const WINDOW = 256;
/** The rest of a text behind whole windows is left out if it is shorter: the likelihood of a few tokens says little. */
const LEAST_REST = 32;
/** The two likeliest tokens may be this near where a greedy text parts from another implementation's: both sum in orders of their own. */
const GREEDY_TIE = 0.02;

/** Where the failing rows of a report are written. */
export function failuresPath(report: string): string {
  return join(dirname(report), "parity_failures.jsonl");
}

/**
 * Measures how alike two forms of a model are, and the embedded one and independent implementations.
 * A failed gate is not an error here: `parityFailure` makes it one.
 * @throws BitnetError: a file is bad, or the two are not forms of one model; tokenizer: they split a text differently
 */
export async function runParity(options: ParityOptions): Promise<ParityReport> {
  const { signal, files = {}, filesB = files } = options;
  const lanes = new Set(options.lanes ?? LANES);
  const models = options.models ?? EMBEDDED_PAIR;
  const onlyWeights = lanes.size === 1 && lanes.has("weights");
  const weights = lanes.has("weights")
    ? await compareWeights({
        ...{ models, files, filesB, exact: options.models === undefined, signal },
        // Beside the other lanes it takes next to no time.
        ...(onlyWeights && { onProgress: (share: number) => options.onProgress?.({ done: share, total: 1 }) }),
      })
    : undefined;
  const outputs = onlyWeights ? undefined : await measureOutputs(options, lanes, models);
  const model = outputs?.model ?? {
    sha256: weights!.sides.b.sha256,
    tokenizerSha256: tokenizerSha256(
      (await openTokenizer(models[1], filesB.tokenizer === undefined ? {} : { tokenizer: filesB.tokenizer })).tokenizer,
    ),
    ...{ tier: null, threads: null },
  };
  const from = await provenance({ ...pick(options), model });
  const judged = (outputs?.measured ?? []).map((lane) => judge(lane, options.models ? defaultGate(lane.name) : embeddedGate(lane), from));
  const rows: ParityFailure[] = [...(weights ? weightsRows(weights, from) : []), ...judged.flatMap((one) => one.rows)];
  const reports = judged.map(({ report }) => report);
  const verdicts: readonly Verdict[] = [...(weights ? [weights.verdict] : []), ...reports.map(({ verdict }) => verdict)];
  const report: ParityReport = {
    kind: "parity-report",
    provenance: from,
    ...(weights && { weights }),
    lanes: reports,
    skipped: LANES.filter((name) => !(name === "weights" ? weights : reports.some((lane) => lane.name === name))).map((name) => ({
      name,
      reason: lanes.has(name) ? "no outputs of other implementations are stored for this model" : "not requested",
    })),
    verdict: verdicts.every((verdict) => verdict === "PASS") ? "PASS" : "FAIL",
  };
  if (options.out !== undefined) {
    await writeRows(failuresPath(options.out), "parity-failure", rows);
    await writeRecord(options.out, "parity-report", report);
  }
  return report;
}

/** Measures the lanes that compare outputs. @returns them, and the model that ran */
async function measureOutputs(
  options: ParityOptions,
  lanes: ReadonlySet<LaneName>,
  [pathA, pathB]: readonly [string, string],
): Promise<{ readonly measured: MeasuredLane[]; readonly model: NonNullable<ProvenanceOptions["model"]> }> {
  const { signal, kernels = {}, files = {}, filesB = files } = options;
  const stored = lanes.has("oracle") ? readOracles() : undefined;
  const opened: Side[] = [];
  const open = async (path: string, arithmetic: Arithmetic, said: FileOptions): Promise<Side> => {
    const side = await openSide(path, arithmetic, said, kernels, signal);
    opened.push(side);
    return side;
  };
  try {
    const quant = await open(pathB, "kernels", filesB);
    const known = stored?.models.includes(quant.record.sha256) ?? false;
    // If requested by name, the stored outputs are compared with any model of their vocabulary, such as a damaged copy.
    const oracle = stored && (known || options.lanes?.includes("oracle")) ? stored : undefined;
    const between = lanes.has("fp32-fp32") || lanes.has("quant-fp32");
    const a = between ? await open(pathA, "reference", files) : undefined;
    const b = lanes.has("fp32-fp32") || oracle ? await open(pathB, "reference", filesB) : undefined;
    if (a) checkAlike(a, quant);
    const paths = a ? await tokenPaths(a, quant, options) : { policy: policyOf(quant, options), prompts: [] };
    const answers = (one: StoredOracle): StoredOracle["answers"] => one.answers.filter((_, i) => !options.quick || i % 2 === 0);
    const total = paths.prompts.length + (oracle?.oracles.flatMap(answers).length ?? 0);
    let done = 0;
    const step = (): void => options.onProgress?.({ done: ++done, total });

    const measuredLanes: MeasuredLane[] = [];
    if (a)
      measuredLanes.push(
        ...(await betweenForms(
          a,
          lanes.has("fp32-fp32") ? b : undefined,
          lanes.has("quant-fp32") ? quant : undefined,
          paths,
          step,
          signal,
        )),
      );
    if (oracle) {
      checkStored(quant, oracle.oracles);
      for (const one of oracle.oracles) {
        measuredLanes.push(
          await againstOracle({ ...one, answers: answers(one) }, one.against === "kernels" ? quant : b!, paths.policy, step, signal),
        );
      }
    }
    const { tier, threads, record } = quant;
    const model = { sha256: record.sha256, tokenizerSha256: tokenizerSha256(quant.model.tokenizer), tier, threads };
    return { measured: measuredLanes, model };
  } finally {
    await Promise.all(opened.map(({ model }) => model.close()));
  }
}

function pick({ cliArgs, seed, deterministic, date }: ParityOptions): Omit<ProvenanceOptions, "model"> {
  return { cliArgs, seed, deterministic, date };
}

interface TokenPaths {
  readonly policy: Policy;
  readonly prompts: readonly { readonly id: string; readonly ids: readonly number[] }[];
}

function policyOf({ model: { tokenizer } }: Side, { topK = 50, quick = false, maxTokens = quick ? 16 : 32 }: ParityOptions): Policy {
  const bos = tokenizer.addsBos;
  return {
    bos,
    eos: true,
    special_tokens: true,
    window: WINDOW,
    stride: bos ? WINDOW - 1 : WINDOW,
    continuation: maxTokens,
    top_k: topK,
    tie: TIE,
  };
}

/** What both sides are fed: each text in windows, each with BOS first, the last one with the reference side's greedy continuation. */
async function tokenPaths(a: Side, b: Side, options: ParityOptions): Promise<TokenPaths> {
  const { signal, texts = parityTexts(options.quick ?? false, a.parameters) } = options;
  const policy = policyOf(b, options);
  const prompts: { id: string; ids: readonly number[] }[] = [];
  for (const { id, text, continued } of texts) {
    const ids = a.model.tokenizer.encode(text);
    if (ids.join() !== b.model.tokenizer.encode(text).join()) {
      throw new BitnetError(
        "tokenizer",
        `${a.record.path} and ${b.record.path} split the text ${id} into different tokens: their tokenizers differ (--tokenizer uses one for both)`,
      );
    }
    const bos = policy.bos ? ids.slice(0, 1) : [];
    const rest = ids.slice(bos.length);
    const size = Math.min(policy.window, a.model.contextLength, b.model.contextLength) - bos.length;
    for (let first = 0, part = 1; first < rest.length; first += size, part++) {
      if (part > 1 && rest.length - first < LEAST_REST) break;
      const window = [...bos, ...rest.slice(first, first + size)];
      const last = rest.length - (first + size) < LEAST_REST;
      const more =
        continued && last
          ? await greedyIds(a.model, window, Math.min(policy.continuation, b.model.contextLength - window.length), signal)
          : [];
      if (window.length + more.length >= 2) prompts.push({ id: part === 1 ? id : `${id}, window ${part}`, ids: [...window, ...more] });
    }
  }
  if (prompts.length === 0) throw new BitnetError("usage", "there is no text to compare: every prompt is empty (--prompts)");
  return { policy, prompts };
}

/** Both lanes between two forms: the reference side is computed once for them. */
async function betweenForms(
  a: Side,
  b: Side | undefined,
  quant: Side | undefined,
  { policy, prompts }: TokenPaths,
  step: () => void,
  signal: AbortSignal | undefined,
): Promise<MeasuredLane[]> {
  const lanes: (MeasuredLane & { prompts: MeasuredPrompt[]; side: Side })[] = [];
  if (b) lanes.push({ name: "fp32-fp32", sides: { a: a.record, b: b.record }, policy, prompts: [], side: b });
  if (quant) lanes.push({ name: "quant-fp32", sides: { a: a.record, b: quant.record }, policy, prompts: [], side: quant });
  for (const { id, ids } of prompts) {
    const [expected, ...others] = (await Promise.all(
      [a, ...lanes.map(({ side }) => side)].map(({ model }) => outputsOf(model, ids, signal)),
    )) as [Outputs, ...Outputs[]];
    for (const [i, lane] of lanes.entries()) lane.prompts.push({ id, ids, measured: compare(expected, others[i]!, policy.top_k) });
    step();
  }
  return lanes.map(({ side: _, ...lane }) => lane);
}

/** One implementation's stored outputs against ours: the requests, and the greedy texts after them. */
async function againstOracle(
  oracle: StoredOracle,
  side: Side,
  policy: Policy,
  step: () => void,
  signal: AbortSignal | undefined,
): Promise<MeasuredLane> {
  const prompts: MeasuredPrompt[] = [];
  for (const answer of oracle.answers) {
    prompts.push({ id: answer.id, ids: answer.ids, ...(await measureAnswer(answer, side, signal)) });
    step();
  }
  const continuation = Math.max(0, ...oracle.answers.map(({ greedy = [] }) => greedy.length));
  return { name: "oracle", sides: { a: oracle.record, b: side.record }, policy: { ...policy, continuation }, prompts };
}

/** One stored answer against ours. */
export async function measureAnswer(
  answer: StoredOracle["answers"][number],
  side: Side,
  signal?: AbortSignal,
): Promise<Pick<MeasuredPrompt, "measured" | "greedy">> {
  const { ids, greedy = [] } = answer;
  // The last of the greedy tokens chooses nothing that is stored.
  const outputs = await outputsOf(side.model, [...ids, ...greedy.slice(0, -1)], signal);
  return {
    measured: answer.compare(outputs),
    ...(greedy.length > 0 && { greedy: greedyOf(greedy, outputs.logits.slice(ids.length - 1), GREEDY_TIE) }),
  };
}

/** @throws BitnetError unless the model has the ids that the stored outputs speak of */
export function checkStored({ model, record }: Side, oracles: readonly StoredOracle[]): void {
  const most = oracles
    .flatMap(({ answers }) => answers.flatMap(({ ids, greedy = [] }) => [...ids, ...greedy]))
    .reduce((x, y) => Math.max(x, y), 0);
  const longest = Math.max(...oracles.flatMap(({ answers }) => answers.map(({ ids, greedy = [] }) => ids.length + greedy.length)));
  if (most < model.config.vocabSize && longest <= model.contextLength) return;
  throw new BitnetError(
    "usage",
    `${record.path}: outputs are stored only for the embedded model and copies of it: leave out the lane oracle (--lane)`,
  );
}
