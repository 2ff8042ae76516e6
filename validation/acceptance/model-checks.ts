import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { usefulThreads } from "../../engine/compute/cpus.js";
import type { Tier } from "../../engine/compute/kernels.js";
import { tiersHere } from "../../engine/compute/tier.js";
import { BitnetError } from "../../engine/errors.js";
import {
  describeModel,
  type FileOptions,
  inspectModel,
  type LoadOptions,
  loadModel,
  NUMERICS_VERSION,
  openTokenizer,
} from "../../engine/index.js";
import { greedyOf, greedyVerdict } from "../parity/figures.js";
import { tensorSentence } from "../parity/gates.js";
import { readOracles } from "../parity/oracle.js";
import { runParity } from "../parity/parity.js";
import { EMBEDDED_FOLDER, openSide, outputsOf } from "../parity/sides.js";
import { TEXTS } from "../parity/texts.js";
import type { LaneReport, OutputLane, ParityReport, WeightsReport } from "../parity/types.js";
import { makeReceipt, type Ran } from "../receipts/receipt.js";
import { verifyReceipt } from "../receipts/verify.js";
import { temporaryPath } from "../records/files.js";
import { provenance } from "../records/provenance.js";
import { writeRecord } from "../records/records.js";
import { tokenizerSha256 } from "../records/tokenizer-hash.js";
import type { Check, Context, Finding, Run } from "./check.js";
import { environmentFault } from "./environment.js";

/** What the embedded model must give: models/bitnet-stories-4m/references.json, an excerpt of validation/golden and the hash of its logits. */
export interface References {
  /** Texts and their ids, by llama.cpp and Hugging Face's tokenizers. */
  readonly tokenizer: readonly { readonly text: string; readonly ids: readonly number[] }[];
  /** SHA-256 of the logits of the determinism check, for a version of the numerics. */
  readonly logits: { readonly numerics_version: number; readonly sha256: string };
}

export function readReferences(): References {
  return JSON.parse(readFileSync(join(EMBEDDED_FOLDER, "references.json"), "utf8")) as References;
}

const pass = (figures?: Finding["figures"], reason?: string): Finding => ({
  status: "PASS",
  ...(reason !== undefined && { reason }),
  ...(figures && { figures }),
});
const fail = (reason: string, figures?: Finding["figures"]): Finding => ({ status: "FAIL", reason, ...(figures && { figures }) });

/** Parts (a) to (e) of acceptance: what a model's two forms are and compute. */
export const MODEL_CHECKS: readonly Check[] = [
  { id: "a.introspection", title: "both formats describe the same network", run: introspection },
  { id: "a.weights", title: "weights of both formats are sound", run: weights },
  { id: "b.round-trip", title: "text to ids and back, both formats", run: roundTrips },
  { id: "b.stored-ids", title: "ids match the stored ones", run: storedIds },
  { id: "c.weights", title: "both formats have the same weights", run: weightsLane },
  { id: "c.fp32-fp32", title: "parity of the formats in float32", run: (context) => lane(context, "fp32-fp32") },
  { id: "c.quant-fp32", title: "parity of kernels and float32", run: (context) => lane(context, "quant-fp32") },
  { id: "c.oracle", title: "parity with other implementations", run: (context) => lane(context, "oracle") },
  { id: "d.environment", title: "deterministic environment", run: environment },
  { id: "d.logits", title: "same bits for all runs, threads and tiers", run: determinism },
  { id: "e.greedy", title: "greedy texts match the stored ones", run: greedy },
  { id: "e.receipt", title: "a receipt of real kernels replays", run: receipt },
];

/** What makes the network; how a format names its architecture and lays out its weights is its own. */
const NETWORK = [
  ...(["layers", "hiddenSize", "heads", "kvHeads", "headDim", "attentionSize", "ffnSize", "vocabSize", "contextLength"] as const),
  ...(["ropeTheta", "ropeFactors", "ropeScaling", "rmsNormEps", "activation", "activations", "subNorms", "qkNorms", "tiedHead"] as const),
] as const;

/** GGUF has its numbers in f32, JSON in f64. */
function plain<T>(value: T): T | number {
  return typeof value === "number" ? Math.fround(value) : value;
}

async function introspection({ models: [a, b], files }: Context): Promise<Finding> {
  const [left, right] = [await describeModel(a, files), await describeModel(b, files)];
  const settings = NETWORK.filter((key) => JSON.stringify(plain(left.config[key])) !== JSON.stringify(plain(right.config[key])));
  const figures = {
    architecture: left.architecture,
    parameters: left.parameters,
    formats: `${left.format}, ${right.format}`,
    linears: `${left.quantisation.linears}, ${right.quantisation.linears}`,
  };
  const wrong = [...(left.parameters === right.parameters ? [] : ["parameters"]), ...settings];
  return wrong.length > 0 ? fail(`${a} and ${b} differ in ${wrong.join(", ")}`, figures) : pass(figures);
}

