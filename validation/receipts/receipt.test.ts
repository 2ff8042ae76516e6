import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bitnetHere } from "../../cli/here.test.helper.js";
import { usefulThreads } from "../../engine/compute/cpus.js";
import type { BitnetError, LoadOptions } from "../../engine/index.js";
import { some } from "../../engine/thorough.test.helper.js";
import { EMBEDDED } from "../end-to-end/derive.test.helper.js";
import { kernelSha256, type Provenance } from "../records/provenance.js";
import { RECEIPT_FIELDS } from "./fields.js";
import { canonicalJson, type Receipt, receiptDigest } from "./receipt.js";
import { verifyReceipt } from "./verify.js";

// A receipt through the command line, as a user meets it, and altered in every field.

const folder = mkdtempSync(join(tmpdir(), "bitnet-receipt-"));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

function bitnet(...args: readonly string[]): { code: number | null; stdout: string; stderr: string } {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("BITNET_")));
  const { status, stdout, stderr } = spawnSync(process.execPath, ["dist/bundle/bitnet.cjs", ...args], {
    env,
    encoding: "utf8",
    timeout: 600_000,
  });
  return { code: status, stdout, stderr };
}

const RUN = ["run", "--prompt", "Once upon a time", "--max-tokens", "24", "--temperature", "0.7", "--top-k", "20", "--seed", "5"];
const PENALTIES = ["--repetition-penalty", "1.1", "--presence-penalty", "-0.5", "--frequency-penalty", "0.25"];
const WRITTEN = [...RUN, ...PENALTIES, "--stop", "zebra", "--threads", "2", "--tier", "relaxed"];

let receipt: Receipt;
beforeAll(() => {
  const { code, stdout } = bitnet(...WRITTEN, "--receipt", at("receipt.json"));
  expect(code).toBe(0);
  receipt = JSON.parse(readFileSync(at("receipt.json"), "utf8")) as Receipt;
  expect(stdout).toBe(`${receipt.text}\n`);
});

describe("bitnet run --receipt", () => {
  it("writes what was asked for, what came, and where", () => {
    expect(receipt).toMatchObject({
      provenance: { kernel_tier: "relaxed", threads: usefulThreads(2), seed: 5, cli_args: [...WRITTEN, "--receipt", at("receipt.json")] },
      model: { path: null, kv: "f32", head: "auto" },
      prompt_ids: [4080, 632, 546, 258, 446],
      settings: {
        ...{ temperature: 0.7, top_k: 20, repetition_penalty: 1.1, presence_penalty: -0.5, frequency_penalty: 0.25 },
        seed: 5,
        max_tokens: 24,
        stop: ["zebra"],
        speculate: false,
      },
      stop_reason: "length",
    });
    expect(receipt.provenance.model_sha256).toBe(createHash("sha256").update(readFileSync(EMBEDDED)).digest("hex"));
    expect(receipt.steps).toHaveLength(24);
    expect(new Set(receipt.steps.map(({ hidden }) => hidden)).size).toBe(24);
    // The digest by hand: JSON without spaces, keys sorted.
    const sorted = (_: string, value: unknown): unknown =>
      value === null || typeof value !== "object" || Array.isArray(value)
        ? value
        : Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
    const { digest, ...rest } = receipt;
    expect(createHash("sha256").update(JSON.stringify(rest, sorted)).digest("hex")).toBe(digest);
  });

  it("writes nothing where nothing came of it", async () => {
    const before = readdirSync(folder);
    expect((await bitnetHere(...RUN, "--receipt", at("none.json"), "--temperature", "0", "--ctx", "4")).code).toBe(2);
    expect(readdirSync(folder)).toEqual(before);
    const refused = await bitnetHere(...RUN, "--receipt", join(EMBEDDED, "none.json"));
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringMatching(/^error: --receipt: the folder .*\.gguf does not exist:/)]);
  });

  it("nor where it was interrupted", async () => {
    const before = readdirSync(folder);
    // So hot that it will not find an end by itself.
    const args = ["run", "--prompt", "x", "--max-tokens", "1900", "--temperature", "1000000", "--receipt", at("none.json")];
    const child = spawn(process.execPath, ["dist/bundle/bitnet.cjs", ...args], { stdio: ["ignore", "pipe", "ignore"] });
    child.stdout.once("data", () => child.kill("SIGINT"));
    child.stdout.resume();
    const [code] = (await once(child, "close")) as [number];
    expect(code).toBe(130);
    expect(readdirSync(folder)).toEqual(before);
  });
});

