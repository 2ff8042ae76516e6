import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterEach, beforeEach, expect, it } from "vitest";
import { REPOSITORY, sha256, temporaryStore } from "./hub.test.helper.js";
import { findModel, list, remove, resolve } from "./index.js";
import { cacheFolder, checkEndpoint, hubEndpoint, hubToken } from "./settings.js";
import { blobPath, dropBlobs, LINK_WAYS, linkFile, parseRecord, readStore, type StoredRecord, storeModel } from "./store.js";

let cache: string;
let away: () => void;
beforeEach(() => {
  const made = temporaryStore();
  [cache, away] = [made.cache, made.remove];
});
afterEach(() => away());

function record(name: string, text: string, more: Partial<StoredRecord> = {}): StoredRecord {
  mkdirSync(join(cache, "blobs"), { recursive: true });
  writeFileSync(blobPath(cache, sha256(text)), text);
  return {
    ...{ kind: "stored-model", schema_version: 1, name, source: "https://huggingface.co", revision: "a".repeat(40), main: "m.gguf" },
    ...{ files: [{ path: "m.gguf", size: text.length, sha256: sha256(text), etag: null }], pulled: "2026-01-02T03:04:05.678Z", ...more },
  };
}

it("is in the user's cache folder, as each system has it", () => {
  const at = (env: Record<string, string>, system: NodeJS.Platform): string => cacheFolder(env, system, "/home/u");
  expect(at({}, "linux")).toBe(join("/home/u", ".cache", "bitnet-ts"));
  expect(at({ XDG_CACHE_HOME: "/x" }, "linux")).toBe(join("/x", "bitnet-ts"));
  expect(at({ XDG_CACHE_HOME: "relative" }, "linux")).toBe(join("/home/u", ".cache", "bitnet-ts"));
  expect(at({}, "darwin")).toBe(join("/home/u", "Library", "Caches", "bitnet-ts"));
  expect(at({ LOCALAPPDATA: "L" }, "win32")).toBe(join("L", "bitnet-ts"));
  expect(at({}, "win32")).toBe(join("/home/u", "AppData", "Local", "bitnet-ts"));
  expect(at({ BITNET_CACHE: "/own", XDG_CACHE_HOME: "/x" }, "linux")).toBe("/own");
});

it("takes hub and token from the environment, or the token from the hub's own file", () => {
  expect(hubEndpoint({})).toBe("https://huggingface.co");
  expect(hubEndpoint({ HF_ENDPOINT: "http://h:1/base/" })).toBe("http://h:1/base");
  for (const bad of ["h", "ftp://h", "http://u:p@h", "http://h?x=1"])
    expect(() => checkEndpoint(bad, "HF_ENDPOINT")).toThrow(/^HF_ENDPOINT must be the address of a hub/);
  const home = join(cache, "home");
  expect(hubToken({}, home)).toBeUndefined();
  mkdirSync(join(home, ".cache", "huggingface"), { recursive: true });
  writeFileSync(join(home, ".cache", "huggingface", "token"), "hf_file\n");
  expect(hubToken({}, home)).toBe("hf_file");
  expect(hubToken({ HF_TOKEN: "hf_env" }, home)).toBe("hf_env");
  expect(hubToken({ HUGGING_FACE_HUB_TOKEN: "hf_old" }, home)).toBe("hf_old");
  expect(hubToken({ HF_HOME: join(home, "none") }, home)).toBeUndefined();
  writeFileSync(join(cache, "token"), "hf_other");
  expect(hubToken({ HF_TOKEN_PATH: join(cache, "token") }, home)).toBe("hf_other");
  expect(hubToken({ HF_HOME: cache }, home)).toBe("hf_other");
  expect(() => hubToken({ HF_TOKEN: "hf secret" }, home)).toThrow(/^HF_TOKEN contains no valid token/);
  expect(() => hubToken({ HF_TOKEN: "hf secret" }, home)).not.toThrow(/secret/);
});

it.each([0, 1, 2].map((first) => ({ first })))("makes a second name where only way $first and later ones work", async ({ first }) => {
  const blob = join(cache, "blob");
  writeFileSync(blob, "bytes");
  const fails = (): Promise<void> => Promise.reject(Object.assign(new Error("no"), { code: "EPERM" }));
  const ways = LINK_WAYS.map((way, i) => (i < first ? fails : way));
  mkdirSync(join(cache, "folder"));
  const path = join(cache, "folder", "name");
  await linkFile(blob, join("..", "blob"), path, ways);
  expect(readFileSync(path, "utf8")).toBe("bytes");
  await expect(
    linkFile(
      blob,
      "x",
      join(cache, "folder", "none"),
      ways.map(() => fails),
    ),
  ).rejects.toThrow("no");
});

