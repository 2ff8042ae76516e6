import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { refuse, TestHub } from "../hub/hub.test.helper.js";
import { bitnetHere, type Ended } from "./here.test.helper.js";
import { Bar } from "./pull.js";

const EMBEDDED = "models/bitnet-stories-4m/ggml-model-i2_s.gguf";
const NAME = "owner/name";
const cache = mkdtempSync(join(tmpdir(), "bitnet-cli-hub-"));
let hub: TestHub;
beforeAll(async () => {
  hub = await TestHub.start();
});
afterAll(async () => {
  await hub.stop();
  rmSync(cache, { recursive: true, force: true });
});

/** A command that knows our hub, our store and no token. */
async function bitnet(...args: string[]): Promise<Ended> {
  const own = {
    BITNET_CACHE: cache,
    HF_ENDPOINT: hub.endpoint,
    HF_TOKEN: "",
    HUGGING_FACE_HUB_TOKEN: "",
    HF_TOKEN_PATH: join(cache, "none"),
  };
  const before = Object.keys(own).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, own); // the command reads its own environment, in this process
  try {
    return await bitnetHere(...args);
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

it("a model is pulled, listed, run by its name in every command, and removed", async () => {
  hub.files.set("stories-i2_s.gguf", readFileSync(EMBEDDED));
  expect(await bitnet("info", "-m", NAME)).toMatchObject({
    ...{
      code: 2,
      stderr: "error: owner/name: no such file or directory, and no stored model of this name; bitnet pull owner/name downloads it\n",
    },
  });
  const pulled = await bitnet("pull", NAME);
  expect(pulled).toMatchObject({ code: 0, stderr: expect.stringMatching(/^owner\/name: 3\.0\d MB in \d+ s, verified; 3\.0\d MB\n$/) });
  const path = pulled.stdout.trim();
  expect(readFileSync(path)).toEqual(readFileSync(EMBEDDED));
  const again = await bitnet("pull", NAME, "--json");
  expect(again).toMatchObject({ code: 0, stderr: "" });
  expect(JSON.parse(again.stdout)).toMatchObject({ name: NAME, path, main: "stories-i2_s.gguf" });
  expect((await bitnet("pull", NAME)).stderr).toMatch(/^owner\/name: already stored; /);

  const greedy = ["--max-tokens", "8", "--temperature", "0", "--threads", "1", "--json"];
  const ids = async (model: string): Promise<unknown> => {
    const { stdout } = await bitnet("run", "Once upon a time", "-m", model, ...greedy);
    return (JSON.parse(stdout) as { ids: unknown }).ids;
  };
  expect(await ids(NAME)).toEqual(await ids(EMBEDDED));
  // Whatever takes a model.
  for (const args of [
    ["info", "-m", `hf:${NAME}`],
    ["tokenize", "--text", "Hi", "--model", NAME],
    ["score", "--text", "Lily had a dog.", "-m", NAME],
    ["inspect", "-m", NAME],
    ["convert", NAME, join(cache, "out.gguf")],
    ["parity", NAME, NAME, "--lane", "weights", "--out", join(cache, "report.json")],
  ]) {
    expect({ args, ...(await bitnet(...args)) }).toMatchObject({ args, code: 0 });
  }
  for (const args of [
    ["verify", "package.json", "--model", "o/none"],
    ["replay", "x.jsonl", "--row", "1", "--model-b", "o/none"],
    ["validate", "--model-a", "o/none", "--model-b", NAME],
    ["add-model", "o/none"],
    ["perf", "--model", "o/none"],
    ["perf", "compare", NAME, "o/none"],
    ["bench", "-m", "o/none"],
    ["eval", "-m", "o/none"],
    ["embed", "-m", "o/none"],
    ["chat", "-m", "o/none"],
  ]) {
    expect({ args, ...(await bitnet(...args)) }).toMatchObject({
      args,
      code: 2,
      stderr: expect.stringMatching(/bitnet pull o\/none downloads it\n$/),
    });
  }

  const listed = await bitnet("list");
  expect(listed).toMatchObject({ code: 0, stderr: "" });
  expect(listed.stdout).toMatch(/^name +size +revision +pulled\nowner\/name +3\.0\d MB +01234567 +20\d\d-\d\d-\d\d\n$/);
  expect(JSON.parse((await bitnet("list", "--json")).stdout)).toMatchObject({
    cache,
    models: [{ name: NAME, path }],
    unfinished: [],
    damaged: [],
  });
  expect(await bitnet("rm", NAME)).toMatchObject({ code: 0, stdout: expect.stringMatching(/^removed owner\/name, 3\.0\d MB freed\n$/) });
  expect(await bitnet("list")).toMatchObject({ code: 0, stdout: "", stderr: expect.stringContaining("no models in ") });
  expect(await bitnet("rm", NAME)).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("no model is stored under the name owner/name"),
  });
});

