import { BitnetError } from "../engine/errors.js";
import { type AcceptanceOptions, acceptanceFailure, type CheckReport, runAcceptance } from "../validation/acceptance/acceptance.js";
import { deterministicEnvironment } from "../validation/acceptance/environment.js";
import { bannerText, type PlatformBanner } from "../validation/records/banner.js";
import { interruptible, kernelOptions, recordOptions } from "./command.js";
import { printable } from "./failure.js";
import { type FileFlags, fileOptions, type ModelFlags } from "./model.js";
import { type Status, style, write, writeJson } from "./terminal.js";

export interface ValidateFlags extends Omit<FileFlags, "model">, Pick<ModelFlags, "threads" | "tier"> {
  readonly modelA?: string;
  readonly modelB?: string;
  readonly quick?: boolean;
  readonly out: string;
  readonly json?: boolean;
}

/** `bitnet validate`: runs every check; its exit code is go or no-go. */
export async function validate(flags: ValidateFlags): Promise<void> {
  const { modelA: a, modelB: b } = flags;
  if ((a === undefined) !== (b === undefined))
    throw new BitnetError("usage", "give both --model-a and --model-b, the two forms of a model, or neither");
  await interruptible("validating", async (status, signal) => {
    const summary = await runAcceptance({
      ...recordOptions(),
      environment: deterministicEnvironment(process.env),
      models: a !== undefined && b !== undefined ? [a, b] : undefined,
      quick: flags.quick,
      files: fileOptions(flags),
      kernels: kernelOptions(flags),
      out: flags.out,
      signal,
      ...(!flags.json && { onBanner: showBanner, onCheck: showCheck(status) }),
      ...(flags.json && { onCheck: (_, { done, total }) => status.update(done / total) }),
    });
    status.end();
    if (flags.json) await writeJson(summary);
    const failure = acceptanceFailure(summary);
    if (failure) throw failure;
    if (!flags.json) await write(`\n${style("bold", "ALL ACCEPTANCE TESTS PASSED", process.stdout)}\n`);
  });
}

/** The machine, above the table. */
export async function showBanner(banner: PlatformBanner): Promise<void> {
  await write(`${bannerText(banner)}\n`);
}

/** Writes a row of the table, and takes the line of progress out of its way. */
export function showCheck(status: Status): NonNullable<AcceptanceOptions["onCheck"]> {
  return async (report, { done, total }) => {
    status.update(done / total);
    status.clear();
    await write(checkLine(report));
  };
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
    rows.push(`      ${reason}${status === "SKIP" ? (ship ? " (required for a release: no-go)" : " (not required here)") : ""}`);
  return `${word}${rows.map(printable).join("\n")}\n`;
}

function figure(value: number | string | boolean | null): string {
  if (typeof value !== "number" || Number.isInteger(value)) return String(value ?? "none");
  return Math.abs(value) < 0.01 ? value.toExponential(1) : value.toPrecision(4);
}
