import { appendFileSync, copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model } from "../../engine/index.js";
import { temporaryDirectory } from "../end-to-end/derive.test.helper.js";
import { readRecord } from "../records/records.js";
import { type EvalRecord, type EvaluationOptions, evaluateChoices, evaluateText, RECORD_FILE, RESULTS_FILE } from "./evaluate.js";
import type { ChoiceFigures, TextFigures } from "./figures.js";
import { encodePair, readItems } from "./items.js";

const TASKS = "models/bitnet-stories-4m/tasks.jsonl";
const items = readItems(readFileSync(TASKS, "utf8"), TASKS);

interface Golden {
  readonly rows: readonly {
    readonly id: string;
    readonly pairs: readonly { readonly ids: readonly number[]; readonly first: number }[];
    readonly loglikelihoods: readonly number[];
    readonly acc: boolean;
    readonly acc_norm: boolean;
  }[];
  readonly figures: ChoiceFigures;
}
// The network once more in numpy: evaluation.py beside it.
const { golden } = JSON.parse(readFileSync("validation/fixtures/evaluation.json", "utf8")) as { readonly golden: Golden };

const directory = temporaryDirectory();
afterAll(directory.remove);
let model: Model;
beforeAll(async () => {
  model = await loadModel(undefined, { contextLength: 256 });
});
afterAll(() => model.close());

const folder = (name: string): string => join(directory.path, name);
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

function options(out: string | undefined, bytes: Uint8Array, more: Partial<EvaluationOptions> = {}): EvaluationOptions {
  return {
    ...{ model, modelPath: undefined, kv: "f32", files: {}, input: { path: "in", bytes }, out, receipts: false },
    ...{ cliArgs: ["eval"], deterministic: false, date: new Date(0), ...more },
  };
}

const choices = (out: string | undefined, of = items, more: Partial<EvaluationOptions> = {}): Promise<EvalRecord> =>
  evaluateChoices({ ...options(out, readFileSync(TASKS), more), items: of });

describe("multiple choice", () => {
  it("is what numpy makes of the same network: every choice near, every accuracy the same", async () => {
    const record = await choices(folder("golden"), items, { receipts: true });
    expect(record.figures).toEqual({
      ...golden.figures,
      acc_stderr: expect.closeTo(golden.figures.acc_stderr!, 12),
      acc_norm_stderr: expect.closeTo(golden.figures.acc_norm_stderr!, 12),
    });
    const [head, ...lines] = readFileSync(join(folder("golden"), RESULTS_FILE), "utf8")
      .trim()
      .split("\n");
    expect(JSON.parse(head!)).toMatchObject({ evaluation: "choices", numerics_version: 1, receipts: true });
    const differences: number[] = [];
    for (const [i, line] of lines.entries()) {
      const { id, pairs, loglikelihoods, acc, acc_norm } = golden.rows[i]!;
      const result = JSON.parse(line) as { readonly loglikelihoods: readonly number[]; readonly tokens: readonly object[] };
      expect(result).toMatchObject({ id, acc, acc_norm, truncated: 0, tokens: pairs });
      for (const [k, right] of loglikelihoods.entries()) differences.push(Math.abs(result.loglikelihoods[k]! - right));
    }
    // A code that is rounded the other way moves a choice by hundredths; most have none.
    differences.sort((a, b) => a - b);
    expect(differences[differences.length >> 1]).toBeLessThan(1e-5);
    expect(differences.at(-1)).toBeLessThan(0.2);
    expect(await readRecord<EvalRecord>(join(folder("golden"), RECORD_FILE), "eval-record")).toEqual(record);
  });

  it("goes on behind the last whole result, and comes to the same bytes", async () => {
    await choices(folder("whole"), items.slice(0, 8));
    const whole = readFileSync(join(folder("whole"), RESULTS_FILE), "utf8");
    const cut = join(folder("cut"), RESULTS_FILE);
    mkdirSync(folder("cut"));
    const seen: number[] = [];
    for (const torn of ["", '{"id":"story-05","loglik']) {
      writeFileSync(cut, whole.split("\n").slice(0, 5).join("\n"));
      appendFileSync(cut, `\n${torn}`);
      await choices(folder("cut"), items.slice(0, 8), { onProgress: (done) => seen.push(done) });
      expect(readFileSync(cut, "utf8")).toBe(whole);
    }
    expect(seen).toEqual([4, 5, 6, 7, 8, 4, 5, 6, 7, 8]);
    truncateSync(cut, 0); // killed before its first line
    await choices(folder("cut"), items.slice(0, 8));
    expect(readFileSync(cut, "utf8")).toBe(whole);
  });

  it("refuses a folder of another evaluation, and says what differs", async () => {
    mkdirSync(folder("other"));
    copyFileSync(join(folder("golden"), RESULTS_FILE), join(folder("other"), RESULTS_FILE));
    const refused = async (made: Promise<unknown>, said: RegExp) =>
      expect(made).rejects.toMatchObject({ code: "usage", message: expect.stringMatching(said) });
    await refused(
      choices(folder("other")),
      /has results of another evaluation, receipts is true in it, but false now: remove the file, or/,
    );
    await refused(evaluateText(options(folder("other"), readFileSync(TASKS))), /evaluation is "choices" in it, but "text" now/);
    writeFileSync(join(folder("other"), RESULTS_FILE), "no\n");
    await refused(choices(folder("other")), /line 1 is not a result/);
  });

  it("joins with one space, gives spaces of the query to the choice, and cuts what is too long at its beginning", async () => {
    const { tokenizer } = model;
    const pair = encodePair(tokenizer, "The dog  ", "barks");
    expect(tokenizer.decode(pair.ids.slice(pair.first))).toBe("   barks");
    expect(encodePair(tokenizer, "The dog", "barks").ids).toEqual(tokenizer.encode("The dog barks"));
    const long = `${"word ".repeat(300)}The dog began to`;
    const record = await choices(undefined, [{ id: "long", query: long, choices: ["bark", "read"], gold: 0 }]);
    expect(record).toMatchObject({ policy: { truncated: 2 }, figures: { items: 1, acc: 1, acc_stderr: null } });
    await expect(choices(undefined, [{ id: "x", query: "a", choices: ["b", "word ".repeat(300)], gold: 0 }])).rejects.toMatchObject({
      message: expect.stringMatching(/^item "x": the choice .* alone is longer than the context of 256 tokens$/),
    });
  });

  it.each([
    ["{", /^f: line 2 is not JSON$/],
    ["[]", /^f: line 2 has no query/],
    ['{"query":1}', /^f: line 2 has no query/],
    ['{"query":"a","choices":["b"]}', /^f: line 2 has no choices/],
    ['{"query":"a","choices":["b",""]}', /^f: line 2 has no choices/],
    ['{"query":"a","choices":["b","c"],"gold":2}', /^f: line 2 has no gold, which must be the index of a choice, 0 to 1$/],
    ['{"query":"a","choices":["b","c"],"gold":0,"id":{}}', /^f: line 2 has an id/],
  ])("refuses the line %s", (line, said) => {
    expect(() => readItems(`\n${line}\n`, "f")).toThrow(expect.objectContaining({ code: "usage", message: expect.stringMatching(said) }));
    expect(() => readItems("\n \n", "f")).toThrow("there is no item in the file");
  });
});

