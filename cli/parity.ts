import { BitnetError } from "../engine/errors.js";
import { parityFailure, tensorSentence } from "../validation/parity/gates.js";
import { failuresPath, runParity } from "../validation/parity/parity.js";
import { textsOfLines } from "../validation/parity/texts.js";
import type {
  Figures,
  Kl,
  LaneName,
  LaneReport,
  Margins,
  ParityReport,
  SideRecord,
  Thresholds,
  WeightsReport,
} from "../validation/parity/types.js";
import { interruptible, kernelOptions, recordOptions } from "./command.js";
import { printable } from "./failure.js";
import { PARITY_OUT } from "./flags.js";
import { type FileFlags, fileOptions, type ModelFlags } from "./model.js";
import { readFlagFile, requireOutput, style, write, writeJson } from "./terminal.js";

export interface ParityFlags extends Omit<FileFlags, "model">, Pick<ModelFlags, "threads" | "tier"> {
  readonly lane?: readonly LaneName[];
  readonly prompts?: string;
  readonly quick?: boolean;
  readonly topK: number;
  readonly maxTokens?: number;
  readonly out: string;
  readonly json?: boolean;
}

/** `bitnet parity`: compares two forms of a model. */
export async function parity(a: string | undefined, b: string | undefined, flags: ParityFlags): Promise<void> {
  if (a !== undefined && b === undefined) {
    throw new BitnetError(
      "usage",
      "give two forms of a model, the reference first: bitnet parity A B; without arguments, the two forms of the embedded model are compared",
    );
  }
  if (flags.out !== PARITY_OUT) await requireOutput("--out", flags.out);
  const report = await interruptible("comparing", async (status, signal) =>
    runParity({
      ...recordOptions(),
      models: a !== undefined && b !== undefined ? [a, b] : undefined,
      lanes: flags.lane,
      texts:
        flags.prompts === undefined ? undefined : textsOfLines(new TextDecoder().decode(await readFlagFile(flags.prompts, "--prompts"))),
      quick: flags.quick,
      topK: flags.topK,
      maxTokens: flags.maxTokens,
      files: fileOptions(flags),
      kernels: kernelOptions(flags),
      out: flags.out,
      onProgress: ({ done, total }) => status.update(done / total),
      signal,
    }),
  );
  if (!report) return;
  if (flags.json) await writeJson(report);
  else await write(`${reportTable(report, (text) => style("bold", text, process.stdout))}\nreport: ${printable(flags.out)}\n`);
  const failure = parityFailure(report, failuresPath(flags.out));
  if (failure) throw failure;
}

const TITLES: Readonly<Record<LaneName, string>> = {
  ...{ weights: "Weights", "fp32-fp32": "FP32↔FP32", "quant-fp32": "Quant↔FP32", oracle: "Oracle" },
};

/** Every lane with its figures and their margins, for a person. */
export function reportTable({ weights, lanes, skipped }: ParityReport, heading: (text: string) => string = (text) => text): string {
  const lines = [
    ...(weights ? [heading(`${TITLES.weights}  ${weights.verdict}`), ...weightsLines(weights), ""] : []),
    ...lanes.flatMap((lane) => [heading(`${TITLES[lane.name]}  ${lane.verdict}`), ...laneLines(lane), ""]),
  ];
  return [...lines, ...skipped.map(({ name, reason }) => `${TITLES[name]}  SKIP  ${reason}\n`)].join("\n").trimEnd();
}

/** Lines of tensors that are printed; the report has all. */
const MAX_TENSORS = 12;

function weightsLines({ sides, exact, compared, equal, numbers, changed }: WeightsReport): string[] {
  // What is wrong first.
  const printed = [...changed.filter(({ verdict }) => verdict === "FAIL"), ...changed.filter(({ verdict }) => verdict === "PASS")];
  return [
    `  a: ${sideName(sides.a)}`,
    `  b: ${sideName(sides.b)}`,
    `  ${numbers} numbers; ${equal} of ${compared} tensors and scales are equal${exact ? "; all must be" : ""}`,
    ...printed.slice(0, MAX_TENSORS).map((tensor) => `  ${tensor.verdict}  ${printable(tensorSentence(tensor))}`),
    ...(printed.length > MAX_TENSORS ? [`  and ${printed.length - MAX_TENSORS} more in the report`] : []),
  ];
}

function sideName({ path, format, kernels }: SideRecord): string {
  const how = kernels === "reference" ? ", float32" : kernels === "none" ? "" : `, ${kernels}`;
  return printable(path === null ? `${format}, stored` : `${path} (${format}${how})`);
}

