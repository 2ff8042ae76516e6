import { createHash } from "node:crypto";
import { BitnetError } from "../../engine/errors.js";
import type { Provenance } from "../records/provenance.js";
import { checkRecord, parseRows } from "../records/records.js";
import { METRIC_NAMES, type Metric, type PerfRecord } from "./perf.js";
import { RESULTS } from "./stored.js";

/** What past releases measured; lines are only ever added. */
export const HISTORY_FILE = `${RESULTS}/history.jsonl`;

/** Versions that were released before there was a history. */
const WITHOUT = ["0.1.0"];

/** A format of a model in a release. A record: `schemas/perf-history.v1.schema.json`. */
export interface HistoryRow {
  readonly kind: "perf-history";
  /** Of the release. */
  readonly version: string;
  /** Of the performance record. */
  readonly provenance: Provenance;
  readonly model: Pick<PerfRecord["model"], "name" | "format" | "parameters">;
  readonly settings: PerfRecord["settings"];
  readonly medians: Readonly<Record<Metric, number>>;
  /** The performance record as it is stored. */
  readonly record_sha256: string;
  /** SHA-256 of the chain of the row before (of the first: nothing), a line end, and this row as JSON without its chain. */
  readonly chain: string;
}

/** The text of a history with a release behind what is there: a row for each record, sorted by model and format. */
export function appendRelease(text: string, version: string, records: readonly PerfRecord[]): string {
  const sorted = records.toSorted((a, b) => (sortName(a) < sortName(b) ? -1 : 1));
  let chain = text === "" ? "" : (JSON.parse(text.trimEnd().split("\n").at(-1)!) as HistoryRow).chain;
  const lines = sorted.map((record) => {
    const { provenance, model, settings, metrics } = record;
    const row: Omit<HistoryRow, "chain"> = {
      ...{ kind: "perf-history", version, provenance },
      model: { name: model.name, format: model.format, parameters: model.parameters },
      settings,
      medians: Object.fromEntries(METRIC_NAMES.map((metric) => [metric, metrics[metric].median])) as HistoryRow["medians"],
      record_sha256: sha256(`${JSON.stringify(record, undefined, 2)}\n`),
    };
    chain = next(chain, row);
    checkRecord("perf-history", { ...row, chain }, HISTORY_FILE);
    return `${JSON.stringify({ ...row, chain })}\n`;
  });
  return text + lines.join("");
}

/** Reads a history. @throws BitnetError file: names the first row that does not follow from those before it */
export function readHistory(text: string): HistoryRow[] {
  const rows = parseRows<HistoryRow>(new TextEncoder().encode(text), "perf-history", HISTORY_FILE);
  const lines = text.split("\n");
  let before = "";
  for (const [i, { chain, ...row }] of rows.entries()) {
    const where = `${HISTORY_FILE}, row ${i + 1}`;
    if (next(before, row) !== chain || lines[i] !== JSON.stringify({ ...row, chain }))
      throw new BitnetError("file", `${where}: /chain does not follow from the rows up to it: a row was edited, removed or inserted`, {
        file: HISTORY_FILE,
      });
    before = chain;
  }
  return rows;
}

/**
 * What is missing in a history, or there twice; undefined: nothing. A chain does not show that its last rows were cut off.
 * @param text of the history
 * @param released versions of the changelog
 * @param committed the history of HEAD; undefined: it has none
 */
export function historyFault(text: string, released: readonly string[], committed: string | undefined): string | undefined {
  if (!text.startsWith(committed ?? "")) return `${HISTORY_FILE} does not begin with the rows that are committed: rows are only ever added`;
  const rows = readHistory(text);
  const gone = released.find((version) => !WITHOUT.includes(version) && !rows.some((row) => row.version === version));
  if (gone !== undefined) return `${HISTORY_FILE} has no row of version ${gone}, which is in the changelog`;
  const seen = new Set<string>();
  for (const { version, model } of rows) {
    const name = `${model.name} as ${model.format} in version ${version}`;
    if (seen.has(name)) return `${HISTORY_FILE} has ${name} twice`;
    seen.add(name);
  }
  const alone = rows.find(
    ({ version, model }) =>
      !rows.some((row) => row.version === version && row.model.name === model.name && row.model.format !== model.format),
  );
  return alone && `${HISTORY_FILE} has only ${alone.model.format} of ${alone.model.name} in version ${alone.version}`;
}

const sortName = ({ model }: PerfRecord): string => `${model.name} ${model.format}`;

const next = (before: string, row: object): string => sha256(`${before}\n${JSON.stringify(row)}`);

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
