import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { openTokenizer, type Tokenizer } from "../../engine/index.js";
import { bannerText, platformBanner } from "./banner.js";
import { bundleSha256, modulesSha256 } from "./build.js";
import { isWsl, kernelSha256, provenance } from "./provenance.js";
import { checkRecord } from "./records.js";
import { EXAMPLES, PROVENANCE } from "./records.test.helper.js";
import { tokenizerSha256 } from "./tokenizer-hash.js";

const asked = { cliArgs: ["perf"], seed: 7, deterministic: true, date: new Date("2026-01-02T03:04:05.678Z") };

it("has the fields of a record, and says nothing of a model that there is not", async () => {
  const from = await provenance(asked);
  expect(Object.keys(from)).toEqual(Object.keys(PROVENANCE));
  expect(from).toMatchObject({ ...{ model_hash: null, model_sha256: null, tokenizer_sha256: null, kernel_tier: null, threads: null } });
  expect(from).toMatchObject({ cli_args: ["perf"], seed: 7, deterministic: true, date: "2026-01-02T03:04:05.678Z", node: process.version });
  checkRecord("platform-banner", { ...EXAMPLES["platform-banner"], provenance: from }, "here");
});

it("hashes the model, in full and short", async () => {
  const model = { sha256: PROVENANCE.model_sha256, tokenizerSha256: "ab".repeat(32), tier: "plain", threads: 3 };
  expect(await provenance({ ...asked, model })).toMatchObject({
    ...{ model_hash: "3b6ffbad956fd373", model_sha256: model.sha256, tokenizer_sha256: model.tokenizerSha256 },
    ...{ kernel_tier: "plain", threads: 3 },
  });
});

it("hashes the kernels: both modules, by name", () => {
  const line = (name: string) =>
    `${createHash("sha256")
      .update(readFileSync(`dist/kernels/${name}`))
      .digest("hex")}  ${name}\n`;
  const lines = line("plain.wasm") + line("relaxed.wasm");
  expect(kernelSha256()).toBe(createHash("sha256").update(lines).digest("hex"));
});

it("hashes every module, and every file of the bundle", () => {
  const sha = (data: string | Uint8Array) => createHash("sha256").update(data).digest("hex");
  const of = (folder: string, names: string[]) => sha(names.map((name) => `${sha(readFileSync(`${folder}/${name}`))}  ${name}\n`).join(""));
  expect(modulesSha256(".")).toBe(of("dist/kernels", ["plain.wasm", "products.wasm", "relaxed.wasm"]));
  expect(bundleSha256(".")).toBe(of("dist/bundle", readdirSync("dist/bundle").sort()));
  expect(bundleSha256("docs")).toBeNull();
});

it("hashes what a tokenizer does: the same from both formats, another if any of it differs", async () => {
  const { tokenizer } = await openTokenizer();
  const hash = tokenizerSha256(tokenizer);
  expect(tokenizerSha256((await openTokenizer("models/bitnet-stories-4m/packed")).tokenizer)).toBe(hash);
  const other = (change: Partial<Tokenizer>): string => {
    const copy: Tokenizer = Object.assign(Object.create(tokenizer) as Tokenizer, change);
    return tokenizerSha256(copy);
  };
  const define = (key: "size" | "bosId" | "addsBos", value: unknown): string =>
    tokenizerSha256(Object.create(tokenizer, { [key]: { value } }) as Tokenizer);
  const decodeBytes: Tokenizer["decodeBytes"] = (ids, options) => (ids[0] === 300 ? Uint8Array.of(1) : tokenizer.decodeBytes(ids, options));
  const hashes = [
    hash,
    define("bosId", 5),
    define("addsBos", !tokenizer.addsBos),
    define("size", tokenizer.size - 1),
    other({ decodeBytes }),
    other({ encode: (text, options) => tokenizer.encode(text, options).toReversed() }),
    other({ isSpecial: (id) => id === 300 || tokenizer.isSpecial(id) }),
  ];
  expect(new Set(hashes).size).toBe(hashes.length);
});

it("knows the Windows Subsystem for Linux by its kernel", () => {
  expect(isWsl("linux", "5.15.90.1-microsoft-standard-WSL2")).toBe(true);
  expect(isWsl("linux", "4.4.0-19041-Microsoft")).toBe(true);
  expect(isWsl("linux", "6.1.0-18-amd64 #1 SMP")).toBe(false);
  expect(isWsl("win32", "Microsoft Windows")).toBe(false);
});

it("prints a banner", async () => {
  const banner = await platformBanner(asked);
  checkRecord("platform-banner", banner, "here");
  const text = bannerText({ ...banner, provenance: { ...PROVENANCE, wsl2: true, git_dirty: true } as never });
  expect(text.split("\n").map((line) => line.slice(0, 13).trim())).toEqual([
    ...["package", "commit", "system", "processor", "memory", "node", "kernels", "environment", "date", ""],
  ]);
  expect(text).toContain("commit       8db1dd7e1b24, changed since\n");
  expect(text).toContain("system       linux 6.1.0 x64, WSL2\n");
  expect(text).toContain("memory       8.0 GiB\n");
  expect(bannerText({ ...banner, provenance: { ...PROVENANCE, git_commit: null, git_dirty: null } as never })).toContain("not a clone");
});
