import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { BitnetError, type ErrorCode, type LoadOptions, type ModelDescription, openTokenizer } from "../../engine/index.js";
import { DEFAULT_KV } from "../../engine/numerics.js";
import { type ProvenanceOptions, provenance } from "../records/provenance.js";
import { checkRecord } from "../records/records.js";
import { tokenizerSha256 } from "../records/tokenizer-hash.js";
import { distribution } from "../statistics/summary.js";
import { type Calm, watchMachine } from "./calm.js";
import { METRIC_NAMES, METRICS, type Metric, modelName, type PerfRecord, pairSha256, shownPath } from "./perf.js";

/** How tokens were chosen and what was computed. */
const POLICY: PerfRecord["policy"] = {
  prompts: "random ids of the seed, other ones each time",
  bos: false,
  temperature: 0,
  repetition_penalty: 1,
  ignore_eos: true,
  speculate: false,
  fresh_process: true,
};

/** What is measured. */
export interface Side {
  /** Default: the embedded model. */
  readonly model?: string | undefined;
  readonly load: Pick<
    LoadOptions,
    "threads" | "contextLength" | "tier" | "head" | "kv" | "tokenizer" | "activation" | "activations" | "i2sLayout"
  >;
  /** The measuring program of another build of this package. Default: this one's. */
  readonly program?: string;
}

