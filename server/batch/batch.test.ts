import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model } from "../../engine/index.js";
import { THOROUGH } from "../../engine/thorough.test.helper.js";
import { createHandler, type Handler } from "../handler.js";
import { answerLine } from "./answer.js";
import { BITNET, requestLines, sha256, start } from "./batch.test.helper.js";
import { inOrder } from "./in-order.js";
import { Known } from "./known.js";
import { digestOf } from "./lines.js";
import { undated } from "./reproducible.js";
import { readBatchLine, resultLine } from "./request.js";
import { type BatchOptions, runBatch } from "./run.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-batch-"));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;
const newFile = (content?: string | Uint8Array): string => {
  const path = join(folder, `${files++}.jsonl`);
  if (content !== undefined) writeFileSync(path, content);
  return path;
};

/** A worker that needs no model. */
const echo: BatchOptions["work"] = async (line) =>
  resultLine(line, "code" in line.request ? line.request : { status: 200, requestId: "req", body: line.request.body });

const lineOf = (text: string) =>
  readBatchLine({ bytes: Buffer.from(text), length: Buffer.byteLength(text), digest: digestOf(Buffer.from(text)) });
const request = (id: unknown, more: object = {}): string =>
  JSON.stringify({ custom_id: id, method: "POST", url: "/v1/completions", body: { prompt: "The dog" }, ...more });

describe("with the embedded model", () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(undefined, { threads: 1 });
  });
  afterAll(() => model.close());
  const handlerOf = (): Handler => createHandler(new Map([["bitnet-stories-4m", undated(model)]]));

  it("a batch that was killed again and again has the bytes of one that was not", async () => {
    const lines = requestLines(120);
    const requests = newFile(`${lines.join("\n")}\n`);
    const out = newFile();
    let killed = 0;
    for (let run = 0; run < (THOROUGH ? 6 : 3); run++) {
      const before = existsSync(out) ? statSync(out).size : 0;
      const { child, ended } = start(BITNET, "batch", requests, "--out", out, "--threads", "1");
      while (child.exitCode === null && !(existsSync(out) && statSync(out).size > before)) await sleep(2);
      await sleep(100 * Math.random());
      child.kill("SIGKILL");
      if ((await ended) === null) killed++;
    }
    expect(killed).toBeGreaterThan(0);
    const last = start(BITNET, "batch", requests, "--out", out, "--threads", "1");
    expect(await last.ended, last.stderr()).toBe(14);

    const undisturbed = newFile();
    const handler = handlerOf();
    const summary = await runBatch({ requests, out: undisturbed, window: 7, work: (line) => answerLine(handler, line) });
    expect(sha256(out)).toBe(sha256(undisturbed));
    expect(last.stderr()).toContain(`${summary.answered} answered, ${summary.failed} with an error`);
    const results = readFileSync(out, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(results).toHaveLength(lines.length);
    expect(results.map(({ custom_id }) => custom_id)).toEqual(lines.map((line) => lineOf(line).customId));
    expect(summary.answered).toBe(results.filter(({ response }) => response?.status_code === 200).length);
    expect(existsSync(`${out}.lock`)).toBe(false);
  });

  it("an answer does not depend on what was computed before it", async () => {
    const first = { messages: [{ role: "user", content: "Tell me a story." }], max_tokens: 12, seed: 1 };
    const one = lineOf(request("first", { url: "/v1/chat/completions", body: first }));
    const used = handlerOf();
    const { content } = JSON.parse(await answerLine(used, one)).response.body.choices[0].message;
    const messages = [...first.messages, { role: "assistant", content }, { role: "user", content: "And then?" }];
    const second = lineOf(request("second", { url: "/v1/chat/completions", body: { messages, max_tokens: 8 } }));
    const after = await answerLine(used, second);
    const fresh = await loadModel(undefined, { threads: 1 });
    try {
      expect(after).toBe(await answerLine(createHandler(new Map([["bitnet-stories-4m", undated(fresh)]])), second));
      // The prompt is that of the text, encoded anew.
      const prompt = fresh.tokenizer.encode((await fresh.chatTemplate!.render(messages, { addGenerationPrompt: true })) as string, {
        bos: false,
      });
      expect(JSON.parse(after).response.body.usage.prompt_tokens).toBe(prompt.length);
    } finally {
      await fresh.close();
    }
  });

  it("requests without a seed differ from each other, and are the same in every run", async () => {
    const lines = ["a", "b"].map((id) => lineOf(request(id, { body: { prompt: "Once", max_tokens: 20, temperature: 1 } })));
    const texts = async () =>
      Promise.all(lines.map(async (line) => JSON.parse(await answerLine(handlerOf(), line)).response.body.choices[0].text));
    const [one, other] = await texts();
    expect(one).not.toBe(other);
    expect(await texts()).toEqual([one, other]);
  });
});

