import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { THOROUGH } from "../../engine/thorough.test.helper.js";
import { BITNET, requestLines, type Started, sha256, start } from "./batch.test.helper.js";

/** The server of the queue, if this machine has one. */
const SERVER = ["valkey-server", "redis-server"].find((name) => spawnSync(name, ["--version"]).status === 0);
const WORKER = fileURLToPath(new URL("worker.test.helper.js", import.meta.url));

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

// It needs a Redis or Valkey server, which is no npm package: install redis-server to run it.
describe.skipIf(SERVER === undefined)("through a queue (skipped where there is no redis-server or valkey-server)", () => {
  const folder = mkdtempSync(join(tmpdir(), "bitnet-queue-"));
  let server: ChildProcess;
  let url: string;
  let client: Redis;
  const workers: Started[] = [];
  beforeAll(async () => {
    const port = await freePort();
    server = spawn(SERVER!, ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder], { stdio: "ignore" });
    url = `redis://127.0.0.1:${port}`;
    client = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
    client.on("error", () => {}); // it starts, and tests cut the connection
    await client.ping();
  });
  afterAll(() => {
    for (const { child } of workers) child.kill("SIGKILL");
    client.disconnect();
    server.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  it("a batch has the same bytes, though workers and the one who asks are killed, and connections cut", async () => {
    const lines = requestLines(90);
    const requests = join(folder, "requests.jsonl");
    writeFileSync(requests, lines.join("\n"));
    const here = join(folder, "here.jsonl");
    const undisturbed = start(BITNET, "batch", requests, "--out", here, "--threads", "1");
    expect(await undisturbed.ended, undisturbed.stderr()).toBe(14);

    const out = join(folder, "out.jsonl");
    const size = (): number => (existsSync(out) ? statSync(out).size : 0);
    const produce = (): Started => start(BITNET, "batch", requests, "--out", out, "--queue", url);
    workers.push(...Array.from({ length: 3 }, () => start(WORKER, url)));
    const first = produce();
    while (size() === 0 && first.child.exitCode === null) await sleep(5);
    let cuts = 0;
    for (let kills = 0; kills < (THOROUGH ? 4 : 2); kills++) {
      await sleep(100 + 200 * Math.random());
      cuts += Number(await client.call("CLIENT", "KILL", "TYPE", "normal"));
      const one = workers.splice(Math.floor(3 * Math.random()), 1)[0]!;
      one.child.kill("SIGKILL");
      expect(await one.ended, one.stderr()).toBeNull();
      workers.push(start(WORKER, url));
    }
    first.child.kill("SIGKILL");
    expect(await first.ended, first.stderr()).toBeNull();
    const before = size();
    expect(before).toBeLessThan(statSync(here).size);
    expect(cuts).toBeGreaterThan(0);

    const last = produce();
    while (size() === before && last.child.exitCode === null) await sleep(5);
    await client.call("CLIENT", "KILL", "TYPE", "normal");
    expect(await last.ended, last.stderr()).toBe(14);
    expect(readFileSync(out, "utf8")).toBe(readFileSync(here, "utf8"));
    expect(sha256(out)).toBe(sha256(here));
    // Nothing of the requests is left on the queue's server.
    expect((await client.keys("bull:bitnet-batch:batch_req_*")).filter((key) => !key.endsWith(":lock"))).toEqual([]);
  }, 180_000); // it waits for processes: if all workers were lost, for ever

  it("a worker that is told to stop ends with 0", async () => {
    const worker = start(BITNET, "worker", "--queue", url, "--threads", "1");
    while (!worker.stderr().includes("Ctrl-C stops it") && worker.child.exitCode === null) await sleep(5);
    worker.child.kill("SIGTERM");
    expect(await worker.ended, worker.stderr()).toBe(0);
  });
});

it("a server that is not there is said in one sentence", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bitnet-queue-"));
  const requests = join(folder, "requests.jsonl");
  writeFileSync(requests, requestLines(1).join("\n"));
  const port = await freePort();
  const run = start(BITNET, "batch", requests, "--out", join(folder, "out.jsonl"), "--queue", `redis://127.0.0.1:${port}`);
  expect(await run.ended).toBe(13);
  expect(run.stderr()).toMatch(/^error: can't reach the queue's server 127\.0\.0\.1:\d+: .*ECONNREFUSED.*\n$/);
  rmSync(folder, { recursive: true });
});
