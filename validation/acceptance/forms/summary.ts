import type { ParityReport } from "../../parity/types.js";
import type { AcceptanceSummary } from "../seal.js";
import { shorten } from "./escape.js";
import { gateRows } from "./gates.js";
import { type Row, shown } from "./rows.js";

/** Characters of a cell. GitHub refuses summaries above 1 MiB; with this, 24 checks stay far below. */
const MAX_CELL = 2000;

/** A run as GitHub-flavoured Markdown, for the summary of a step. It begins and ends with an empty line, so that it can be appended. */
export function summary(
  rows: readonly Row[],
  { verdict, provenance: from, models, quick }: AcceptanceSummary,
  parity?: ParityReport,
): string {
  const failed = rows.filter((row) => row.failed);
  const line =
    verdict === "PASS" ? `${rows.length} checks: all acceptance tests passed` : `${failed.length} of ${rows.length} checks failed`;
  const gates = parity ? gateRows(parity) : [];
  return [
    "",
    `## bitnet validate: ${verdict}`,
    "",
    `${line}. bitnet-ts ${cell(from.package_version)}, commit ${cell(from.git_commit ?? "none")}${from.git_dirty ? ", changed since" : ""}, Node ${cell(from.node)}, ${quick ? "quick run, " : ""}${cell(from.date)}.`,
    "",
    ...models.map(
      ({ path, sha256 }, i) => `- model ${"ab"[i]}: ${cell(path)}, SHA-256 ${sha256 === null ? "unreadable" : sha256.slice(0, 16)}`,
    ),
    "",
    ...table(
      ["", "check", "", "figures", "seconds"],
      rows.map(({ id, title, status, failed: no, figures, reason, seconds }) => [
        no ? `**${status}**` : status,
        cell(id),
        [title, ...(reason === undefined ? [] : [reason])].map(cell).join("<br>"),
        cell(figures.map((pair) => pair.join(" ")).join(", ")),
        seconds?.toFixed(1) ?? "",
      ]),
    ),
    ...(gates.length === 0
      ? []
      : [
          "### Parity",
          "",
          ...table(
            ["lane", "figure", "worst", "gate", "margin", "margin to the promise"],
            gates.map(({ lane, figure, value, gate, margin, promised, failed: no }) => [
              cell(lane),
              cell(figure),
              no ? `**${shown(value)}**` : shown(value),
              gate,
              shown(margin),
              promised === undefined ? "" : shown(promised),
            ]),
          ),
        ]),
  ].join("\n");
}

function table(head: readonly string[], body: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...body.map(line), ""];
}

/** Text as it is, on one line: nothing in it is Markdown or HTML. */
function cell(text: string): string {
  return shorten(text, MAX_CELL)
    .replace(/\s+/g, " ")
    .replace(/[\p{Cc}\p{Surrogate}]/gu, "\ufffd")
    .replace(/[\\`*_{}[\]()#+!|~<>&"'@:$]/g, (char) => `&#${char.charCodeAt(0)};`)
    .replace(/\bwww\./gi, "www&#46;");
}