describe("bitnet verify", () => {
  it.each(["--threads 2 --tier relaxed", "--threads 1 --tier plain", "--threads 3 --tier wide", "--reference"])(
    "matches with %s",
    async (flags) => {
      const { code, stdout, stderr } = await bitnetHere("verify", at("receipt.json"), ...flags.split(" "));
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      const [line, replayed, claimed, ...rest] = stdout.split("\n");
      expect(rest).toEqual([""]);
      expect(line).toMatch(/^match: 24 steps, written on Node v\d.*, relaxed kernels, [12] threads?; replayed on Node v\d/);
      expect(replayed).toMatch(/^replayed: kind, digest, .*provenance\/seed, .*steps, chain, text, stop_reason/);
      expect(claimed).toMatch(/^only claimed: .*provenance\/date, provenance\/platform, .*model\/path, model\/tokenizer$/);
      const same = flags === `--threads ${receipt.provenance.threads} --tier relaxed`;
      expect(same ? replayed : claimed).toContain("kernel_calls, provenance/kernel_tier, provenance/threads");
    },
  );

  it("replays with the receipt's tier and threads, if nothing else is asked for", async () => {
    const { stdout } = await bitnetHere("verify", at("receipt.json"), "--json");
    const { kernel_tier: tier, threads } = receipt.provenance;
    const said = JSON.parse(stdout) as { replayed: string[]; claimed: string[] };
    expect(said).toMatchObject({ verdict: "match", steps: 24, tier, threads });
    expect(said.replayed).toEqual(expect.arrayContaining(["kernel_calls", "provenance/kernel_tier", "provenance/threads", "model/head"]));
    expect([...said.replayed, ...said.claimed].sort()).toEqual(
      Object.keys(RECEIPT_FIELDS)
        .filter((path) => !["model/activations", "provenance/user_agent", "provenance/cores"].includes(path))
        .sort(),
    );
  });

  it("matches whatever the receipt was written with", async () => {
    const ways: [flags: string, back: Load][] = [
      ["--kv q8 --head two-stage", { tier: "plain" }],
      ["--speculate --tier wide --threads 1", { tier: "relaxed" }],
      ["--kv k16 --stop-id 13,14 --ctx 20 --json", { threads: 1, tier: "plain" }],
      ["--max-tokens 0 --activations int8", { threads: 1 }],
    ];
    for (const [flags, load] of some(ways, 0, 2, 3)) {
      expect(await bitnetHere(...RUN, ...flags.split(" "), "--receipt", at("way.json")), flags).toMatchObject({ code: 0 });
      await expect(verifyReceipt(at("way.json"), { load }), flags).resolves.toBeDefined();
    }
  });

  it("finds the model where it is now", async () => {
    copyFileSync(EMBEDDED, at("here.gguf"));
    expect((await bitnetHere(...RUN, "--model", at("here.gguf"), "--receipt", at("moved.json"))).code).toBe(0);
    rmSync(at("here.gguf"));
    const lost = await bitnetHere("verify", at("moved.json"));
    expect([lost.code, lost.stderr]).toEqual([2, expect.stringContaining("here.gguf")]);
    expect(JSON.parse((await bitnetHere("verify", at("moved.json"), "--model", EMBEDDED, "--json")).stdout)).toMatchObject({
      verdict: "match",
      steps: 24,
    });
    const other = await bitnetHere("verify", at("moved.json"), "--model", "models/bitnet-stories-4m/packed");
    expect([other.code, other.stderr]).toEqual([
      12,
      expect.stringMatching(/model_sha256 differs from that of .*packed.*another model file\n$/),
    ]);
  });

  it("ends with 12 and one line that says what is wrong", async () => {
    const said = (changed: object): string => {
      writeFileSync(at("wrong.json"), JSON.stringify(changed));
      const { code, stdout, stderr } = bitnet("verify", at("wrong.json"));
      expect({ code, stdout }).toEqual({ code: 12, stdout: "" });
      expect(stderr).toMatch(/^error: .*wrong\.json: [^\n]+\n$/);
      return stderr;
    };
    expect(said({ ...receipt, text: "Another story." })).toMatch(/the receipt was altered: its digest/);
    expect(said(redigested({ ...receipt, provenance: { ...receipt.provenance, kernel_sha256: "0".repeat(64) } }))).toMatch(/kernel_sha256/);
    writeFileSync(at("wrong.json"), readFileSync(at("receipt.json")).subarray(0, 900));
    expect(await bitnetHere("verify", at("wrong.json"))).toMatchObject({
      code: 12,
      stderr: expect.stringMatching(/is not JSON/) as string,
    });
    expect(await bitnetHere("verify", at("absent.json"))).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/absent\.json/) as string,
    });
  });
});