async function weights({ models, files, signal }: Context): Promise<Finding> {
  const wrong: string[] = [];
  let checks = 0;
  for (const path of models) {
    const inspection = await inspectModel(path, { ...files, ...(signal && { signal }) });
    checks += inspection.checks.length;
    wrong.push(...inspection.checks.filter(({ passed }) => !passed).map(({ rule, finding }) => `${path}: ${rule}: ${finding}`));
  }
  return wrong.length > 0 ? fail(wrong.join("; ")) : pass({ checks });
}

async function tokenizers({ models: [a, b], files }: Context): Promise<Awaited<ReturnType<typeof openTokenizer>>["tokenizer"][]> {
  const options = files.tokenizer === undefined ? {} : { tokenizer: files.tokenizer };
  return [(await openTokenizer(a, options)).tokenizer, (await openTokenizer(b, options)).tokenizer];
}

async function roundTrips(context: Context): Promise<Finding> {
  const [left, right] = await tokenizers(context);
  const hashes = [tokenizerSha256(left!), tokenizerSha256(right!)];
  if (hashes[0] !== hashes[1]) return fail("the two formats have different tokenizers", { a: hashes[0]!, b: hashes[1]! });
  const texts = [...TEXTS.map(({ text }) => text), ...readReferences().tokenizer.map(({ text }) => text)];
  const wrong = texts.filter((text) => left!.decode(left!.encode(text, { bos: false })) !== text);
  const figures = { texts: texts.length, tokenizer: hashes[0]!.slice(0, 16) };
  return wrong.length > 0
    ? fail(`${wrong.length} texts are not restored from their ids, first ${JSON.stringify(wrong[0])}`, figures)
    : pass(figures);
}

async function storedIds(context: Context): Promise<Finding> {
  if (!context.embedded) return { status: "SKIP", reason: "ids are stored only for the embedded model", ship: false };
  const stored = readReferences().tokenizer;
  for (const tokenizer of await tokenizers(context)) {
    for (const { text, ids } of stored) {
      const own = tokenizer.encode(text, { bos: false });
      if (own.join() !== ids.join()) return fail(`${JSON.stringify(text)} gives the ids ${own.join()}, but stored are ${ids.join()}`);
    }
  }
  return pass({ texts: stored.length });
}

/** All lanes are measured at the first call, and their report is written. */
function parityReport(context: Context): Promise<ParityReport> {
  context.parity ??= runParity({
    ...context.record,
    models: context.embedded ? undefined : context.models,
    quick: context.quick,
    files: context.files,
    kernels: context.kernels,
    out: join(context.out, "parity_report.json"),
    signal: context.signal,
  });
  return context.parity;
}

async function weightsLane(context: Context): Promise<Finding> {
  const { weights } = await parityReport(context);
  if (!weights) return { status: "SKIP", reason: "not measured" };
  const { compared, changed } = weights;
  const figures = weightsFigures(weights);
  const wrong = changed.filter(({ verdict }) => verdict === "FAIL");
  return wrong.length === 0
    ? pass(figures)
    : fail(`${tensorSentence(wrong[0]!)} (${wrong.length} of ${compared} tensors and scales fail)`, figures);
}

async function lane(context: Context, name: OutputLane): Promise<Finding> {
  const { lanes, skipped } = await parityReport(context);
  const own = lanes.filter((one) => one.name === name);
  if (own.length === 0) {
    const reason = skipped.find((one) => one.name === name)?.reason ?? "not measured";
    return { status: "SKIP", reason, ...(!context.embedded && name === "oracle" && { ship: false as const }) };
  }
  const figures = lanesFigures(own);
  const wrong = own.filter(({ verdict }) => verdict === "FAIL");
  const prompts = wrong.flatMap((one) => one.prompts.filter(({ verdict }) => verdict === "FAIL").map(({ id }) => id));
  if (wrong.length === 0) return pass(figures);
  const gates = [...new Set(wrong.flatMap(({ failed }) => failed))].join(", ");
  return fail(
    `gates ${gates}; prompts ${prompts.join(", ") || "in the mean"}: bitnet replay repeats one from parity_failures.jsonl`,
    figures,
  );
}

