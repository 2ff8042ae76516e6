import { createHash } from "node:crypto";
import { tensorSentence } from "../../parity/gates.js";
import type { LaneReport, ParityReport, PromptReport, WeightsReport } from "../../parity/types.js";
import { shownPath } from "../../performance/perf.js";
import { bannerText, type PlatformBanner } from "../../records/banner.js";
import type { Run } from "../check.js";
import type { AcceptanceSummary } from "../seal.js";
import { escapeMarkup, shorten } from "./escape.js";
import { gateRows, laneTitle } from "./gates.js";
import { lanePlots } from "./plots.js";
import { type Row, shown } from "./rows.js";
import { STYLE } from "./style.js";

/** Characters of a text from a model or a path, so that no file can make the page unreadable. */
const MAX_TEXT = 4000;

/** Tensors that are listed; the others are in the parity report. */
const MAX_TENSORS = 50;

/**
 * A run as a page of its own, for a person: no request leaves it, and no script is in it. It is well-formed XML too. It is made from the artifacts
 * alone, so it can be made again.
 */
export function html(rows: readonly Row[], run: AcceptanceSummary, parity: ParityReport | undefined, banner: PlatformBanner): string {
  const { verdict, provenance: from, quick } = run;
  const failed = rows.filter((row) => row.failed);
  const skipped = rows.filter(({ status, failed: no }) => status === "SKIP" && !no).length;
  const line =
    failed.length === 0
      ? `PASS: all acceptance tests passed (${rows.length} checks${skipped > 0 ? `, ${skipped} skipped` : ""})`
      : `FAIL: ${failed.length} of ${rows.length} checks failed`;
  const hash = createHash("sha256").update(STYLE).digest("base64");
  return [
    "<!DOCTYPE html>",
    '<html lang="en">',
    "<head>",
    '<meta charset="utf-8"/>',
    `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'"/>`,
    '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
    '<meta name="color-scheme" content="light dark"/>',
    `<title>bitnet validate: ${verdict}</title>`,
    `<style>${STYLE}</style>`,
    "</head>",
    "<body>",
    "<header>",
    "<h1>bitnet validate</h1>",
    `<p class="verdict ${verdict.toLowerCase()}">${line}</p>`,
    `<p class="soft">${text(
      [
        `bitnet-ts ${from.package_version}, numerics ${from.numerics_version}`,
        from.git_commit === null ? "not a clone" : `commit ${from.git_commit}${from.git_dirty ? ", changed since" : ""}`,
        `Node ${from.node}`,
        ...(quick ? ["quick run"] : []),
        from.date,
      ].join(" · "),
    )}</p>`,
    ...run.models.map(({ path }, i) => `<p class="soft">model ${"ab"[i]}: <span class="mono">${text(path)}</span></p>`),
    "</header>",
    "<main>",
    ...(failed.length > 0 ? ["<section>", "<h2>Failed</h2>", table(failed, "failed"), "</section>"] : []),
    "<section>",
    "<h2>Checks</h2>",
    table(rows, "all"),
    "</section>",
    ...(parity ? paritySection(parity) : []),
    ...determinism(rows),
    ...evidence(run, banner),
    "</main>",
    "</body>",
    "</html>",
    "",
  ].join("\n");
}

/** The checks: all of them with their figures, or those that failed with the reason and all places. */
function table(rows: readonly Row[], which: "all" | "failed"): string {
  return [
    '<table class="checks">',
    `<thead><tr>${heads(["result", "check"])}<th scope="col" class="number">seconds</th></tr></thead>`,
    "<tbody>",
    ...rows.map((row) => {
      const { id, title, status, failed, seconds } = row;
      return [
        `<tr><td>${word(status, failed)}</td>`,
        `<td${which === "failed" ? ` id="${text(id)}"` : ""}><span class="id">${text(id)}</span> ${text(title)}`,
        ...(which === "failed" ? cause(row) : outcome(row)),
        `</td><td class="number">${seconds?.toFixed(1) ?? "–"}</td></tr>`,
      ].join("");
    }),
    "</tbody>",
    "</table>",
  ].join("\n");
}

function cause({ reason, places }: Row): string[] {
  const items = places.map(({ path, line, what }, i) => {
    const known = path === undefined || (line === undefined && places[i - 1]?.path === path); // not once more
    return `<li>${known ? "" : `<code>${text(line === undefined ? path : `${path}:${line}`)}</code> `}${text(what)}</li>`;
  });
  return [
    ...(reason === undefined ? [] : [`<p class="reason fail">${text(reason)}</p>`]),
    ...(items.length === 0 ? [] : [`<ul class="places">${items.join("")}</ul>`]),
  ];
}

