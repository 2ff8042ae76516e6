import { join, resolve } from "node:path";
import { BitnetError } from "../engine/errors.js";
import {
  type AcceptanceOptions,
  ARTIFACTS,
  acceptanceFailure,
  type CheckReport,
  REPORT_FILE,
  runAcceptance,
  SUMMARY_FILE,
} from "../validation/acceptance/acceptance.js";
import { deterministicEnvironment } from "../validation/acceptance/environment.js";
import { rowOf } from "../validation/acceptance/forms/rows.js";
import { type FormPaths, writeForms } from "../validation/acceptance/forms/write.js";
import { bannerText, type PlatformBanner } from "../validation/records/banner.js";
import { requireReplaceable } from "../validation/records/files.js";
import { interruptible, kernelOptions, recordOptions } from "./command.js";
import { printable } from "./failure.js";
import { type FileFlags, fileOptions, type ModelFlags } from "./model.js";
import { requireOutput, type Status, style, write, writeJson } from "./terminal.js";

export interface ValidateFlags extends Omit<FileFlags, "model">, Pick<ModelFlags, "threads" | "tier"> {
  readonly modelA?: string;
  readonly modelB?: string;
  readonly quick?: boolean;
  readonly junit?: string;
  readonly sarif?: string;
  readonly summary?: string;
  readonly html?: string;
  readonly out: string;
  readonly json?: boolean;
}

/** `bitnet validate`: runs every check; its exit code is go or no-go. */
export async function validate(flags: ValidateFlags): Promise<void> {
  const { modelA: a, modelB: b } = flags;
  if ((a === undefined) !== (b === undefined))
    throw new BitnetError("usage", "give both --model-a and --model-b, the two forms of a model, or neither");
  const forms = { junit: flags.junit, sarif: flags.sarif, summary: flags.summary, html: flags.html ?? join(flags.out, REPORT_FILE) };
  const append = await requireForms(forms, flags.out);
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
    await writeForms(forms, summary, flags.out, append);
    if (!flags.json) await write(`\nReport for a browser: ${printable(forms.html)}\n`);
    const failure = acceptanceFailure(summary);
    if (failure) throw failure;
    if (!flags.json) await write(`\n${style("bold", "ALL ACCEPTANCE TESTS PASSED", process.stdout)}\n`);
  });
}

/**
 * Fails before the run if a form can't be written after it.
 * @returns whether the Markdown is appended: a step of GitHub's may have written to its summary before
 */
async function requireForms(forms: FormPaths, out: string): Promise<boolean> {
  const taken = new Map([SUMMARY_FILE, ...ARTIFACTS].map((name) => [resolve(out, name), "an artifact"]));
  for (const [name, path] of Object.entries(forms) as [keyof FormPaths, string | undefined][]) {
    if (path === undefined) continue;
    const flag = `--${name}`;
    const other = taken.get(resolve(path));
    if (other !== undefined) throw new BitnetError("usage", `${flag}: ${path} is already the file of ${other}: choose another path`);
    taken.set(resolve(path), flag);
    if (resolve(path) === resolve(out, REPORT_FILE))
      requireReplaceable(path); // its folder is made
    else await requireOutput(flag, path);
  }
  const { GITHUB_STEP_SUMMARY: step } = process.env;
  return forms.summary !== undefined && step !== undefined && step !== "" && resolve(forms.summary) === resolve(step);
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
export function checkLine(check: CheckReport): string {
  const { id, title, status, reason, figures } = rowOf(check);
  const word = style(status === "FAIL" ? "red" : "bold", status, process.stdout);
  const rows = [`  ${id.padEnd(17)}${title}`];
  for (const [i, [name, value]] of figures.entries()) {
    const text = `${name} ${value}`;
    const row = `${rows.at(-1)}${i === 0 ? "" : ", "}${text}`;
    if (i > 0 && row.length <= WIDTH) rows[rows.length - 1] = row;
    else rows.push(`      ${text}`);
  }
  if (reason !== undefined) rows.push(`      ${reason}`);
  return `${word}${rows.map(printable).join("\n")}\n`;
}
