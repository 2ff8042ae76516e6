import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { showsDifference } from "../statistics/ratio.js";
import { FORMATS, figure, NO_DIFFERENCE, ratioCells, TITLES } from "./figures.js";
import type { HistoryRow } from "./history.js";
import { historyPicture } from "./history-picture.js";
import { METRIC_NAMES, METRICS, type PerfRecord } from "./perf.js";
import { perfPicture } from "./picture.js";
import { metricRatios } from "./ratios.js";
import { pairFault } from "./stored.js";

/** The page in a clone; its pictures are in the same folder. */
export const PERF_PAGE = "docs/PERF_COMPARISON.md";

/** Records of one model, at most one a format: SafeTensors first. */
type Pair = readonly PerfRecord[];

/**
 * The page and its pictures, by path. The same records give the same bytes, in any order: there is no clock and no other source.
 * @throws BitnetError usage: two records of one model and format, or two models of one name
 */
export function renderPerf(records: readonly PerfRecord[], history: readonly HistoryRow[] = []): Map<string, string> {
  const pairs = pairUp(records);
  const past = history.length > 0 ? [versions(history)] : [];
  const files = new Map([[PERF_PAGE, `${[INTRODUCTION, ...pairs.map(section), ...past].join("\n\n")}\n`]]);
  if (history.length > 0) files.set(HISTORY_PICTURE, historyPicture(history));
  for (const pair of pairs) files.set(`docs/${pictureName(pair)}`, perfPicture(pair));
  return files;
}

/** Pictures of the page in a clone that these records do not give: of models whose records are gone. */
export function strangePictures(root: string, rendered: ReadonlyMap<string, string>): string[] {
  const folder = join(root, "docs");
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => PICTURE.test(`docs/${name}`)) : [];
  return names.map((name) => `docs/${name}`).filter((path) => !rendered.has(path));
}

/** Of past releases. */
const HISTORY_PICTURE = "docs/performance-history.svg";

/** The names of the page's pictures. */
export const PICTURE = /^docs\/perf(?:-[\w.-]+|ormance-history)\.svg$/;

function pictureName([first]: Pair): string {
  return `perf-${first!.model.name}.svg`;
}

function pairUp(records: readonly PerfRecord[]): Pair[] {
  const names = [...new Set(records.map(({ model }) => model.name))].sort();
  return names.map((name) => {
    const pair = Object.keys(FORMATS).flatMap((format) => {
      const found = records.filter(({ model }) => model.name === name && model.format === format);
      if (found.length > 1)
        throw new BitnetError("usage", `there are ${found.length} records of ${name} as ${format}: give only one of them`);
      return found;
    });
    const models = new Set(pair.map(({ model, provenance: from }) => `${model.parameters} ${from.tokenizer_sha256}`));
    if (models.size > 1) {
      throw new BitnetError("usage", `the records of ${name} are of different models: the number of parameters or the tokenizer differs`);
    }
    return pair;
  });
}

const INTRODUCTION = `# Performance of both formats

<!-- Rendered by \`bitnet perf render\` from bench/results/perf-*.json. Do not edit: \`bitnet perf render --check\` compares. -->

The same model as SafeTensors and as GGUF. Each sample is a separate process: it loads the model, then processes a prompt and generates tokens,
once to warm up and once for the measurement. The formats take turns, round by round. p95 is interpolated linearly; the standard deviation is that of a
sample (n − 1). Ratios are estimated from the ratios of the rounds (Hodges and Lehmann), and their 95 % intervals belong to Wilcoxon's signed-rank test;
where an interval contains 1, the measurement shows no difference. The records contain all samples and their provenance. [performance.md](performance.md) has more measurements, and the commands to repeat them.`;

function section(pair: Pair): string {
  const { name } = pair[0]!.model;
  const rows = conditions(pair);
  const heads = pair.map(({ model }) => FORMATS[model.format]);
  return [
    `## ${cell(name)}`,
    "",
    table(
      ["environment", ...heads],
      [...environment(pair), ...rows].map(([label, values]) => [label, ...values]),
    ),
    "",
    table(["metric", "format", "median", "p95", "min", "max", "std. dev.", "samples"], metricRows(pair)),
    ...(pair.length === 2 ? ["", ratios(pair)] : []),
    "",
    `![Samples of each metric for ${heads.join(" and ")}](${pictureName(pair)})`,
  ].join("\n");
}

/** What past releases measured. */
function versions(history: readonly HistoryRow[]): string {
  const drawn = ["prefill_tokens_per_second", "decode_tokens_per_second", "first_token_ms", "load_ms"] as const;
  const rows = history.map(({ version, model, provenance: from, medians }) => [
    ...[version, model.name, FORMATS[model.format], `${from.platform.cpu}, ${from.threads} threads, Node ${from.node}`],
    ...drawn.map((metric) => figure(metric, medians[metric])),
  ]);
  return [
    "## By version",
    "",
    "Medians of each release, from `bench/results/history.jsonl`, to which `bitnet release prepare` adds. Lines join versions that were measured on the same processor, with as many threads and the same major version of Node; days differ, so small steps mean little.",
    "",
    "![Medians of each metric over the versions](performance-history.svg)",
    "",
    table(["version", "model", "format", "machine", ...drawn.map((metric) => TITLES[metric])], rows),
  ].join("\n");
}