function outcome({ id, failed, reason, figures }: Row): string[] {
  const items = figures.map(([name, value]) => `<li>${text(name)} <b>${text(value)}</b></li>`);
  return [
    ...(failed ? [` <a href="#${text(id)}">why</a>`] : reason === undefined ? [] : [`<p class="reason soft">${text(reason)}</p>`]),
    ...(items.length === 0 ? [] : [`<ul class="figures">${items.join("")}</ul>`]),
  ];
}

function word(status: string, failed: boolean): string {
  return `<span class="word ${failed ? "fail" : status === "SKIP" ? "skip" : "pass"}">${status}</span>`;
}

function paritySection(parity: ParityReport): string[] {
  const gates = gateRows(parity);
  return [
    "<section>",
    "<h2>Parity</h2>",
    ...(parity.weights ? weights(parity.weights) : []),
    ...(gates.length === 0
      ? []
      : [
          "<h3>Gates</h3>",
          '<p class="soft">The worst prompt of each lane. The last column is the margin to what is promised for any pair of files.</p>',
          wide(
            "Gates",
            "figure",
            ["worst", "gate", "margin", "to the promise"],
            gates.map(({ lane, figure, value, gate, margin, promised, failed }, i) => ({
              ...(gates[i - 1]?.lane !== lane && { group: lane }),
              name: figure,
              cells: [
                failed ? `<b class="fail">${shown(value)}</b>` : shown(value),
                escapeMarkup(gate),
                shown(margin),
                promised === undefined ? "–" : shown(promised),
              ],
            })),
          ),
        ]),
    ...parity.lanes.flatMap((lane, i) => laneSection(lane, `lane${i}`)),
    ...parity.skipped.map(({ name, reason }) => `<p class="soft">Lane ${text(name)}: ${text(reason)}.</p>`),
    "</section>",
  ];
}

function weights({ compared, equal, numbers, changed, verdict, exact }: WeightsReport): string[] {
  const listed = changed.toSorted((a, b) => Number(b.verdict === "FAIL") - Number(a.verdict === "FAIL")).slice(0, MAX_TENSORS);
  return [
    `<h3>weights ${word(verdict, verdict === "FAIL")}</h3>`,
    `<p>${equal} of ${compared} tensors and scales (${numbers} numbers) are equal${exact ? "; all must be" : ", the others may differ by the rounding of their types"}.</p>`,
    ...(listed.length === 0
      ? []
      : [
          `<ul class="places">${listed.map((tensor) => `<li>${word(tensor.verdict, tensor.verdict === "FAIL")} ${text(tensorSentence(tensor))}</li>`).join("")}</ul>`,
        ]),
    ...(changed.length > listed.length ? [`<p class="soft">${changed.length - listed.length} more are in the parity report.</p>`] : []),
  ];
}

function laneSection(lane: LaneReport, id: string): string[] {
  const { sides, prompts, totals, verdict, failed } = lane;
  const side = ({ path, format, kernels }: LaneReport["sides"]["a"]): string =>
    `${path === null ? "stored outputs" : shownPath(path)} (${format}, ${kernels})`;
  const { kl } = totals.figures;
  return [
    `<h3>${text(laneTitle(lane))} ${word(verdict, verdict === "FAIL")}</h3>`,
    `<p class="soft">${text(`${side(sides.a)} and ${side(sides.b)}`)}</p>`,
    `<p>${totals.tokens} tokens${kl ? `; the likeliest token is the same at ${percent(kl.same_top)} of the positions` : ""}${failed.length > 0 ? `; <span class="fail">failed gates: ${text(failed.join(", "))}</span>` : ""}.</p>`,
    `<div class="plots">${lanePlots(lane, id).join("\n")}</div>`,
    "<details>",
    `<summary>Figures of each prompt (${prompts.length})</summary>`,
    wide(
      `Prompts of ${laneTitle(lane)}`,
      "prompt",
      ["tokens", "τ-b median", "5 %", "minimum", "ΔNLL", "95 % interval", "KL mean", "KL maximum", "same top", "greedy text", "result"],
      prompts.map(promptRow),
    ),
    "</details>",
  ];
}

function promptRow({ id, tokens, figures, greedy, verdict }: PromptReport): WideRow {
  const { delta_nll_interval: between, kl } = figures;
  return {
    name: id,
    cells: [
      ...[String(tokens), shown(figures.tau_median), shown(figures.tau_p5), shown(figures.tau_min), shown(figures.delta_nll)],
      between ? `${shown(between[0])} to ${shown(between[1])}` : "–",
      ...(kl ? [shown(kl.mean), shown(kl.max), percent(kl.same_top)] : ["–", "–", "–"]),
      greedy ?? "–",
      word(verdict, verdict === "FAIL"),
    ],
  };
}