describe("results", () => {
  it("are the same from wherever a file was cut off, and nothing is done twice", async () => {
    const lines = requestLines(40);
    const requests = newFile(lines.join("\r\n"));
    const whole = newFile();
    await runBatch({ requests, out: whole, window: 5, work: echo });
    const bytes = readFileSync(whole);
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length), fc.integer({ min: 1, max: 60 }), async (cut, window) => {
        const out = newFile(bytes.subarray(0, cut));
        let worked = 0;
        const work: BatchOptions["work"] = (line) => {
          worked++;
          return echo(line);
        };
        await runBatch({ requests, out, window, work });
        expect(readFileSync(out).equals(bytes)).toBe(true);
        const kept = bytes.subarray(0, cut).toString("latin1").split("\n").length - 1;
        expect(worked).toBe(lines.length - kept);
      }),
      { numRuns: 60 },
    );
  });

  it("of other requests are refused, and left as they are", async () => {
    const requests = newFile(`${request("a")}\n${request("b")}\n`);
    const out = newFile();
    await runBatch({ requests, out, window: 2, work: echo });
    const before = sha256(out);
    for (const other of [
      `${request("b")}\n${request("a")}\n`,
      `${request("a")}\n`,
      `${request("a", { body: { prompt: "x" } })}\n${request("b")}\n`,
      "",
    ]) {
      await expect(runBatch({ requests: newFile(other), out, window: 2, work: echo })).rejects.toThrow(/is not the result of request [12]/);
      expect(sha256(out)).toBe(before);
    }
    const letter = newFile("Dear Sir,\nthis is no result\n");
    await expect(runBatch({ requests, out: letter, window: 2, work: echo })).rejects.toThrow("line 1 of");
    expect(readFileSync(letter, "utf8")).toContain("Dear Sir");
    await expect(runBatch({ requests, out: requests, window: 2, work: echo })).rejects.toThrow("another file than the requests");
    await expect(runBatch({ requests: folder, out, window: 2, work: echo })).rejects.toThrow("not a regular file");
    await expect(runBatch({ requests: join(folder, "none"), out, window: 2, work: echo })).rejects.toThrow("no such file");
  });

  it("are written by one run at a time", async () => {
    const requests = newFile(`${request("a")}\n`);
    const out = newFile();
    writeFileSync(`${out}.lock`, `1 elsewhere\n`);
    await expect(runBatch({ requests, out, window: 2, work: echo })).rejects.toThrow("process 1 on elsewhere is writing");
    rmSync(`${out}.lock`);
    await runBatch({ requests, out, window: 2, work: echo });
  });

  it("keep what was done when the work fails", async () => {
    const requests = newFile(`${["a", "b", "c"].map((id) => request(id)).join("\n")}\n`);
    const out = newFile();
    const work: BatchOptions["work"] = async (line) => {
      if (line.customId === "b") throw new Error("broken");
      return echo(line);
    };
    await expect(runBatch({ requests, out, window: 3, work })).rejects.toThrow("broken");
    expect(readFileSync(out, "utf8").split("\n")).toHaveLength(2);
    expect(await runBatch({ requests, out, window: 3, work: echo })).toEqual({ answered: 3, failed: 0 });
  });
});