type Load = Pick<LoadOptions, "tier" | "threads">;
type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type Path = readonly (string | number)[];

/** Every value in a receipt that holds no others. */
function leaves(value: Json, path: Path = []): Path[] {
  if (value === null || typeof value !== "object" || Object.keys(value).length === 0) return [path];
  return Object.entries(value).flatMap(([key, inside]) => leaves(inside, [...path, Array.isArray(value) ? Number(key) : key]));
}

/** Another value of the same kind, if there is one. */
function other(value: Json, by: number): Json {
  if (typeof value === "number") return value + 1 + (by % 1000);
  if (typeof value === "boolean") return !value;
  if (value === null) return by % 2 === 0 ? "x" : 7;
  if (typeof value === "object") return [1 + (by % 50)]; // there are empty lists
  if (!/^[0-9a-f]{12,64}$/.test(value)) return `${value}${by}`;
  const i = by % value.length;
  return value.slice(0, i) + ((Number.parseInt(value[i]!, 16) + 1 + (by % 15)) % 16).toString(16) + value.slice(i + 1);
}

function altered(path: Path, by: number): Receipt {
  const copy = structuredClone(receipt);
  let parent = copy as unknown as Record<string | number, Json>;
  for (const key of path.slice(0, -1)) parent = parent[key] as Record<string | number, Json>;
  const key = path.at(-1)!;
  parent[key] = other(parent[key]!, by);
  return copy;
}

function redigested<T extends object>(changed: T): T & { digest: string } {
  return { ...changed, digest: receiptDigest(changed) };
}

/** The error for an invalid receipt; undefined: it is valid. */
async function wrongWith(changed: object, load: Load = {}): Promise<string | undefined> {
  const path = at("altered.json");
  writeFileSync(path, JSON.stringify(changed));
  const error: BitnetError | undefined = await verifyReceipt(path, { load }).then(
    () => undefined,
    (thrown: BitnetError) => thrown,
  );
  if (error) expect(error, error.stack ?? "").toMatchObject({ code: "receipt", file: path });
  return error?.message.slice(path.length + 2);
}