function percent(share: number | null): string {
  return share === null ? "none" : `${(share * 100).toFixed(1)} %`;
}

/** `cells` are markup, the others text. */
interface WideRow {
  /** Title above this row and those after it. */
  readonly group?: string;
  readonly name: string;
  readonly cells: readonly string[];
}

/** A table that scrolls by itself where it is too wide for the page. */
function wide(title: string, of: string, numbers: readonly string[], rows: readonly WideRow[]): string {
  return [
    `<div class="wide" role="region" tabindex="0" aria-label="${text(title)}"><table>`,
    `<thead><tr>${heads([of])}${numbers.map((one) => `<th scope="col" class="number">${one}</th>`).join("")}</tr></thead>`,
    "<tbody>",
    ...rows.map(({ group, name, cells }) =>
      [
        ...(group === undefined ? [] : [`<tr><th scope="colgroup" colspan="${numbers.length + 1}">${text(group)}</th></tr>`]),
        `<tr><th scope="row">${text(name)}</th>${cells.map((one) => `<td class="number">${one}</td>`).join("")}</tr>`,
      ].join(""),
    ),
    "</tbody>",
    "</table></div>",
  ].join("\n");
}

function heads(names: readonly string[]): string {
  return names.map((name) => `<th scope="col">${name}</th>`).join("");
}

/** Tiers by threads: the hash of the logits of each run, and whether it is that of the first. */
function determinism(rows: readonly Row[]): string[] {
  const runs = rows.flatMap(({ runs: all }) => all);
  if (runs.length === 0) return [];
  const tiers = [...new Set(runs.map(({ tier }) => tier))];
  const threads = [...new Set(runs.map((run) => run.threads))].sort((a, b) => a - b);
  const cell = (all: readonly Run[]): string =>
    [...new Set(all.map(({ logits }) => logits))]
      .map((logits) => {
        const count = all.filter((run) => run.logits === logits).length;
        const same = logits === runs[0]!.logits;
        return `<span class="${same ? "pass" : "fail"}">${same ? "same" : "differs"}</span>${count > 1 ? ` × ${count}` : ""}<br/><span class="mono soft">${logits.slice(0, 8)}</span>`;
      })
      .join("<br/>");
  return [
    "<section>",
    "<h2>Determinism</h2>",
    '<p class="soft">SHA-256 of the logits of one text, by kernels and threads: all runs must give the same bits.</p>',
    '<div class="wide" role="region" tabindex="0" aria-label="Determinism"><table class="matrix">',
    `<thead><tr>${heads(["kernels", ...threads.map((count) => `${count} ${count === 1 ? "thread" : "threads"}`)])}</tr></thead>`,
    "<tbody>",
    ...tiers.map((tier) => {
      const cells = threads.map((count) => cell(runs.filter((run) => run.tier === tier && run.threads === count)) || "–");
      return `<tr><th scope="row">${text(tier)}</th>${cells.map((one) => `<td>${one}</td>`).join("")}</tr>`;
    }),
    "</tbody>",
    "</table></div>",
    "</section>",
  ];
}

function evidence({ provenance: from, models, artifacts, seal }: AcceptanceSummary, banner: PlatformBanner): string[] {
  const hashes: readonly (readonly [name: string, hash: string | null | undefined])[] = [
    ...models.map(({ sha256 }, i) => [`model ${"ab"[i]}`, sha256] as const),
    ["kernels", from.kernel_sha256],
    ["modules", from.modules_sha256],
    ["bundle", from.bundle_sha256],
    ...Object.entries(artifacts),
    ["seal", seal],
  ];
  return [
    "<section>",
    "<h2>Evidence</h2>",
    "<details>",
    "<summary>Machine, command and hashes</summary>",
    `<pre>${text(bannerText(banner))}</pre>`,
    `<p>bitnet ${text(from.cli_args.join(" "))}</p>`,
    "<dl>",
    ...hashes.map(([name, hash]) => `<dt>${text(name)}</dt><dd class="mono">${hash ?? "none"}</dd>`),
    "</dl>",
    '<p class="soft">This page is made from the artifacts, and is not one of them: the seal does not cover it.</p>',
    "</details>",
    "</section>",
  ];
}

/** Marks of direction and line, which would change the order of what is around them. */
const STEERING = /[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** Text of any origin as markup. */
function text(value: string): string {
  return escapeMarkup(shorten(value, MAX_TEXT).replace(STEERING, (char) => `\\u${char.charCodeAt(0).toString(16)}`));
}
