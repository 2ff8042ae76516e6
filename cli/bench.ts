import { availableParallelism, cpus } from "node:os";
import { BitnetError } from "../engine/errors.js";
import type { Model, ModelDescription } from "../engine/index.js";
import { RandomIds, timeOnce } from "../validation/performance/measure.js";
import { summarize } from "../validation/statistics/summary.js";
import { type BenchReport, type BenchResult, type BenchRun, type BenchTest, benchMarkdown, benchTable } from "./bench-table.js";
import { INTERRUPTED } from "./failure.js";
import { type ModelFlags, openModel } from "./model.js";
import { Status, style, write, writeJson } from "./terminal.js";
import { readEnvironment } from "./values.js";
import { version } from "./version.js";

export interface BenchFlags extends Omit<ModelFlags, "threads"> {
  readonly pp: readonly number[];
  readonly tg: readonly number[];
  readonly depth: readonly number[];
  readonly threads?: readonly number[];
  readonly repetitions: number;
  readonly json?: boolean;
  readonly markdown?: boolean;
}

/** `bitnet bench`: how fast prompts are read and tokens written. */
export async function bench(flags: BenchFlags): Promise<void> {
  if (flags.json && flags.markdown) throw new BitnetError("usage", "give one of --json and --markdown, not both");
  const tests = planTests(flags);
  if (tests.length === 0) throw new BitnetError("usage", "nothing to measure: --pp and --tg are both 0");
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort());
  try {
    const report = await measureAll(flags, tests, interrupt.signal);
    for (const { why } of report.leftOut) await write(`${style("dim", why, process.stderr)}\n`, process.stderr);
    if (flags.json) await writeJson(report);
    else await write(flags.markdown ? benchMarkdown(report) : benchTable(report));
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    process.exitCode = INTERRUPTED;
  }
}

/** The tests that the flags ask for: every prefill, then every decode at every depth. 0 tokens: no test. */
export function planTests({ pp, tg, depth }: Pick<BenchFlags, "pp" | "tg" | "depth">): BenchTest[] {
  const prefill = pp.map((tokens) => ({ name: `pp${tokens}`, depth: 0, tokens, prefill: true }));
  const decode = tg.flatMap((tokens) =>
    depth.map((at) => ({ name: at === 0 ? `tg${tokens}` : `tg${tokens}@d${at}`, depth: at, tokens, prefill: false })),
  );
  return [...prefill, ...decode].filter(({ tokens }) => tokens > 0);
}

/** Tokens of the prompt: decode needs one to begin with, even at depth 0. */
function promptLength({ prefill, tokens, depth }: BenchTest): number {
  return prefill ? tokens : Math.max(depth, 1);
}

/** Tokens to ask for: rates of decode count those after the first. */
function answerLength({ prefill, tokens }: BenchTest): number {
  return prefill ? 1 : tokens + 1;
}

async function measureAll(flags: BenchFlags, tests: readonly BenchTest[], signal: AbortSignal): Promise<BenchReport> {
  const { pp: _pp, tg: _tg, depth: _depth, threads, repetitions, json: _json, markdown: _markdown, model: path, ...engine } = flags;
  const environment = readEnvironment(process.env);
  const random = new RandomIds(environment.seed);
  const runs: BenchRun[] = [];
  let first: { readonly description: ModelDescription; readonly contextLength: number } | undefined;
  for (const count of threads ?? [environment.threads]) {
    const model = await openModel(
      { ...engine, ...(path !== undefined && { model: path }), ...(count && { threads: count }) },
      environment,
      {
        signal,
      },
    );
    try {
      const { contextLength } = model;
      const description = await model.describe();
      first ??= { description, contextLength };
      const results: BenchResult[] = [];
      for (const test of tests) {
        if (!fits(test, contextLength)) continue;
        results.push({ ...test, ...(await measure(model, test, repetitions, random, signal)) });
      }
      const { kernels, threads: used } = description;
      runs.push({ threads: used, ...kernels, loadMs: Number(model.loadMs.toFixed(1)), tests: results });
    } finally {
      await model.close();
    }
  }
  const { description, contextLength } = first!;
  const { name, architecture, parameters, fileSize, sha256, quantisation } = description;
  return {
    version: version(),
    date: new Date().toISOString(),
    node: process.version,
    system: { platform: process.platform, arch: process.arch, cpu: cpus()[0]?.model.trim() ?? "", cores: availableParallelism() },
    model: { path: description.path, name, architecture, parameters, fileSize, sha256, quantisation },
    settings: engine,
    contextLength,
    repetitions,
    runs,
    leftOut: tests.filter((test) => !fits(test, contextLength)).map((test) => ({ test: test.name, why: tooShort(test, contextLength) })),
  };
}

/** Positions the test takes: the answer's last token is chosen, and needs room in the context. */
function positions(test: BenchTest): number {
  return promptLength(test) + answerLength(test);
}

function fits(test: BenchTest, contextLength: number): boolean {
  return positions(test) <= contextLength;
}

function tooShort(test: BenchTest, contextLength: number): string {
  return `${test.name} was skipped: it needs ${positions(test)} tokens, but the context has ${contextLength} (--ctx)`;
}

/**
 * Tokens per second, `repetitions` times, after one run that is not counted: in that the engine compiles what it finds to be hot.
 * Prompts are new ones each time, so that nothing of a prefill is in the cache already. A decode keeps its prompt: what is timed begins
 * behind it, and so it is computed only once.
 */
async function measure(
  model: Model,
  test: BenchTest,
  repetitions: number,
  random: RandomIds,
  signal: AbortSignal,
): Promise<Omit<BenchResult, keyof BenchTest>> {
  const status = new Status(`measuring ${test.name}`);
  const samples: number[] = [];
  let prompt: number[] | undefined;
  let [sparse, skipped] = [0, 0];
  try {
    for (let i = -1; i < repetitions; i++) {
      if (test.prefill || !prompt) prompt = random.take(promptLength(test), model.config.vocabSize);
      const timings = await timeOnce(model, prompt, answerLength(test), signal);
      const rate = test.prefill ? timings.prefillTokensPerSecond : timings.decodeTokensPerSecond;
      if (i >= 0) samples.push(Number(rate.toFixed(3)));
      if (test.prefill) [sparse, skipped] = [sparse + timings.sparseProducts, skipped + timings.skippedProducts];
      status.update((i + 2) / (repetitions + 1));
    }
  } finally {
    status.end();
  }
  return { tokensPerSecond: summarize(samples), ...(sparse > 0 && { skipped: Number((skipped / sparse).toFixed(4)) }) };
}