describe("the fields of a receipt", () => {
  it("are all marked as replayed or as claimed", () => {
    type Schema = { readonly properties: Readonly<Record<string, Schema>> };
    const read = (name: string): Schema => JSON.parse(readFileSync(`schemas/${name}.v1.schema.json`, "utf8")) as Schema;
    const { properties } = read("receipt");
    const provenance = { properties: { ...read("provenance").properties, ...read("page-provenance").properties } };
    const inside: Record<string, Schema> = { provenance, model: properties.model! };
    const paths = Object.keys(properties).flatMap((key) =>
      inside[key] === undefined ? [key] : Object.keys(inside[key].properties).map((name) => `${key}/${name}`),
    );
    expect(Object.keys(RECEIPT_FIELDS).sort()).toEqual(paths.sort());
  });
});

describe("a receipt altered in any field does not verify", () => {
  it("by its digest or its form", async () => {
    const paths = leaves(receipt as unknown as Json);
    expect(paths.length).toBeGreaterThan(100);
    for (const path of paths) {
      const place = `/${path.slice(0, 2).join("/")}`; // ajv names the place, or one around it
      const said = await wrongWith(altered(path, path.length));
      expect(said ?? "it holds", path.join("/")).toMatch(/^(the receipt was altered|\/\S* )/);
      if (said!.startsWith("/")) expect(said, path.join("/")).toContain(`/${place.split("/")[1]}`);
    }
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths), fc.nat(), async (path, by) => {
        expect(await wrongWith(altered(path, by))).toBeDefined();
      }),
      { numRuns: 300 },
    );
  });

  it("by what the digest says of keys and their order", () => {
    const { digest: _digest, kind, ...rest } = receipt;
    expect(receiptDigest({ ...rest, kind })).toBe(receipt.digest);
    expect(canonicalJson({ b: [1, { d: null, c: "é\n" }], a: 1e21 })).toBe('{"a":1e+21,"b":[1,{"c":"é\\n","d":null}]}');
  });

  const with2 = { tier: "relaxed", threads: 2 } as const;
  const step = (i: number, change: object): object => ({ steps: receipt.steps.map((was, n) => (n === i ? { ...was, ...change } : was)) });
  const settings = (change: object): object => ({ settings: { ...receipt.settings, ...change } });
  const provenance = (change: object): object => ({ provenance: { ...receipt.provenance, ...change } });
  const changes: [name: string, change: () => object, said: RegExp][] = [
    ["an id", () => step(7, { id: receipt.steps[7]!.id + 1 }), /^step 8 of 24: its id is \d+, but \d+ in the replay$/],
    ["a hidden state", () => step(23, { hidden: "0".repeat(64) }), /^step 24 of 24: its hidden state differs/],
    ["one step less", () => ({ steps: receipt.steps.slice(0, -1) }), /^step 24: the receipt has 23 steps, but the replay has 24$/],
    [
      "one step more",
      () => ({ steps: [...receipt.steps, receipt.steps[0]] }),
      /^step 25: the receipt has 25 steps, but the replay has 24$/,
    ],
    ["the chain", () => ({ chain: "0".repeat(64) }), /^chain differs/],
    ["the text", () => ({ text: `${receipt.text}!` }), /^text differs/],
    ["the reason", () => ({ stop_reason: "eos" }), /^stop_reason is eos, but length in the replay$/],
    ["the prompt", () => ({ prompt_ids: [...receipt.prompt_ids.slice(0, -1), 447] }), /^step 1 of 24: its hidden state differs/],
    ["an id of no token", () => ({ prompt_ids: [2 ** 31 - 1] }), /^can't be replayed: token id 2147483647 .* outside the vocabulary/],
    ["the seed alone", () => settings({ seed: 6 }), /^provenance\/seed differs from settings\/seed$/],
    ["the seed", () => ({ ...settings({ seed: 6 }), ...provenance({ seed: 6 }) }), /^step \d+ of 24: its (id|hidden)/],
    ["the temperature", () => settings({ temperature: 5 }), /^step \d+ of 24: its (id|hidden)/],
    ["a limit", () => settings({ max_tokens: 23 }), /^step 24: the receipt has 24 steps, but the replay has 23$/],
    ["a stop", () => settings({ stop_ids: [receipt.steps[3]!.id] }), /^step \d+: the receipt has 24 steps/],
    ["ends of a turn", () => settings({ eos_ids: [1] }), /^settings\/eos_ids differs from what/],
    [
      "the cache",
      () => ({ model: { ...receipt.model, kv: "q8" } }),
      /^kernel_calls contains storeKeyValue, which relaxed kernels with a q8/,
    ],
    ["the tier, everywhere", () => inPlain(), /^kernel_calls\/head\* is 1920, which 2 threads can't come to/],
    ["no kernels", () => provenance({ kernel_tier: "none" }), /^kernel_calls contains \w+, but kernel_tier is none$/],
    ["the head", () => ({ model: { ...receipt.model, head: "two-stage" } }), /^kernel_calls differ from the replay/],
    ["the modules", () => provenance({ modules_sha256: "0".repeat(64) }), /^modules_sha256 differs from that of this package/],
    [
      "a day to come",
      () => provenance({ date: "2999-01-01T00:00:00.000Z" }),
      /^provenance\/date is 2999-01-01T00:00:00.000Z, which is in the future$/,
    ],
    [
      "a machine too small",
      () => provenance({ threads: 9, platform: { ...(receipt.provenance as Provenance).platform, cores: 8 } }),
      /^provenance\/threads is 9, but/,
    ],
    ["the tier", () => provenance({ kernel_tier: "plain" }), /^kernel_calls (contains ternaryRelaxed|lacks ternaryPlain)/],
    ["a count", () => ({ kernel_calls: { ...receipt.kernel_calls, rope: 1 } }), /^kernel_calls differ from the replay/],
    ["the kernels", () => provenance({ kernel_sha256: "0".repeat(64) }), /^kernel_sha256 differs from that of these kernels/],
    ["the numerics", () => provenance({ numerics_version: 99 }), /^numerics_version is 99, but 1 here/],
    ["the model", () => provenance({ model_hash: "0".repeat(16), model_sha256: "0".repeat(64) }), /^model_sha256 differs from that of /],
    ["the tokenizer", () => provenance({ tokenizer_sha256: "0".repeat(64) }), /^tokenizer_sha256 differs from that of /],
  ];
  // All that tells a tier, and one more count.
  const inPlain = (): object => {
    const { ternaryRelaxed, ...others } = receipt.kernel_calls;
    return { ...provenance({ kernel_tier: "plain" }), kernel_calls: { ...others, ternaryPlain: ternaryRelaxed, head: 384 * 5 } };
  };
  it.each(changes)("by the replay, if its digest is recomputed: %s", async (_, change, said) => {
    expect(await wrongWith(redigested({ ...receipt, ...change() }), with2)).toMatch(said);
  });

  it("while one that was not altered holds", async () => {
    expect(await wrongWith(receipt, with2)).toBeUndefined();
  });
});

// Written on Node 20 by 2 threads of relaxed kernels; any Node, thread count and tier must come to the same.
describe("the stored receipt", () => {
  const stored = JSON.parse(readFileSync("validation/fixtures/receipt.json", "utf8")) as Receipt;
  // The kernels may have been built again since then: what they compute may not have changed.
  const today = { ...stored, provenance: { ...stored.provenance, kernel_sha256: kernelSha256() } };

  it.each([
    ["plain", 1],
    ["relaxed", 1],
  ] as const)("is replayed by %s kernels and %i thread on this Node", async (tier, threads) => {
    expect(stored.provenance).toMatchObject({ node: expect.stringMatching(/^v20\./) as string, threads: 2, kernel_tier: "relaxed" });
    expect(await wrongWith(redigested(today), { tier, threads })).toBeUndefined();
  });

  it("is what it was when it was written", () => {
    expect(receiptDigest(stored)).toBe(stored.digest);
  });
});
