import { readFileSync } from "node:fs";
import { Ajv } from "ajv";
import fc from "fast-check";
import { marked, type Tokens } from "marked";
import { expect, it } from "vitest";
import { CHECKS, find, HOSTILE_RUN, laneOf, legal, parityOf, parseXml, runOf } from "./forms.test.helper.js";
import { junit } from "./junit.js";
import { type Row, rowsOf } from "./rows.js";
import { sarif } from "./sarif.js";
import { summary } from "./summary.js";

const run = runOf(CHECKS);
const rows = rowsOf(run, parityOf());
const FAILED = ["c.weights", "c.oracle", "f.render", "g.sources"];

it("rows are those of the table: outcome, figures as printed, and where the fault is", () => {
  expect(rows.map(({ id }) => id)).toEqual(CHECKS.map(({ id }) => id));
  expect(rows.filter(({ failed }) => failed).map(({ id }) => id)).toEqual(FAILED);
  expect(rows[0]!.figures).toEqual([
    ["checks", "14"],
    ["share", "0.1235"],
  ]);
  expect(rows[4]!.reason).toBe("no records (required for a release: no-go)");
  expect(rows[1]!.places).toEqual([{ name: "token_embd.weight", what: expect.stringContaining("codes must be equal") }]);
  const what = expect.stringMatching(/^prompt poem: τ-b 0\.9900, ΔNLL 1\.0e-4, .*, greedy text: differs$/);
  expect(rows[2]!.places).toEqual([{ path: "models/model.gguf", name: "hf-packed/poem", what }]);
});

it("JUnit: a case for each check, with its time, its figures, and why it failed or was skipped", () => {
  const root = parseXml(junit(rows, run));
  const suite = root.children[0]!;
  expect(root.attributes).toEqual({ name: "bitnet validate", tests: "7", failures: "4", errors: "0", time: "3.751" });
  expect(suite.attributes).toMatchObject({ tests: "7", failures: "4", errors: "0", skipped: "1", timestamp: "2026-11-22T03:04:05" });
  expect(find(suite, "properties")!.children.map(({ attributes: { name } }) => name)).toContain("model_b");
  const cases = suite.children.filter(({ name }) => name === "testcase");
  expect(cases.map(({ attributes: { classname, name, time } }) => [classname, name, time])).toEqual(
    CHECKS.map(({ id, title, seconds = 0 }) => [`bitnet.validate.${id[0]}`, `${id} ${title}`, seconds.toFixed(3)]),
  );
  const outcomes = cases.map(({ children }) => children.map(({ name }) => name).filter((name) => name !== "system-out"));
  expect(outcomes).toEqual([[], ["failure"], ["failure"], ["skipped"], ["failure"], [], ["failure"]]);
  expect(find(cases[0]!, "system-out")!.text).toBe("checks 14\nshare 0.1235");
  expect(find(cases[3]!, "skipped")!.attributes).toEqual({ message: "not set (not required here)" });
  expect(find(cases[6]!, "failure")).toMatchObject({
    attributes: { message: "two places", type: "FAIL" },
    text: "two places\nengine/a b.ts:3 pretends\ncli/x.ts:7 sleeps",
  });
});

it("JUnit is XML whatever a file says, and says it", () => {
  fc.assert(
    fc.property(HOSTILE_RUN, ({ run, parity, reason, name, path }) => {
      const own = rowsOf(run, parity);
      const cases = parseXml(junit(own, run)).children[0]!.children.filter((one) => one.name === "testcase");
      expect(find(cases[3]!, "skipped")!.attributes).toEqual({ message: legal(`${reason} (not required here)`) });
      expect(find(cases[1]!, "failure")!.attributes.message).toBe(legal(reason));
      expect(find(cases[3]!, "system-out")!.text).toBe(legal(`${name} ${path}`));
    }),
  );
});

// The schema is of draft 4, which differs in nothing that it uses but the names of these two.
const {
  $schema: _,
  id: __,
  ...schema
} = JSON.parse(readFileSync("node_modules/@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json", "utf8")) as Record<string, unknown>;
const isSarif = new Ajv({ strict: false, validateFormats: false, unicodeRegExp: false }).compile(schema);

interface Sarif {
  readonly runs: readonly [
    {
      readonly tool: { readonly driver: { readonly rules: readonly { readonly id: string }[] } };
      readonly invocations: readonly [{ readonly exitCode: number; readonly toolExecutionNotifications: readonly object[] }];
      readonly results: readonly SarifResult[];
    },
  ];
}
interface SarifResult {
  readonly ruleId: string;
  readonly ruleIndex: number;
  readonly message: { readonly text: string };
  readonly locations: readonly object[];
}

function parseSarif(own: readonly Row[], of = run): Sarif["runs"][0] {
  const log = JSON.parse(sarif(own, of)) as Sarif;
  isSarif(log);
  expect(isSarif.errors).toBeNull();
  return log.runs[0];
}