/** How often, and who hears of it. */
export interface RoundOptions {
  readonly seed: number;
  /** At least 2. */
  readonly iterations: number;
  readonly signal?: AbortSignal | undefined;
  /** Hears how many samples are there, of all sides. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface PerfOptions extends Omit<ProvenanceOptions, "model" | "seed">, RoundOptions {}

/** What the measuring process is told. */
export interface PerfJob {
  readonly path: string | undefined;
  readonly options: Side["load"];
  readonly seed: number;
  /** Says what the model is, too. */
  readonly describe: boolean;
}

/** What it answers. */
export interface PerfAnswer {
  readonly sample?: Readonly<Record<Metric, number>>;
  readonly description?: ModelDescription;
  readonly settings?: Pick<PerfRecord["settings"], "context_length" | "prompt_tokens" | "decode_tokens">;
  readonly error?: { readonly code: string; readonly message: string };
}

/** What the rounds say of a side. */
export interface Measurement extends Required<Pick<PerfAnswer, "description" | "settings">> {
  readonly metrics: PerfRecord["metrics"];
}

/** Measures one model. @throws BitnetError */
export async function runPerf(options: PerfOptions & Omit<Side, "program">): Promise<PerfRecord> {
  const { model, load } = options;
  const { measured, calm } = await runRounds(options, [{ model, load }]);
  return recordOf(options, { model, load }, measured[0]!, calm);
}

/** Measures two models in alternating rounds. Their records say that they belong together. @throws BitnetError */
export async function runPair(options: PerfOptions, sides: readonly [Side, Side]): Promise<readonly [PerfRecord, PerfRecord]> {
  const { measured, calm } = await runRounds(options, sides);
  const [a, b] = [await recordOf(options, sides[0], measured[0]!, calm), await recordOf(options, sides[1], measured[1]!, calm)];
  const sha256 = pairSha256(a, b);
  const paired = [
    { ...a, pair: { other_sha256: b.provenance.model_sha256!, first: true, sha256 } },
    { ...b, pair: { other_sha256: a.provenance.model_sha256!, first: false, sha256 } },
  ] as const;
  for (const record of paired) checkRecord("perf-record", record, "the record of this measurement");
  return paired;
}

/**
 * Measures the sides in turn, each sample in a process of its own, which loads the model, runs once to warm up and once for the figures. Two sides
 * take turns as A B, B A, A B, …: what grows slower or faster with time does so for both. Sides of a round have the same prompts. @throws BitnetError
 */
export async function runRounds(
  { seed, iterations, signal, onProgress }: RoundOptions,
  sides: readonly Side[],
): Promise<{ readonly measured: readonly Measurement[]; readonly calm: Calm }> {
  const ended = watchMachine();
  const answers: PerfAnswer[][] = sides.map(() => []);
  for (let round = 0; round < iterations; round++) {
    const order = sides.map((_, i) => (round % 2 === 0 ? i : sides.length - 1 - i));
    for (const [turn, i] of order.entries()) {
      const { model, load, program = OWN_PROGRAM } = sides[i]!;
      answers[i]!.push(await measureOnce(program, { path: model, options: load, seed: seed + round, describe: round === 0 }, signal));
      onProgress?.(round * sides.length + turn + 1, iterations * sides.length);
    }
  }
  const calm = ended();
  const measured = answers.map((of, i): Measurement => {
    const { description, settings } = of[0] as Required<PerfAnswer>;
    // Another build may measure other things.
    const missing = METRIC_NAMES.find((metric) => of.some(({ sample }) => !(Number(sample?.[metric]) > 0)));
    if (missing !== undefined)
      throw new BitnetError("usage", `the build at ${sides[i]!.program} does not measure ${missing}: it can't be compared`);
    const samples = (metric: Metric): number[] => of.map(({ sample }) => sample![metric]);
    const metrics = Object.fromEntries(METRIC_NAMES.map((metric) => [metric, distribution(METRICS[metric].unit, samples(metric))]));
    return { description, settings, metrics: metrics as unknown as PerfRecord["metrics"] };
  });
  return { measured, calm };
}

const OWN_PROGRAM = fileURLToPath(new URL("./program.js", import.meta.url));

/** The record of a side, which this build has measured. */
async function recordOf(options: PerfOptions, { model: path, load }: Side, measured: Measurement, calm: Calm): Promise<PerfRecord> {
  const { description, settings, metrics } = measured;
  const { tokenizer } = await openTokenizer(path, load.tokenizer === undefined ? {} : { tokenizer: load.tokenizer });
  const { sha256, kernels, threads, format, architecture, parameters, fileSize, quantisation } = description;
  const record: PerfRecord = {
    kind: "perf-record",
    provenance: await provenance({
      ...options,
      model: { sha256, tokenizerSha256: tokenizerSha256(tokenizer), tier: kernels.tier, threads },
    }),
    ...calm,
    model: {
      ...{ path: shownPath(path ?? description.path), name: modelName(path ?? description.path) },
      ...{ format, architecture, parameters, bytes: fileSize, quantisation },
    },
    settings: {
      context_length: settings.context_length,
      kv: load.kv ?? DEFAULT_KV,
      head: load.head ?? "auto",
      prompt_tokens: settings.prompt_tokens,
      decode_tokens: settings.decode_tokens,
      warmup: 1,
      iterations: options.iterations,
    },
    policy: POLICY,
    metrics,
  };
  checkRecord("perf-record", record, "the record of this measurement");
  return record;
}

async function measureOnce(program: string, job: PerfJob, signal: AbortSignal | undefined): Promise<PerfAnswer> {
  signal?.throwIfAborted();
  const child = fork(program, [], { execArgv: [] });
  const abort = () => child.kill("SIGKILL");
  signal?.addEventListener("abort", abort);
  try {
    const ended = once(child, "exit");
    const failed = ended.then(([code, by]): PerfAnswer => {
      signal?.throwIfAborted();
      const how = String(by ?? code);
      return { error: { code: "internal", message: `the measuring process ended (${how}) before it had a result` } };
    });
    const answered = once(child, "message").then(([answer]) => answer as PerfAnswer);
    child.send(job, () => {}); // if it can't be sent, the process has ended
    const answer = await Promise.race([answered, failed]);
    if (answer.error) throw new BitnetError(answer.error.code as ErrorCode, answer.error.message);
    await ended; // the next one shall have the machine to itself
    return answer;
  } finally {
    signal?.removeEventListener("abort", abort);
    child.kill("SIGKILL");
  }
}
