import { tensorSentence } from "../validation/parity/gates.js";
import { type PromptReplay, replayRow, type WeightsReplay } from "../validation/parity/replay.js";
import { interruptible, kernelOptions } from "./command.js";
import { printable } from "./failure.js";
import type { ModelFlags } from "./model.js";
import { fixed, scientific } from "./parity.js";
import { write, writeJson } from "./terminal.js";

export interface ReplayFlags extends Pick<ModelFlags, "threads" | "tier"> {
  readonly row: number;
  readonly modelA?: string;
  readonly modelB?: string;
  readonly json?: boolean;
}

/** `bitnet replay`: a failing row of parity again, from the row alone. */
export async function replay(path: string, flags: ReplayFlags): Promise<void> {
  const { modelA, modelB } = flags;
  const done = await interruptible("replaying", (_, signal) =>
    replayRow(path, flags.row, { modelA, modelB, kernels: kernelOptions(flags), signal }),
  );
  if (!done) return;
  const { changed, failed, error } = done;
  const rest = { failed, verdict: error ? "FAIL" : "PASS" };
  if ("tensor" in done) {
    if (flags.json) await writeJson({ lane: done.row.lane, changed, tensor: done.tensor, ...rest });
    else await write(tensorText(done));
  } else if (flags.json) {
    const { row, figures, greedy } = done;
    await writeJson({ lane: row.lane, prompt: row.prompt.id, changed, figures, greedy, ...rest });
  } else await write(replayText(done));
  if (error) throw error;
}

/** A tensor then and now, for a person. */
function tensorText({ row: { sides, tensor: was }, tensor, changed, failed }: WeightsReplay): string {
  const lines = [
    `weights: ${sides.b.path} compared with ${sides.a.path}`,
    `  row: ${tensorSentence(was)}`,
    `  now: ${tensor ? tensorSentence(tensor) : "equal"}`,
    ...changed.map((what) => `changed since then: ${what}`),
    failed.length > 0
      ? `FAIL: ${failed.join(", ")}${changed.length === 0 ? ", with the same difference as in the row" : ""}`
      : "PASS: fixed",
  ];
  return `${lines.map(printable).join("\n")}\n`;
}

function atMost(threshold: number | undefined): string {
  return threshold === undefined ? "" : `at most ${threshold}`;
}

/** A prompt then and now, for a person. */
export function replayText({ row, changed, figures, greedy, failed }: PromptReplay): string {
  const { lane, prompt, sides, thresholds } = row;
  const line = (label: string, was: string, now: string, allowed: string): string =>
    `  ${label.padEnd(12)}${was.padStart(10)}${now.padStart(10)}  ${allowed}`.trimEnd();
  const lines = [
    `${lane}, ${prompt.id}, ${prompt.ids.length} tokens: ${sides.b.path ?? sides.b.kernels} compared with ${sides.a.path ?? sides.a.format}`,
    line("", "row", "now", ""),
    line("τ-b median", fixed(row.figures.tau_median), fixed(figures.tau_median), `at least ${thresholds.tau_median}`),
    line("NLL a", fixed(row.figures.nll_a), fixed(figures.nll_a), ""),
    line("NLL b", fixed(row.figures.nll_b), fixed(figures.nll_b), ""),
    line("ΔNLL", scientific(row.figures.delta_nll), scientific(figures.delta_nll), `at most ${thresholds.delta_nll}`),
    ...(figures.kl && row.figures.kl
      ? [
          line("KL mean", scientific(row.figures.kl.mean), scientific(figures.kl.mean), atMost(thresholds.kl_mean)),
          line("KL maximum", scientific(row.figures.kl.max), scientific(figures.kl.max), atMost(thresholds.kl_max)),
        ]
      : []),
    ...(greedy
      ? [line("greedy", String(row.greedy?.parts_at ?? "same"), String(greedy.parts_at ?? "same"), "token at which it diverges")]
      : []),
    ...changed.map((what) => `changed since then: ${what}`),
    failed.length > 0 ? `FAIL: ${failed.join(", ")}${changed.length === 0 ? ", with the same results as in the row" : ""}` : "PASS: fixed",
  ];
  return `${lines.map(printable).join("\n")}\n`;
}
