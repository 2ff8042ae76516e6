import { type ChildProcess, spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { afterEach, describe, expect, it } from "vitest";
import { THOROUGH } from "../engine/thorough.test.helper.js";

// The command in a process of its own: how it starts, what it says, and how it ends.

const KEY = "from the environment";
const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

interface Served {
  readonly child: ChildProcess;
  readonly url: string;
  readonly client: OpenAI;
  /** What it has said so far. */
  readonly stderr: () => string;
  /** Its exit code, once it has ended. */
  readonly ended: Promise<number | null>;
}

function start(args: readonly string[], env: Readonly<Record<string, string>> = {}): Omit<Served, "url" | "client"> {
  const child = spawn(process.execPath, ["dist/bundle/bitnet.cjs", "serve", "--threads", "2", ...args], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "inherit", "pipe"],
  });
  children.push(child);
  let stderr = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  return { child, stderr: () => stderr, ended: new Promise((resolve) => child.once("close", resolve)) };
}

async function serving(...args: readonly string[]): Promise<Served> {
  const started = start(["--port", "0", ...args], { BITNET_API_KEY: KEY });
  let url: string | undefined;
  for (; url === undefined; url = /at (http:\S+);/.exec(started.stderr())?.[1]) {
    if (started.child.exitCode !== null) throw new Error(`it ended: ${started.stderr()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return { ...started, url, client: new OpenAI({ baseURL: `${url}/v1`, apiKey: KEY, maxRetries: 0 }) };
}

const MODEL = "bitnet-stories-4m";

it("has a cache as large as told", async () => {
  const { url } = await serving("--ctx", "64", "--cache-tokens", "600");
  const text = await (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${KEY}` } })).text();
  expect(text).toMatch(/^bitnet_cache_size_tokens\{.*\} 608$/m); // whole blocks of 32
});