type Row = readonly [label: string, values: readonly string[]];

/** What was measured and where. */
function environment(pair: Pair): Row[] {
  const row = (label: string, value: (record: PerfRecord) => string): Row => [label, pair.map(value)];
  return [
    row("model", ({ model }) => `${code(model.path)}, ${(model.bytes / 1e6).toFixed(1)} MB`),
    row("SHA-256", ({ provenance: from }) => code(from.model_hash ?? "")),
    row("weights", ({ model }) => `${model.quantisation.linears}, embedding ${model.quantisation.embedding}`),
    row("measured", ({ provenance: from }) => from.date.slice(0, 10)),
    row("load average before", ({ load_average }) => load_average.toFixed(2)),
    row("commit", ({ provenance: from }) =>
      from.git_commit === null ? "none" : `${code(from.git_commit)}${from.git_dirty ? ", changed" : ""}`,
    ),
    row("command", ({ provenance: from }) => code(["bitnet", ...from.cli_args].join(" "))),
  ];
}

/** What should be the same for both formats. */
function conditions(pair: Pair): Row[] {
  const row = (label: string, value: (record: PerfRecord) => string): Row => [label, pair.map(value)];
  return [
    row("parameters", ({ model }) => `${(model.parameters / 1e6).toFixed(1)} million`),
    row("system", ({ provenance: { platform, wsl2 } }) => `${platform.os} ${platform.release} ${platform.arch}${wsl2 ? ", WSL2" : ""}`),
    row("processor", ({ provenance: { platform } }) => `${platform.cpu}, ${platform.cores} cores`),
    row("memory", ({ provenance: { platform } }) => `${(platform.memory_bytes / 2 ** 30).toFixed(1)} GiB`),
    row("Node", ({ provenance: from }) => `${from.node}, V8 ${from.v8}`),
    row("bitnet-ts", ({ provenance: from }) => `${from.package_version}, numerics ${from.numerics_version}`),
    row("kernels", ({ provenance: from }) => `${from.kernel_tier}, ${code(from.kernel_sha256.slice(0, 16))}`),
    row("threads", ({ provenance: from }) => String(from.threads)),
    row("context", ({ settings }) => `${settings.context_length} positions, KV ${settings.kv}, head ${settings.head}`),
    row("work", ({ settings }) => `prompt of ${settings.prompt_tokens} tokens, ${settings.decode_tokens} tokens generated`),
    row("prompts", ({ policy }) => `${policy.prompts}${policy.bos ? ", with BOS" : ", no BOS"}`),
    row(
      "policy",
      ({ policy }) =>
        `temperature ${policy.temperature}, repetition penalty ${policy.repetition_penalty}, ${policy.ignore_eos ? "continues after EOS" : "ends at EOS"}, ${policy.speculate ? "with speculation" : "no speculation"}`,
    ),
    row("runs", ({ settings }) => `${settings.iterations} processes, each with ${settings.warmup} warm-up run`),
    row("seed", ({ provenance: from }) => `${from.seed}${from.deterministic ? ", deterministic environment" : ""}`),
  ];
}

function metricRows(pair: Pair): string[][] {
  return METRIC_NAMES.flatMap((metric) =>
    pair.map(({ model, metrics }) => {
      const { median, p95, min, max, stddev, samples } = metrics[metric];
      const figures = [median, p95, min, max, stddev].map((value) => figure(metric, value));
      return [TITLES[metric], FORMATS[model.format], ...figures, String(samples.length)];
    }),
  );
}

function ratios([safetensors, gguf]: Pair): string {
  if (pairFault(["a", safetensors!], ["b", gguf!]) !== undefined)
    return "The formats were not measured in alternating rounds of one run, so that no ratios are shown: `bitnet perf compare --record` measures them.";
  const rows = metricRatios(safetensors!.metrics, gguf!.metrics, "alternating").map(({ metric, ratio }) => {
    const better = ratio.ratio > 1 === METRICS[metric].more ? FORMATS.safetensors : FORMATS.gguf;
    return [TITLES[metric], METRICS[metric].more ? "more" : "less", ...ratioCells(ratio), showsDifference(ratio) ? better : NO_DIFFERENCE];
  });
  return table(["SafeTensors ÷ GGUF", "better is", "ratio", "95 % interval", "better"], rows);
}

/** A table; columns of which the first row is a figure are aligned right. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;
  const rule = head.map((_, column) => (/^\d+(?:\.\d+)?$/.test(rows[0]?.[column] ?? "") ? "---:" : "---"));
  return [line(head), `|${rule.join("|")}|`, ...rows.map(line)].join("\n");
}

/** Text of a cell: on one line, and no markup of tables or HTML. */
function cell(text: string): string {
  return text.replace(/\s+/g, " ").replaceAll("|", "\\|").replaceAll("<", "&lt;");
}

function code(text: string): string {
  return `\`${text.replaceAll("`", "'")}\``;
}
