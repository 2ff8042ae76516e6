import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { CHROMIUM, Pages } from "./web.test.helper.js";

// Downloads into the storage of a page's origin, from a server that fails in every way.

const BYTES = randomBytes(3_000_000);
const SHA256 = createHash("sha256").update(BYTES).digest("hex");
const PIECE = 100_000;

/** What a server does with a file. */
interface Habits {
  /** Bytes after which each connection is cut. */
  readonly cutAfter?: number;
  /** Answers ranges. Default true. */
  readonly ranges?: boolean;
  readonly status?: number;
  readonly bytes?: Buffer;
  readonly tag?: string;
  /** What it says that the file's length is. */
  readonly length?: number;
  /** Milliseconds between pieces. */
  readonly pause?: number;
}

let habits: Habits = {};
/** First byte that each request asked for. */
let asked: number[] = [];
let sent = 0;
let onSent: () => void = () => {};

function answer(request: IncomingMessage, response: ServerResponse): boolean {
  if (!request.url!.startsWith("/file")) return false;
  const { cutAfter = Infinity, ranges = true, status, bytes = BYTES, tag = '"one"', length, pause = 0 } = habits;
  const [, from] = /^bytes=(\d+)-$/.exec(request.headers.range ?? "") ?? [];
  const first = ranges ? Number(from ?? 0) : 0;
  asked.push(Number(from ?? 0));
  if (status !== undefined) {
    response.writeHead(status).end();
    return true;
  }
  response.setHeader("etag", tag);
  response.setHeader("content-length", length ?? bytes.length - first);
  if (ranges && from !== undefined) response.writeHead(206, { "content-range": `bytes ${first}-${bytes.length - 1}/${bytes.length}` });
  let at = first;
  const next = (): void => {
    if (response.destroyed) return;
    if (at - first >= cutAfter) return void response.socket!.end(); // what was sent arrives: a reset would take some of it away
    if (at >= bytes.length) return void response.end();
    response.write(bytes.subarray(at, at + PIECE), () => setTimeout(next, pause));
    at += PIECE;
    sent += PIECE;
    onSent();
  };
  next();
  return true;
}

