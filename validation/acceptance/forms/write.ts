import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import type { ParityReport } from "../../parity/types.js";
import type { PlatformBanner } from "../../records/banner.js";
import { ioFailure, writeWhole } from "../../records/files.js";
import { readRecord } from "../../records/records.js";
import { BANNER_FILE, PARITY_FILE } from "../acceptance.js";
import type { AcceptanceSummary } from "../seal.js";
import { html } from "./html.js";
import { junit } from "./junit.js";
import { rowsOf } from "./rows.js";
import { sarif } from "./sarif.js";
import { summary as markdown } from "./summary.js";

/** Files to write; undefined: not asked for. */
export interface FormPaths {
  readonly junit?: string | undefined;
  readonly sarif?: string | undefined;
  /** Markdown. */
  readonly summary?: string | undefined;
  /** The page for a person. */
  readonly html: string;
}

/**
 * Writes a run in other forms.
 * @param out folder of its artifacts
 * @param append whether the Markdown goes behind what is in its file, as GitHub expects it
 * @throws BitnetError io, file
 */
export async function writeForms(paths: FormPaths, run: AcceptanceSummary, out: string, append: boolean): Promise<void> {
  const parity = PARITY_FILE in run.artifacts ? await readRecord<ParityReport>(join(out, PARITY_FILE), "parity-report") : undefined;
  const rows = rowsOf(run, parity);
  await writeWhole(paths.html, html(rows, run, parity, await readRecord<PlatformBanner>(join(out, BANNER_FILE), "platform-banner")));
  if (paths.junit !== undefined) await writeWhole(paths.junit, junit(rows, run));
  if (paths.sarif !== undefined) await writeWhole(paths.sarif, sarif(rows, run));
  if (paths.summary === undefined) return;
  const text = markdown(rows, run, parity);
  if (!append) return writeWhole(paths.summary, text);
  await appendFile(paths.summary, text).catch((error: unknown) => {
    throw ioFailure("write", paths.summary!, error);
  });
}