it("a byte order mark at the beginning is no mistake, and part of the line that workers get", async () => {
  const line = `\ufeff${request("a")}`;
  const texts: string[] = [];
  const work = async (one: Parameters<typeof echo>[0]): Promise<string> => {
    texts.push(one.text);
    return echo(one);
  };
  expect(await runBatch({ requests: newFile(`${line}\n`), out: newFile(), window: 1, work })).toEqual({ answered: 1, failed: 0 });
  expect(texts).toEqual([line]);
});

describe("a line that is not right gets a result with an error", () => {
  it.each([
    ["{", "not valid JSON"],
    ["[]", "must be a JSON object"],
    ["null", "must be a JSON object"],
    [request(5), "custom_id must be a string"],
    [request(""), "custom_id must be a string"],
    [request("x".repeat(513)), "custom_id must be a string"],
    [request("a", { method: "GET" }), "method must be"],
    [request("a", { url: "/v1/models" }), "url must be one of"],
    [request("a", { body: [] }), "body must be an object"],
    [request("a", { body: { stream: true } }), "stream can't be true"],
  ])("%s", async (line, says) => {
    const requests = newFile(`${line}\n${request("right")}\n\n`);
    const out = newFile();
    expect(await runBatch({ requests, out, window: 2, work: echo })).toEqual({ answered: 1, failed: 1 });
    const [wrong, right] = readFileSync(out, "utf8")
      .split("\n")
      .map((text) => text && JSON.parse(text));
    expect(wrong.response).toBeNull();
    expect(wrong.error.message).toContain(says);
    expect(right.custom_id).toBe("right");
  });

  it("also one that is too long, or not UTF-8, or whose custom_id came before", async () => {
    const long = request("long", { body: { prompt: "x".repeat(9 * 2 ** 20) } });
    const requests = newFile(
      Buffer.concat([Buffer.from(`${long}\n${request("a")}\n${request("a")}\n"`), Buffer.of(0xff), Buffer.from('"')]),
    );
    const out = newFile();
    expect(await runBatch({ requests, out, window: 2, work: echo })).toEqual({ answered: 1, failed: 3 });
    const errors = readFileSync(out, "utf8")
      .trimEnd()
      .split("\n")
      .map((text) => JSON.parse(text).error?.message);
    expect(errors).toEqual([
      expect.stringContaining("bytes, which is the limit"),
      undefined,
      expect.stringContaining("same custom_id"),
      expect.stringContaining("UTF-8"),
    ]);
  });
});

it("results come in the order of the items, and no more are at work than there is room for", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ size: fc.integer({ min: 1, max: 9 }), turns: fc.nat(5) }), { maxLength: 40 }),
      fc.integer({ min: 1, max: 8 }),
      async (list, items) => {
        const handed: number[] = [];
        let going = 0;
        let bytes = 0;
        async function* source() {
          yield* list.entries();
        }
        await inOrder<[number, (typeof list)[number]], number>(
          source(),
          { items, size: 20, sizeOf: ([, { size }]) => size },
          async ([index, { size, turns }]) => {
            expect(++going).toBeLessThanOrEqual(items);
            bytes += size;
            expect(bytes).toBeLessThanOrEqual(20);
            for (let turn = 0; turn < turns; turn++) await Promise.resolve();
            return index;
          },
          async ([index, { size }], result) => {
            expect(result).toBe(index);
            handed.push(index);
            going--;
            bytes -= size;
          },
        );
        expect(handed).toEqual(list.map((_, i) => i));
      },
    ),
  );
});

it("knows the texts that came before, and no others", () => {
  const known = new Known();
  for (let i = 0; i < 5000; i++) expect(known.add(`text ${i}`)).toBe(true);
  for (let i = 0; i < 5000; i++) expect(known.add(`text ${i}`)).toBe(false);
  expect(known.add("text")).toBe(true);
});