const STORY = "Tom had a red kite. It was the best kite in the whole town. One windy day he took it to the hill. ".repeat(4);

describe("perplexity", () => {
  it("of one window is the score of the text", async () => {
    const { figures, policy } = await evaluateText({ ...options(undefined, bytesOf(STORY)), window: 256, stride: 100 });
    const { nll, perplexity } = await model.score(STORY);
    expect(figures).toMatchObject({ tokens: nll.length, bytes: STORY.length, perplexity: expect.closeTo(perplexity, 9) });
    expect(policy).toEqual({ window: 256, stride: 100, max_tokens: null, bos: true });
  });

  it("of several windows is that of each one's new tokens, with what they share as context", async () => {
    const ids = model.tokenizer.encode(STORY);
    const [window, stride] = [33, 10];
    const nll: number[] = [];
    for (let from = 0, scored = 0; scored < ids.length - 1; from += stride) {
      const fed = [ids[0]!, ...ids.slice(1 + from, 1 + from + window - 1)];
      const all = (await model.score(fed)).nll;
      nll.push(...all.slice(scored - from));
      scored = from + fed.length - 1;
    }
    const out = folder("windows");
    const { figures } = await evaluateText({ ...options(out, bytesOf(STORY)), window, stride });
    const mean = nll.reduce((sum, value) => sum + value, 0) / nll.length;
    expect(figures).toMatchObject({ tokens: ids.length - 1, bytes: STORY.length, mean_nll: expect.closeTo(mean, 12) });
    // A part of it, and the rest after a stop: the same record.
    const lines = readFileSync(join(out, RESULTS_FILE), "utf8").split("\n");
    writeFileSync(join(out, RESULTS_FILE), `${lines.slice(0, 3).join("\n")}\n`);
    expect((await evaluateText({ ...options(out, bytesOf(STORY)), window, stride })).figures).toEqual(figures);
    expect(readFileSync(join(out, RESULTS_FILE), "utf8").split("\n")).toEqual(lines);
  });

  it("of some tokens counts their bytes alone, and refuses windows without context", async () => {
    const text = "Äpfel und Birnen 🙂 in the garden.";
    const { figures } = await evaluateText({ ...options(undefined, bytesOf(text)), maxTokens: 9 });
    const some = model.tokenizer.encode(text, { bos: false }).slice(0, 9);
    expect((figures as TextFigures).bytes).toBe(model.tokenizer.decodeBytes(some, { special: true }).length);
    for (const [more, said] of [
      [{ window: 300 }, "--window is 300, but the context only 256"],
      [{ window: 20, stride: 20 }, "--stride must be at most 19"],
    ] as const)
      await expect(evaluateText({ ...options(undefined, bytesOf(text)), ...more })).rejects.toMatchObject({
        code: "usage",
        message: expect.stringContaining(said),
      });
    await expect(evaluateText(options(undefined, bytesOf("")))).rejects.toMatchObject({ message: "in: there is no token to score" });
  });
});