it("SARIF: a rule for each check, a result for each place of a failure, by the official schema", () => {
  const { tool, invocations, results } = parseSarif(rows);
  expect(tool.driver.rules.map(({ id }) => id)).toEqual(CHECKS.map(({ id }) => id));
  expect(results.map(({ ruleId }) => ruleId)).toEqual([...FAILED, "g.sources"]);
  for (const { ruleId, ruleIndex } of results) expect(tool.driver.rules[ruleIndex]!.id).toBe(ruleId);
  const uriBaseId = "%SRCROOT%";
  expect(results.map(({ locations }) => locations)).toEqual([
    [
      {
        physicalLocation: { artifactLocation: { uri: "package.json", uriBaseId } },
        logicalLocations: [{ fullyQualifiedName: "token_embd.weight" }],
      },
    ],
    [
      {
        physicalLocation: { artifactLocation: { uri: "models/model.gguf", uriBaseId } },
        logicalLocations: [{ fullyQualifiedName: "hf-packed/poem" }],
      },
    ],
    [{ physicalLocation: { artifactLocation: { uri: "package.json", uriBaseId } } }],
    [{ physicalLocation: { artifactLocation: { uri: "engine/a%20b.ts", uriBaseId }, region: { startLine: 3 } } }],
    [{ physicalLocation: { artifactLocation: { uri: "cli/x.ts", uriBaseId }, region: { startLine: 7 } } }],
  ]);
  expect(results.at(-1)!.message.text).toBe("sources: sleeps");
  expect(invocations).toMatchObject([{ exitCode: 1, executionSuccessful: true }]);
  expect(invocations[0].toolExecutionNotifications).toMatchObject([{ associatedRule: { id: "d.environment", index: 3 }, level: "note" }]);
});

it("SARIF of a run that passed has no results; the schema refuses what is not SARIF", () => {
  const green = runOf(CHECKS.filter(({ status }) => status === "PASS"));
  expect(parseSarif(rowsOf(green), green)).toMatchObject({ results: [], invocations: [{ exitCode: 0, toolExecutionNotifications: [] }] });
  const log = JSON.parse(sarif(rows, run)) as { runs: [{ results: [{ level: string }] }] };
  log.runs[0].results[0].level = "fatal";
  expect(isSarif(log)).toBe(false);
});

it("SARIF matches its schema whatever a file says, and is UTF-8", () => {
  fc.assert(
    fc.property(HOSTILE_RUN, ({ run, parity }) => {
      const { results } = parseSarif(rowsOf(run, parity), run);
      expect(JSON.stringify(results)).not.toMatch(/\\ud[89a-f]/);
    }),
  );
});

/** The tables of a page, as GitHub would show them: texts of the cells. */
function tables(markdown: string): string[][][] {
  const found = marked.lexer(markdown, { gfm: true }).filter((token): token is Tokens.Table => token.type === "table");
  return found.map(({ rows: all }) => all.map((cells) => cells.map(({ tokens }) => marked.parser([{ type: "text", tokens } as never]))));
}

const decode = (html: string): string =>
  html
    .replace(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)))
    .replace(/&(lt|gt|amp|quot);/g, (_, name: "lt") => ({ lt: "<", gt: ">", amp: "&", quot: '"' })[name]);

it("Markdown: the verdict, a row for each check, and each gate with its margin", () => {
  const text = summary(rows, run, parityOf());
  expect(text).toMatch(
    /^\n## bitnet validate: FAIL\n\n4 of 7 checks failed\. bitnet-ts 0\.1\.0, commit 8db1dd7e1b24, Node v20\.20\.2, quick run, /,
  );
  const [checks, gates] = tables(text);
  expect(checks!.map(([status, id, , figures, seconds]) => [status, id, figures, seconds])).toEqual([
    ["PASS", "a.weights", "checks 14, share 0.1235", "0.3"],
    ["<strong>FAIL</strong>", "c.weights", "", "1.5"],
    ["<strong>FAIL</strong>", "c.oracle", "", "2.0"],
    ["SKIP", "d.environment", "", ""],
    ["<strong>SKIP</strong>", "f.render", "", "0.0"],
    ["PASS", "g.build", "", "0.0"],
    ["<strong>FAIL</strong>", "g.sources", "", "0.0"],
  ]);
  expect(checks![6]![2]).toBe("sources<br>two places");
  expect(gates!.map((cells) => cells.map(decode))).toEqual([
    ["oracle hf-packed", "τ-b, median of a prompt", "<strong>0.9400</strong>", "≥ 0.9500", "-0.01000", "0.04000"],
    ["oracle hf-packed", "|ΔNLL| of a prompt", "1.0e-4", "≤ 0.01000", "9.9e-3", "9.9e-3"],
    ["oracle hf-packed", "|ΔNLL|, mean of all", "1.0e-4", "≤ 5.0e-3", "4.9e-3", "4.9e-3"],
    ["oracle hf-packed", "KL divergence, mean of a prompt", "1.0e-3", "≤ 0.01000", "9.0e-3", "9.0e-3"],
    ["oracle hf-packed", "KL divergence at a position", "<strong>none</strong>", "≤ 0.1000", "none", "none"],
  ]);
  expect(summary(rows, run)).not.toContain("### Parity");
});

it("Markdown shows what a file says as text, in its cell", () => {
  fc.assert(
    fc.property(HOSTILE_RUN, ({ run, parity, reason }) => {
      const [checks, gates] = tables(summary(rowsOf(run, parity), run, parity));
      expect([checks!.length, gates!.length]).toEqual([7, 5]);
      const flat = (text: string): string =>
        text
          .replace(/\s+/g, " ")
          .replace(/[\p{Cc}\p{Surrogate}]/gu, "\ufffd")
          .trim();
      expect(flat(decode(checks![3]![2]!))).toBe(flat(`environment<br>${reason} (not required here)`));
      expect(checks![3]![2]).not.toMatch(/<(?!br>)/);
    }),
  );
});

it("Markdown stays below GitHub's limit of 1 MiB", () => {
  const long = "<|>".repeat(2 ** 18);
  const checks = Array.from({ length: 40 }, (_, i) => ({ ...CHECKS[1]!, id: `c.n${i}`, reason: long, figures: { [long]: long } }));
  const many = runOf(checks, [long, long]);
  expect(Buffer.byteLength(summary(rowsOf(many), many, parityOf([laneOf(long, long)])))).toBeLessThan(2 ** 20);
});