function laneLines({ sides, prompts, totals, thresholds, promise, margins, promise_margins }: LaneReport): string[] {
  const { figures, tokens, delta_nll_mean } = totals;
  const stored = prompts.flatMap(({ greedy }) => greedy ?? []);
  const failed = prompts.filter(({ verdict }) => verdict === "FAIL");
  return [
    `  a: ${sideName(sides.a)}`,
    `  b: ${sideName(sides.b)}`,
    `  ${prompts.length} prompts, ${tokens} tokens, ${figures.informative} of ${figures.informative + figures.uninformative} positions informative`,
    row("τ-b median", fixed(figures.tau_median), `p5 ${fixed(figures.tau_p5)}, min ${fixed(figures.tau_min)}`),
    row(
      "  worst prompt",
      fixed(sum(margins.tau_median, thresholds.tau_median)),
      `at least ${thresholds.tau_median}, margin ${fixed(margins.tau_median)}; promised ${promise.tau_median}, margin ${fixed(promise_margins.tau_median)}`,
    ),
    row(
      "ΔNLL, all tokens",
      scientific(figures.delta_nll),
      `${interval(figures.delta_nll_interval)}${fixed(figures.nll_a)} and ${fixed(figures.nll_b)} nats a token`,
    ),
    row(
      "|ΔNLL| worst prompt",
      scientific(less(thresholds.delta_nll, margins.delta_nll)),
      `at most ${thresholds.delta_nll}, margin ${scientific(margins.delta_nll)}; promised ${promise.delta_nll}, margin ${scientific(promise_margins.delta_nll)}`,
    ),
    row(
      "|ΔNLL| mean",
      scientific(delta_nll_mean),
      thresholds.delta_nll_mean === undefined
        ? ""
        : `at most ${thresholds.delta_nll_mean}, margin ${scientific(margins.delta_nll_mean ?? null)}`,
    ),
    ...klLines(figures.kl, thresholds, margins),
    ...(stored.length > 0
      ? [
          row(
            "greedy texts",
            `${stored.filter((verdict) => verdict === "same").length}/${stored.length}`,
            `identical, ${stored.filter((verdict) => verdict === "tie").length} diverge at a tie, ${stored.filter((verdict) => verdict === "differs").length} differ`,
          ),
        ]
      : []),
    ...(failed.length > 0 ? [`  failed: ${printable(failed.map(({ id }) => id).join("; "))}`] : []),
  ];
}

function row(label: string, value: string, rest: string): string {
  return `  ${label.padEnd(20)}${value.padStart(9)}  ${rest}`.trimEnd();
}

function interval(of: Figures["delta_nll_interval"]): string {
  return of ? `95 % interval ${scientific(of[0])} … ${scientific(of[1])}; ` : "";
}

/** How the probabilities differ; no lines for an old record. */
function klLines(kl: Kl | undefined, { kl_mean, kl_max }: Thresholds, margins: Margins): string[] {
  if (!kl) return [];
  const gate = (most: number | undefined, margin: number | null | undefined): string =>
    most === undefined ? "" : `at most ${most}, margin ${scientific(margin ?? null)}`;
  const error = (value: number | null): string => `± ${scientific(value)}`;
  const percent = (share: number | null): string => (share === null ? "none" : `${(100 * share).toFixed(2)} %`);
  const worst = (most: number | undefined, margin: number | null | undefined): string =>
    scientific(most === undefined ? null : less(most, margin ?? null));
  return [
    row("KL divergence mean", scientific(kl.mean), `${error(kl.mean_error)}, 99.9 % ${scientific(kl.p999)}, ${kl.positions} positions`),
    ...(kl_mean === undefined ? [] : [row("  of worst prompt", worst(kl_mean, margins.kl_mean), gate(kl_mean, margins.kl_mean))]),
    row("  of worst position", scientific(kl.max), gate(kl_max, margins.kl_max)),
    row("same top token", percent(kl.same_top), `± ${percent(kl.same_top_error)}`),
    row("Δp of next token", percent(kl.delta_p_rms), `root mean square, ± ${percent(kl.delta_p_rms_error)}`),
  ];
}

function sum(x: number | null, y: number): number | null {
  return x === null ? null : x + y;
}

function less(x: number, y: number | null): number | null {
  return y === null ? null : x - y;
}

/** Of a prompt or a lane; none where a number is not finite. */
export function fixed(value: number | null): string {
  return value === null ? "none" : value.toFixed(4);
}

export function scientific(value: number | null): string {
  return value === null ? "none" : value === 0 ? "0" : value.toExponential(1);
}