describe("SIGTERM", () => {
  it("loses no answer that was accepted, ends streams with a finish reason, and exits with 0", async () => {
    const { client, child, ended, url, stderr } = await serving("--parallel", "4");
    const requests = Array.from({ length: 30 }, (_, i) => ({ model: MODEL, prompt: "The dog", max_tokens: 20 + i, seed: i }));
    const alone = [];
    for (const request of requests) alone.push((await client.completions.create(request)).choices[0]!.text);
    const streamed = Array.from({ length: 10 }, async (_, seed) => {
      const stream = await client.completions.create({ model: MODEL, prompt: "The cat", max_tokens: 60, seed, stream: true });
      let reason: string | undefined;
      for await (const { choices } of stream) reason = choices[0]?.finish_reason ?? reason;
      return reason;
    });
    const going = requests.map((request) => client.completions.create(request));
    let finished = 0; // before the signal, on a slow machine
    const all: readonly Promise<unknown>[] = [...streamed, ...going];
    for (const one of all) void one.then(() => finished++);
    /** Those that the server has accepted; what ends while it is asked may be missing. */
    const accepted = async (): Promise<number> => {
      const before = finished;
      const text = await (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${KEY}` } })).text();
      return [...text.matchAll(/^bitnet_(?:running|waiting)\{.*\} (\d+)$/gm)].reduce((sum, [, count]) => sum + Number(count), before);
    };
    while ((await accepted()) < 40) await new Promise((resolve) => setTimeout(resolve, 1));
    child.kill("SIGTERM");
    const isServing = (): Promise<boolean> =>
      fetch(`${url}/health`).then(
        ({ ok }) => ok,
        () => false,
      );
    while (await isServing()) await new Promise((resolve) => setTimeout(resolve, 1)); // until the signal has arrived
    // One that comes late is told so, or finds nobody.
    const late: unknown = await client.completions.create({ model: MODEL, prompt: "The" }).catch((error: unknown) => error);
    expect(late).toBeInstanceOf(OpenAI.APIError);
    expect([undefined, 503]).toContain((late as InstanceType<typeof OpenAI.APIError>).status);
    expect((await Promise.all(going)).map(({ choices }) => choices[0]!.text)).toEqual(alone);
    for (const reason of await Promise.all(streamed)) expect(reason).toMatch(/^(?:length|stop)$/);
    expect(await ended).toBe(0);
    expect(stderr()).toMatch(
      /^serving bitnet-stories-4m at http:\/\/127\.0\.0\.1:\d+; Ctrl-C stops it\ntry it: curl .*\/v1\/chat\/completions /,
    );
    expect(stderr()).not.toContain(KEY);
    await expect(fetch(`${url}/health`)).rejects.toThrow();
  });

  // Takes five seconds: CI runs it.
  it.runIf(THOROUGH)("ends a stream that would go on, in time; a second one ends the process at once", async () => {
    const { client, child, ended } = await serving();
    // Sixteen long answers, so that they last longer than the grace.
    const asked = { model: MODEL, prompt: Array.from({ length: 16 }, () => "The"), max_tokens: 200_000, temperature: 2, top_k: 0 };
    const stream = await client.completions.create({ ...asked, n: 2, stream: true });
    const reasons: string[] = [];
    const start = performance.now();
    child.kill("SIGTERM");
    for await (const { choices } of stream) for (const { finish_reason } of choices) if (finish_reason) reasons.push(finish_reason);
    expect(reasons).toHaveLength(32);
    expect(performance.now() - start).toBeLessThan(20_000);
    expect(await ended).toBe(0);
    const second = await serving();
    const endless = second.client.completions.create({ ...asked, n: 2 }).catch((error: unknown) => error);
    while (!(await fetch(`${second.url}/health`)).ok) await new Promise((resolve) => setTimeout(resolve, 5));
    second.child.kill("SIGTERM");
    await new Promise((resolve) => setTimeout(resolve, 200));
    second.child.kill("SIGTERM");
    expect(await second.ended).toBe(128 + 15);
    expect(await endless).toBeInstanceOf(Error);
  });
});

it("several models are loaded when they are asked for, within the memory that they may take; --log tells of each request", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bitnet-serve-"));
  try {
    for (const name of ["one.gguf", "two.gguf", "damaged.gguf"])
      copyFileSync("models/bitnet-stories-4m/ggml-model-i2_s.gguf", join(folder, name));
    truncateSync(join(folder, "damaged.gguf"), 100_000);
    const models = ["one", "two", "damaged"].flatMap((name) => ["--model", join(folder, `${name}.gguf`)]);
    // Room for one of them.
    const { client, url, stderr, child, ended } = await serving(...models, "--memory", "0.03", "--log");
    const names: string[] = [];
    for await (const { id } of client.models.list()) names.push(id);
    expect(names).toEqual(["one", "two", "damaged"]);
    const ask = async (model: string): Promise<string> =>
      (await client.completions.create({ model, prompt: "The dog", max_tokens: 8, seed: 1 })).choices[0]!.text;
    const texts = [await ask("one"), await ask("two"), ...(await Promise.all([ask("one"), ask("two"), ask("one")]))];
    expect(new Set(texts).size).toBe(1);
    await expect(ask("damaged")).rejects.toMatchObject({ status: 500 });
    await expect(ask("three")).rejects.toMatchObject({ status: 404 });
    const metrics = await (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${KEY}` } })).text();
    const of = (name: string): number[] =>
      [...metrics.matchAll(new RegExp(`^bitnet_${name}\\{.*\\} (\\d+)$`, "gm"))].map(([, n]) => Number(n));
    expect(of("loaded").reduce((sum, n) => sum + n, 0)).toBe(1);
    expect(of("loads_total")[0]).toBeGreaterThanOrEqual(2);
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
    const lines = stderr()
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toHaveLength(1 + 5 + 2 + 1);
    expect(lines[1]).toMatchObject({ method: "POST", path: "/v1/completions", status: 200, model: "one", completionTokens: 8 });
    expect(lines.map(({ status }) => status).filter((status) => status !== 200)).toEqual([500, 404]);
    expect(stderr()).not.toContain("The dog");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it("a port that is taken is one sentence", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  try {
    await new Promise((resolve) => other.once("listening", resolve));
    const { port } = other.address() as AddressInfo;
    const { ended, stderr } = start(["--port", String(port)]);
    expect(await ended).toBe(1);
    expect(stderr()).toBe(`error: can't listen on 127.0.0.1:${port}: the port is in use\n`);
  } finally {
    other.close();
  }
});

it("docs/server.md's example for the client runs", async () => {
  const { url } = await serving();
  const [, example] = /```js\n(.*?)```/s.exec(readFileSync("docs/server.md", "utf8"))!;
  const folder = mkdtempSync("dist/server-docs-"); // from here, the client is found
  try {
    const path = join(folder, "example.mjs");
    writeFileSync(path, example!.replace("http://127.0.0.1:8080", url).replace('"none"', JSON.stringify(KEY)));
    const run = spawn(process.execPath, [path], { stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    for (const stream of [run.stdout, run.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => {
        said += text;
      });
    expect(await new Promise((resolve) => run.once("close", resolve)), said).toBe(0);
    expect(said.length).toBeGreaterThan(40);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
