import { BitnetError } from "../engine/errors.js";
import { acceptanceFailure, type CheckReport, runAcceptance } from "../validation/acceptance.js";
import { bannerText } from "../validation/banner.js";
import { INTERRUPTED, printable } from "./failure.js";
import { type FileFlags, fileOptions, type ModelFlags } from "./model.js";
import { Status, style, write, writeJson } from "./terminal.js";
import { readEnvironment } from "./values.js";

export interface ValidateFlags extends Omit<FileFlags, "model">, Pick<ModelFlags, "threads" | "tier"> {
  readonly modelA?: string;
  readonly modelB?: string;
  readonly quick?: boolean;
  readonly out: string;
  readonly json?: boolean;
}

/** `bitnet validate`: every check there is; its exit code is go or no-go. */
export async function validate(flags: ValidateFlags): Promise<void> {
  const { modelA: a, modelB: b } = flags;
  if ((a === undefined) !== (b === undefined))
    throw new BitnetError("usage", "give both --model-a and --model-b, the two forms of a model, or neither");
  const environment = readEnvironment(process.env);
  const threads = flags.threads ?? environment.threads;
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort());
  const status = new Status("validating");
  try {
    const summary = await runAcceptance({
      models: a !== undefined && b !== undefined ? [a, b] : undefined,
      quick: flags.quick,
      files: fileOptions(flags),
      kernels: { ...(threads !== undefined && { threads }), ...(flags.tier !== undefined && { tier: flags.tier }) },
      out: flags.out,
      cliArgs: process.argv.slice(2),
      seed: environment.seed,
      deterministic: process.env.BITNET_DETERMINISTIC === "1",
      date: new Date(),
      signal: interrupt.signal,
      ...(!flags.json && { onBanner: async (banner) => write(`${bannerText(banner)}\n`) }),
      onCheck: async (report, { done, total }) => {
        status.update(done / total);
        status.clear();
        if (!flags.json) await write(checkLine(report));
      },
    });
    status.end();
    if (flags.json) await writeJson(summary, 2);
    const failure = acceptanceFailure(summary);
    if (failure) throw failure;
    if (!flags.json) await write(`\n${style("bold", "ALL ACCEPTANCE TESTS PASSED", process.stdout)}\n`);
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    process.exitCode = INTERRUPTED;
  } finally {
    status.end();
  }
}

/** Columns of the table. */
const WIDTH = 120;

/** A row of the table: what was checked, its figures with their margins, and below it why it was not passed. */
export function checkLine({ id, title, status, reason, figures = {}, ship }: CheckReport): string {
  const shown = Object.entries(figures).map(([name, value]) => `${name} ${figure(value)}`);
  const word = style(status === "FAIL" ? "red" : "bold", status, process.stdout);
  const rows = [`  ${id.padEnd(17)}${title}`];
  for (const [i, text] of shown.entries()) {
    const row = `${rows.at(-1)}${i === 0 ? "" : ", "}${text}`;
    if (i > 0 && row.length <= WIDTH) rows[rows.length - 1] = row;
    else rows.push(`      ${text}`);
  }
  if (reason !== undefined)
    rows.push(`      ${reason}${status === "SKIP" ? (ship ? " (a ship criterion: no-go)" : " (not needed here)") : ""}`);
  return `${word}${rows.map(printable).join("\n")}\n`;
}

function figure(value: number | string | boolean | null): string {
  if (typeof value !== "number" || Number.isInteger(value)) return String(value ?? "none");
  return Math.abs(value) < 0.01 ? value.toExponential(1) : value.toPrecision(4);
}