// Without a browser there is nothing to store in; CI installs one.
describe.runIf(CHROMIUM !== undefined)("downloads in Chromium", () => {
  let pages: Pages;
  let profile = "";
  beforeEach(async () => {
    [habits, asked, sent, onSent] = [{}, [], 0, () => {}];
    pages = await Pages.open({ isolated: true, answer });
    profile = mkdtempSync(join(tmpdir(), "bitnet-browser-"));
  });
  afterEach(() => pages.close());
  const profiles: string[] = [];
  afterEach(() => profiles.push(profile));
  afterAll(() => {
    for (const folder of profiles) rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  });

  const IMPORT = `const { download, listDownloads, removeDownload } = await import("/dist/bundle/web.js");`;
  const DOWNLOAD = `${IMPORT} return download("/file").then((entry) => entry, ({ code, message }) => ({ code, message }));`;
  const run = <T>(program: string, until?: Promise<unknown>) => pages.run<T>(CHROMIUM!, program, profile, until);
  const whole = expect.objectContaining({ size: BYTES.length, done: BYTES.length, sha256: SHA256 });

  it("go on where a cut connection ended", async () => {
    habits = { cutAfter: 1_000_000, pause: 5 };
    expect(await run(DOWNLOAD)).toEqual(whole);
    expect(asked.length).toBeGreaterThan(2);
    expect(asked).toEqual(asked.toSorted((a, b) => a - b));
    expect(asked[0]).toBe(0);
    expect(asked[1]).toBeGreaterThan(0);
  });

  it("go on after the browser was killed, and are not asked for again once they are whole", async () => {
    habits = { pause: 30 };
    for (const least of [1_000_000, 2_000_000]) {
      const enough = new Promise<void>((resolve) => {
        onSent = () => sent > least && resolve();
      });
      await run(DOWNLOAD, enough);
      await new Promise((resolve) => setTimeout(resolve, 100 + 200 * Math.random()));
    }
    habits = {};
    expect(await run(DOWNLOAD)).toEqual(whole);
    expect(Math.max(...asked)).toBeGreaterThan(0);
    habits = { status: 503 }; // offline, as it were
    const before = asked.length;
    expect(await run(DOWNLOAD)).toEqual(whole);
    expect(asked.length).toBe(before);
  });

  it("begin again where the server has another file by now, or answers no ranges", async () => {
    const other = randomBytes(2_000_000);
    const enough = (): Promise<void> =>
      new Promise((resolve) => {
        onSent = () => sent > 1_000_000 && resolve();
      });
    habits = { pause: 30 };
    await run(DOWNLOAD, enough());
    habits = { bytes: other, tag: '"two"' };
    const sha256 = createHash("sha256").update(other).digest("hex");
    expect(await run(DOWNLOAD)).toMatchObject({ size: other.length, sha256 });
    await run(`${IMPORT} return removeDownload("/file");`);
    sent = 0;
    habits = { pause: 30, ranges: false };
    await run(DOWNLOAD, enough());
    habits = { ranges: false };
    expect(await run(DOWNLOAD)).toEqual(whole);
  });

  it("end in one sentence: no such file, a server that fails, too little room, another file than was asked for", async () => {
    habits = { status: 404 };
    expect(await run(DOWNLOAD)).toEqual({
      code: "usage",
      message: expect.stringMatching(/^http:.*\/file: there is no such file on the server$/),
    });
    habits = { status: 500 };
    expect(await run(DOWNLOAD)).toEqual({ code: "io", message: expect.stringMatching(/^http:.*\/file: the server answers 500$/) });
    expect(asked.length).toBe(6);
    habits = { length: 2 ** 50 };
    expect(await run(DOWNLOAD)).toEqual({
      code: "io",
      message: expect.stringMatching(/can't be stored: it needs 1073741\d* MiB more, and the browser gives this page only \d+ MiB/),
    });
    habits = {};
    const wrong = `${IMPORT} return download("/file", { sha256: "${"0".repeat(64)}" }).then((entry) => entry, async ({ code, message }) => ({ code, message, left: await listDownloads() }));`;
    expect(await run(wrong)).toEqual({
      code: "file",
      message: expect.stringMatching(/has the SHA-256 [0-9a-f]{64}, not 0{64}: it is another file, and was removed$/),
      left: [],
    });
  });

  it("are listed, aborted and removed", async () => {
    habits = { pause: 30 };
    const result = await run(`${IMPORT}
      const controller = new AbortController();
      const seen = [];
      const onProgress = ({ done, total }) => { seen.push([done, total]); if (done > 500000) controller.abort("enough"); };
      const reason = await download("/file", { onProgress, signal: controller.signal }).catch((reason) => reason);
      const [part] = await listDownloads();
      const removed = [await removeDownload("/file"), await removeDownload("/file")];
      return { reason, seen, part, removed, left: await listDownloads() };`);
    expect(result).toMatchObject({ reason: "enough", removed: [true, false], left: [] });
    const { seen, part } = result as { seen: [number, number][]; part: { done: number; size: number } };
    expect(seen.at(-1)![1]).toBe(BYTES.length);
    expect(part.done).toBeGreaterThan(500_000);
    expect(part.size).toBe(BYTES.length);
  });

  it("can be removed as soon as the model that was loaded from them is closed, and not before", async () => {
    const result = await run(`const { loadModel, listDownloads, removeDownload } = await import("/dist/bundle/web.js");
      const model = await loadModel("/models/bitnet-stories-4m/ggml-model-i2_s.gguf", { head: "two-stage" });
      const { path } = model;
      const early = await removeDownload(path).catch(({ message }) => message);
      await model.close();
      return { early, removed: await removeDownload(path), left: await listDownloads() };`);
    expect(result).toEqual({ early: expect.stringMatching(/ can't be removed: it is in use; close the models /), removed: true, left: [] });
  });
});