/** The figures of the checks of parity, by the checks' ids. */
export function parityFigures({ lanes, weights }: ParityReport): Record<string, NonNullable<Finding["figures"]>> {
  const names = [...new Set(lanes.map(({ name }) => name))];
  return {
    ...(weights && { "c.weights": weightsFigures(weights) }),
    ...Object.fromEntries(names.map((name) => [`c.${name}`, lanesFigures(lanes.filter((lane) => lane.name === name))])),
  };
}

function weightsFigures({ compared, equal, numbers }: WeightsReport): NonNullable<Finding["figures"]> {
  return { tensors: compared, equal, numbers };
}

/** Of the lanes of one name: the oracles are several. */
function lanesFigures(own: readonly LaneReport[]): NonNullable<Finding["figures"]> {
  return Object.assign({}, ...own.map((one) => laneFigures(one, own.length > 1 ? `${one.sides.a.kernels}.` : ""))) as NonNullable<
    Finding["figures"]
  >;
}

/** The worst prompt's figures, what the gate demands, and how far inside it is. */
function laneFigures({ margins, thresholds, promise_margins }: LaneReport, prefix: string): NonNullable<Finding["figures"]> {
  const { tau_median: tau, delta_nll: nll } = margins;
  return {
    [`${prefix}tau`]: tau === null ? null : tau + thresholds.tau_median,
    [`${prefix}tau_margin`]: tau,
    [`${prefix}delta_nll`]: nll === null ? null : thresholds.delta_nll - nll,
    [`${prefix}delta_nll_margin`]: nll,
    ...(margins.kl_max !== undefined && thresholds.kl_max !== undefined
      ? {
          [`${prefix}kl_max`]: margins.kl_max === null ? null : thresholds.kl_max - margins.kl_max,
          [`${prefix}kl_max_margin`]: margins.kl_max,
        }
      : {}),
    ...(prefix === "" && { promise_tau_margin: promise_margins.tau_median, promise_delta_nll_margin: promise_margins.delta_nll }),
  };
}

/**
 * What was asked for, and can run at once, is what the model runs with. The variables are demanded where a release can be made: results do not
 * depend on them, but a release has them on record.
 */
async function environment({ models: [, path], files, kernels, record, release, clone, environment: set }: Context): Promise<Finding> {
  const model = await loadModel(path, { ...files, ...kernels, v8Flags: true });
  try {
    const { threads } = await model.describe();
    const figures = { environment: set || null, deterministic: record.deterministic, seed: record.seed, threads };
    if (kernels.threads !== undefined && threads !== usefulThreads(kernels.threads))
      return fail(`${kernels.threads} threads were requested, but ${threads} run`, figures);
    const missing = clone ? environmentFault(set) : undefined;
    if (missing === undefined) return pass(figures);
    return release ? fail(missing, figures) : { status: "SKIP", reason: `${missing} (this blocks a release)`, figures, ship: false };
  } finally {
    await model.close();
  }
}

/** Positions whose logits are hashed: over the end of a block of keys and values. */
const HASHED = 96;

/** Threads and tiers that must give the same bits. */
const RUNS: readonly (readonly [tier: Tier, threads: number])[] = [
  ["plain", 1],
  ["relaxed", 2],
  ["wide", 3],
  ["vnni", 2],
  ["plain", 3],
  ["relaxed", 1],
  ["wide", 2],
  ["plain", 2],
  ["relaxed", 3],
  ["wide", 1],
  ["vnni", 3],
];
/** Every tier and every number of threads once. */
const QUICK_RUNS = 4;

async function determinism(context: Context): Promise<Finding> {
  const { models, files, kernels, signal, embedded } = context;
  const text = TEXTS.find(({ id }) => id === "story")!.text;
  const hashes: (Run & { readonly run: string })[] = [];
  const measure = async (run: string, path: string, options: FileOptions & LoadOptions, times = 1): Promise<void> => {
    const model = await loadModel(path, { ...files, ...options, v8Flags: true });
    try {
      const ids = model.tokenizer.encode(text).slice(0, Math.min(HASHED, model.contextLength));
      const { sha256, kernels: running, threads } = await model.describe();
      for (let i = 0; i < times; i++) {
        const hash = createHash("sha256");
        for (const row of (await outputsOf(model, ids, signal)).logits) hash.update(row);
        const from = { run: times > 1 ? `${run}, run ${i + 1}` : run, tier: options.tier ?? running.tier, threads };
        hashes.push({ ...from, logits: hash.digest("hex") });
      }
      context.ran = { sha256, tokenizerSha256: tokenizerSha256(model.tokenizer), tier: running.tier, threads };
    } finally {
      await model.close();
    }
  };
  for (const [tier, threads] of context.quick ? RUNS.slice(0, QUICK_RUNS) : RUNS) {
    if (!tiersHere().includes(tier)) continue;
    await measure(`${tier} kernels with ${threads} threads`, models[1], { tier, threads, crowded: true });
  }
  await measure("the chosen kernels", models[1], kernels, 2);
  const [first] = hashes;
  const other = hashes.find(({ logits }) => logits !== first!.logits);
  const figures = { runs: hashes.length, logits: first!.logits.slice(0, 16) };
  const runs = hashes.map(({ run: _, ...of }) => of);
  const finding = (): Finding => {
    if (other) return fail(`${other.run} gives other logits than ${first!.run}`, figures);
    const { logits } = readReferences();
    if (!embedded) return pass(figures);
    if (logits.numerics_version !== NUMERICS_VERSION)
      return fail(`the stored hash is for numerics version ${logits.numerics_version}, but this is version ${NUMERICS_VERSION}`, figures);
    return logits.sha256 === first!.logits
      ? pass({ ...figures, stored: true })
      : fail("all runs agree, but not with the stored hash", figures);
  };
  return { ...finding(), runs };
}