it("the record on the disk is what its schema says, and one that isn't is not read", async () => {
  await storeModel(cache, "folder", record("o/n", "data"));
  const text = readFileSync(join(cache, "models", "folder", "model.json"), "utf8");
  const schema = JSON.parse(readFileSync("schemas/stored-model.v1.schema.json", "utf8")) as object;
  const validate = new Ajv2020({ strict: true }).compile(schema);
  const value = JSON.parse(text) as Record<string, unknown>;
  expect(validate(value)).toBe(true);
  expect(parseRecord(text)).toEqual(value);
  const files = value.files as Record<string, unknown>[];
  const changed: Record<string, unknown>[] = [
    ...Object.keys(value).flatMap((key) => [{ [key]: undefined }, { [key]: 5 }, { [key]: "" }, { [key]: null }]),
    ...Object.keys(files[0]!).flatMap((key) => [undefined, -1, "", {}].map((other) => ({ files: [{ ...files[0], [key]: other }] }))),
    ...["../m.gguf", "/m.gguf", "a/../m", "a\\m"].map((path) => ({ main: path, files: [{ ...files[0], path }] })),
    ...[
      { more: 1 },
      { files: [] },
      { files: [{ ...files[0], more: 1 }] },
      { revision: "../x" },
      { revision: "A".repeat(40) },
      { pulled: "today" },
      { schema_version: 2 },
    ],
  ];
  for (const change of changed) {
    const other = { ...value, ...change };
    expect({ change, read: parseRecord(JSON.stringify(other)) }).toEqual({ change, read: undefined });
    expect({ change, valid: validate(JSON.parse(JSON.stringify(other))) }).toEqual({ change, valid: false });
  }
  expect(parseRecord("{")).toBeUndefined();
  expect(parseRecord(JSON.stringify({ ...value, main: "other" }))).toBeUndefined(); // a schema can't say this
});

it("blobs that a record names stay, also one that is written in the midst", async () => {
  const kept = record("o/kept", "kept");
  const gone = record("o/gone", "gone");
  await storeModel(cache, "kept", kept);
  expect(await dropBlobs(cache, [sha256("kept"), sha256("gone"), "0".repeat(64)])).toBe(4);
  expect(readdirSync(join(cache, "blobs"))).toEqual([sha256("kept")]);
  // The record of a blob that is gone: what a pull looks for, and mends.
  await storeModel(cache, "gone", gone);
  expect(() => resolve("o/gone", { cache })).toThrow(
    expect.objectContaining({ code: "file", message: expect.stringContaining("bitnet pull o/gone repairs it") }),
  );
  expect(readStore(cache).entries.map((entry) => entry.record.name)).toEqual(["o/gone", "o/kept"]);
});

it("a name without a file means the only one that fits", async () => {
  await storeModel(cache, "a", record(`${REPOSITORY}:a.gguf`, "a", { main: "m.gguf" }));
  const path = resolve(REPOSITORY, { cache });
  expect(path).toBe(join(cache, "models", "a", "a".repeat(40), "m.gguf"));
  await storeModel(cache, "b", record(`${REPOSITORY}:b.gguf`, "b"));
  expect(() => resolve(REPOSITORY, { cache })).toThrow(
    expect.objectContaining({
      code: "usage",
      message: "owner/name could mean several stored models; give one of owner/name:a.gguf, owner/name:b.gguf",
    }),
  );
  await expect(remove(REPOSITORY, { cache })).rejects.toMatchObject({ code: "usage" });
  expect(resolve(`hf:${REPOSITORY}:b.gguf`, { cache })).toContain("b");
  await remove(`${REPOSITORY}:b.gguf`, { cache });
  expect(await list({ cache })).toMatchObject({ models: [{ name: `${REPOSITORY}:a.gguf` }] });
});

it("what is there as a path is meant as one; a name that nothing is stored under says how to get it", async () => {
  const find = (text: string): string => findModel(text, { cache });
  for (const path of ["package.json", "engine/index.ts", "none.gguf", "no/none.gguf", "no/such/folder", "../x", "file:///none", ""])
    expect(find(path)).toBe(path);
  await symlink("nowhere", join(cache, "link"));
  expect(find(join(cache, "link"))).toBe(join(cache, "link"));
  for (const [text, hint] of [
    ["o/n", "o/n: no such file or directory, and no stored model of this name; bitnet pull o/n downloads it"],
    ["hf:o/n:x.gguf", "o/n:x.gguf: no such file or directory, and no stored model of this name; bitnet pull hf:o/n:x.gguf downloads it"],
    [
      "Microsoft/BITNET-b1.58-2b-4t-gguf",
      "Microsoft/BITNET-b1.58-2b-4t-gguf: no such file or directory, and no stored model of this name; bitnet pull microsoft/bitnet-b1.58-2B-4T-gguf downloads it",
    ],
    [
      "Ternary-Bonsai-4B-GGUF",
      "Ternary-Bonsai-4B-GGUF: no such file or directory; bitnet pull prism-ml/Ternary-Bonsai-4B-gguf downloads it",
    ],
    [
      "https://x.org/a.gguf",
      "https://x.org/a.gguf: no such file or directory, and no stored model of this name; bitnet pull https://x.org/a.gguf downloads it",
    ],
  ] as const) {
    expect(() => find(text)).toThrow(expect.objectContaining({ code: "usage", message: hint }));
  }
  expect(existsSync(join(cache, "models"))).toBe(false);
});