it("ends with the exit code of the mistake", async () => {
  hub.trick = (_, response) => refuse(response, 401, {});
  expect(await bitnet("pull", "o/n")).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/^error: o\/n: there is no such model on .*, or it is private; check the name, or set HF_TOKEN\n$/),
  });
  hub.trick = (_, response) => refuse(response, 403, { "x-error-code": "GatedRepo" });
  expect(await bitnet("pull", "o/n")).toMatchObject({ code: 13, stderr: expect.stringContaining("accept its terms") });
  hub.trick = () => false;
  hub.files.set("stories-i2_s.gguf", Buffer.from("GGUF and more"));
  hub.trick = (_, response, { server }) => (server === "files" ? response.writeHead(200).end("GGUF and none") : false);
  expect(await bitnet("pull", NAME)).toMatchObject({ code: 11, stderr: expect.stringContaining("are not those of the file") });
});

it("a process of its own ends with 13 for servers, and with 130 for Ctrl-C, which keeps what is there", async () => {
  const env = { ...process.env, BITNET_CACHE: cache, HF_TOKEN: "none", NO_COLOR: "1" };
  const args = ["dist/cli/main.js", "pull", NAME];
  const refused = spawnSync(process.execPath, args, { env: { ...env, HF_ENDPOINT: "http://127.0.0.1:1" }, encoding: "utf8" });
  expect(refused.status).toBe(13);
  expect(refused).toMatchObject({
    stdout: "",
    stderr: expect.stringMatching(/^error: owner\/name: 127\.0\.0\.1:1: this port can't be used/),
  });

  hub.files.set("stories-i2_s.gguf", readFileSync(EMBEDDED));
  const child = spawn(process.execPath, args, { env: { ...env, HF_ENDPOINT: hub.endpoint }, stdio: ["ignore", "ignore", "pipe"] });
  hub.trick = (_, response, { server }) => {
    if (server === "hub") return false;
    response.writeHead(200, { "content-length": readFileSync(EMBEDDED).length });
    return response.write("GGUF", () => child.kill("SIGINT"));
  };
  let said = "";
  child.stderr.on("data", (piece: Buffer) => {
    said += String(piece);
  });
  const [code] = (await once(child, "close")) as [number];
  expect({ code, said }).toEqual({ code: 130, said: "note: stopped; bitnet pull owner/name continues where it was\n" });
  expect((await bitnet("list")).stderr).toMatch(
    /owner\/name: stories-i2_s\.gguf is not finished, .* of 3\.0\d MB; bitnet pull owner\/name continues/,
  );
  expect(await bitnet("rm", NAME)).toMatchObject({ code: 0 });
});

it("lists what is known, and says what is not", async () => {
  const { code, stdout } = await bitnet("list", "--known");
  expect(code).toBe(0);
  expect(stdout).toMatch(/^microsoft\/bitnet-b1\.58-2B-4T-gguf +1\.19 GB +1\.32 GB +mit$/m);
  expect(stdout).toMatch(/^1bitLLM\/bitnet_b1_58-3B +unknown +unknown +unknown$/m);
  const [first] = JSON.parse((await bitnet("list", "--known", "--json")).stdout) as object[];
  expect(first).toMatchObject({ name: "microsoft/bitnet-b1.58-2B-4T-gguf", file: "ggml-model-i2_s.gguf", size: 1_187_801_280 });
});

it("shows how much is there, how fast it comes and how long it takes", () => {
  let now = 0;
  const bar = new Bar(() => now);
  const progress = (done: number, more = {}) => ({
    file: "m\u001b.gguf",
    done,
    total: 1_000_000_000,
    received: done,
    waiting: false,
    ...more,
  });
  bar.update(progress(100_000_000));
  expect(bar.line(progress(100_000_000))).toBe("m\\x1b.gguf  100 MB of 1.00 GB, 10 %");
  now = 2000;
  bar.update(progress(150_000_000));
  expect(bar.line(progress(150_000_000))).toBe("m\\x1b.gguf  150 MB of 1.00 GB, 15 %, 25.0 MB/s, 34 s left");
  // Begun anew: the speed is not negative.
  now = 3000;
  bar.update(progress(0));
  now = 4000;
  bar.update(progress(1_000_000));
  expect(bar.line(progress(1_000_000))).toBe("m\\x1b.gguf  1.00 MB of 1.00 GB, 0 %, 1.00 MB/s, 16 min 39 s left");
  expect(bar.line(progress(0, { waiting: true }))).toBe("m\\x1b.gguf  another process is downloading it; waiting");
  expect(bar.line(progress(0, { total: 0 }))).toMatch(/ 0 % *|, 0 %/);
});