/** Where two logits are this near, another implementation that sums in another order may choose the other one. */
const GREEDY_TIE = 0.02;

async function greedy(context: Context): Promise<Finding> {
  if (!context.embedded) return { status: "SKIP", reason: "texts are stored only for the embedded model", ship: false };
  const { kernels, signal, models } = context;
  const oracle = readOracles().oracles.find(({ record }) => record.kernels === "hf-packed");
  if (!oracle) throw new BitnetError("internal", "the package has no stored greedy texts");
  const stored = oracle.answers.filter(({ greedy: texts }, i) => texts && (!context.quick || i % 2 === 0));
  let [same, ties] = [0, 0];
  const wrong: string[] = [];
  for (const path of models) {
    const side = await openSide(path, "kernels", {}, kernels, signal);
    try {
      for (const { id, ids, greedy: expected } of stored) {
        const options = { temperature: 0, repetitionPenalty: 1, maxTokens: expected!.length, ignoreEos: true, ...(signal && { signal }) };
        const written = (await side.model.generate(ids, options).result()).ids;
        if (written.join() === expected!.join()) {
          same++;
          continue;
        }
        const { logits } = await outputsOf(side.model, [...ids, ...expected!.slice(0, -1)], signal);
        const found = greedyOf(expected!, logits.slice(ids.length - 1), GREEDY_TIE);
        const until = found.parts_at ?? 0;
        const alike = written.slice(0, until).join() === expected!.slice(0, until).join();
        if (alike && greedyVerdict(found) === "tie") ties++;
        else wrong.push(`${id} from token ${until + 1} on (${path})`);
      }
    } finally {
      await side.model.close();
    }
  }
  const figures = { texts: stored.length * models.length, same, ties };
  return wrong.length > 0 ? fail(`texts differ from the stored ones: ${wrong.join("; ")}`, figures) : pass(figures);
}

/** Tokens of the answer that is replayed. */
const TRACED = 16;

/** An answer with its receipt, replayed with another number of threads: the kernels' own counters say that they ran. */
async function receipt({ models: [, path], files, kernels, signal, record, out }: Context): Promise<Finding> {
  const model = await loadModel(path, { ...files, ...kernels, v8Flags: true });
  const file = temporaryPath(join(out, "receipt.json"));
  try {
    const { threads } = await model.describe();
    const prompt = model.tokenizer.encode(TEXTS[0]!.text);
    const result = await model
      .generate(prompt, { seed: record.seed ?? 0, maxTokens: TRACED, trace: true, ...(signal && { signal }) })
      .result();
    if (!result.trace) throw new BitnetError("internal", "an answer has no trace, although one was requested");
    const { kernelCalls } = result.trace;
    const calls = Object.values(kernelCalls).reduce((sum, count) => sum + count, 0);
    const products = Object.entries(kernelCalls).filter(([name]) => name.startsWith("ternary"));
    const figures = {
      steps: result.trace.steps.length,
      kernel_calls: calls,
      ternary_calls: products.reduce((sum, [, count]) => sum + count, 0),
    };
    if (figures.steps === 0 || figures.ternary_calls === 0)
      return fail("the answer was not computed by the kernels: their counters did not change", figures);
    const written = { path, load: files, provenance: (ran: Ran) => provenance({ ...record, ...ran }) };
    await writeRecord(file, "receipt", await makeReceipt(model, { ...result, trace: result.trace }, written));
    await model.close();
    await verifyReceipt(file, { load: { threads: threads === 1 ? 2 : 1, crowded: true, ...(signal && { signal }) } });
    return pass(figures);
  } finally {
    await model.close();
    await rm(file, { force: true });
  }
}
