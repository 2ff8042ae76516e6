import fc from "fast-check";
import { SaxesParser } from "saxes";
import type { LaneReport, ParityReport } from "../../parity/types.js";
import { EXAMPLES, PROVENANCE } from "../../records/records.test.helper.js";
import { type AcceptanceSummary, type CheckReport, isFailure, sealSummary } from "../seal.js";

const REPORT = EXAMPLES["parity-report"] as unknown as ParityReport;
const FROM = { ...PROVENANCE, schema_version: 1 } as const;

/** A run of some checks, sealed. */
export function runOf(checks: readonly CheckReport[], paths: readonly [string, string] = ["packed", "model.gguf"]): AcceptanceSummary {
  return sealSummary({
    ...{ kind: "acceptance-summary", provenance: FROM, quick: true, checks, artifacts: {} },
    models: paths.map((path) => ({ path, sha256: "ab".repeat(32) })),
    verdict: checks.some(isFailure) ? "FAIL" : "PASS",
  });
}

/** Checks of every outcome. */
export const CHECKS: readonly CheckReport[] = [
  { id: "a.weights", title: "weights are sound", ship: true, status: "PASS", figures: { checks: 14, share: 0.12345 }, seconds: 0.25 },
  { id: "c.weights", title: "same weights", ship: true, status: "FAIL", reason: "the weights differ", seconds: 1.5 },
  { id: "c.oracle", title: "other implementations", ship: true, status: "FAIL", reason: "gates tau", seconds: 2 },
  { id: "d.environment", title: "environment", ship: false, status: "SKIP", reason: "not set" },
  { id: "f.render", title: "page", ship: true, status: "SKIP", reason: "no records", seconds: 0 },
  { id: "g.build", title: "built", ship: true, status: "PASS", reason: "not built again", seconds: 0.001 },
  {
    ...{ id: "g.sources", title: "sources", ship: true, status: "FAIL", reason: "two places", seconds: 0 },
    places: [
      { path: "engine/a b.ts", line: 3, what: "pretends" },
      { path: "cli/x.ts", line: 7, what: "sleeps" },
    ],
  },
];

/** A lane of stored outputs in which the second prompt fails. @param id the second prompt's */
export function laneOf(id = "poem", path = "models/model.gguf"): LaneReport {
  const first = REPORT.lanes[0]!;
  const prompt = first.prompts[0]!;
  return {
    ...first,
    name: "oracle",
    sides: { a: { ...first.sides.a, kernels: "hf-packed" }, b: { ...first.sides.b, path } },
    prompts: [prompt, { ...prompt, id, greedy: "differs", verdict: "FAIL" }],
    margins: { ...first.margins, tau_median: -0.01 },
    ...{ failed: ["tau", "greedy"], verdict: "FAIL" },
  };
}

/** A report of parity in which a tensor and a prompt fail. */
export function parityOf(lanes: readonly LaneReport[] = [laneOf()]): ParityReport {
  return { ...REPORT, provenance: FROM, lanes, verdict: "FAIL" };
}

/** Of a parsed page. */
export interface Element {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: Element[];
  /** In it, and in it and in all that it holds, apart from each other. */
  text: string;
  whole: string;
}

/** Parses XML strictly, with somebody else's parser. */
export function parseXml(text: string): Element {
  const root: Element = { name: "", attributes: {}, children: [], text: "", whole: "" };
  const open = [root];
  const parser = new SaxesParser();
  parser.on("error", (error) => {
    throw error;
  });
  parser.on("opentag", ({ name, attributes }) => {
    const element = { name, attributes, children: [], text: "", whole: "" };
    open.at(-1)!.children.push(element);
    for (const outer of open) outer.whole += " ";
    open.push(element);
  });
  parser.on("text", (more) => {
    open.at(-1)!.text += more;
    for (const element of open) element.whole += more;
  });
  parser.on("closetag", () => {
    for (const element of open) element.whole += " ";
    open.pop();
  });
  parser.write(text).close();
  return root.children[0]!;
}

/** The first child of a name. */
export const find = ({ children }: Element, name: string): Element | undefined => children.find((child) => child.name === name);

/** Strings of everything that breaks markup. */
const HOSTILE = fc.oneof(
  fc.string({ unit: "binary", maxLength: 30 }),
  fc.string({ unit: fc.constantFrom("\ud800", "\udfff", "\0", "\x1b", "\r", "\n", "\t", "\ufffe", "a"), maxLength: 12 }),
  fc.string({ unit: fc.constantFrom("]]>", "<", "&", '"', "'", "|", "`", "\\", "[x](", "<!--", "--", "</script>", "&#0;"), maxLength: 8 }),
);

/** A failing run in which a file has chosen all texts. */
export const HOSTILE_RUN = fc.tuple(HOSTILE, HOSTILE, HOSTILE).map(([reason, name, path]) => {
  const checks = CHECKS.map((check) => (check.reason === undefined ? check : { ...check, reason, figures: { [name]: path } }));
  return { run: runOf(checks, [path, name]), parity: parityOf([laneOf(name, path)]), reason, name, path };
});

/** What XML can hold of a text. */
export const legal = (text: string): string => text.replace(/[^\t\n\r -\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "\ufffd");
