import { expect, it } from "vitest";
import { CATALOGUE } from "./catalogue.js";
import { chooseFiles } from "./choose.js";
import { parseName } from "./names.js";
import type { RemoteFile } from "./repository.js";

const remote = (path: string): RemoteFile => ({
  path,
  url: `http://x/${path}`,
  size: 1,
  sha256: undefined,
  gitSha1: undefined,
  ofHub: true,
});

async function chosen(
  paths: readonly string[],
  wanted?: string,
  preferred: string | null = null,
  shards: readonly string[] = [],
): Promise<string | readonly string[]> {
  try {
    const { main, files } = await chooseFiles("o/n", paths.map(remote), wanted, preferred, async () => shards);
    return [main, ...files.map(({ path }) => path).filter((path) => path !== main)];
  } catch (error) {
    expect(error).toMatchObject({ code: "usage" });
    return (error as Error).message;
  }
}

it("takes the only GGUF, or the only ternary one, or the one that is known", async () => {
  expect(await chosen(["README.md", "m.gguf", "model.safetensors", "config.json"])).toEqual(["m.gguf"]);
  expect(await chosen(["m-f16.gguf", "m-i2_s.gguf", "m-Q4_K_M.gguf", "mmproj-m-q2_0.gguf"])).toEqual(["m-i2_s.gguf"]);
  expect(await chosen(["gguf/TQ2_0.gguf", "gguf/f32.gguf"])).toEqual(["gguf/TQ2_0.gguf"]);
  const bonsai = ["B-F16.gguf", "B-PQ2_0.gguf", "B-Q2_0.gguf", "B-Q2_0_g64.gguf"];
  expect(await chosen(bonsai, undefined, "B-Q2_0.gguf")).toEqual(["B-Q2_0.gguf"]);
  expect(await chosen(bonsai, undefined, "-Q2_0.gguf")).toEqual(["B-Q2_0.gguf"]);
  expect(await chosen(bonsai, undefined, "Q2_0.gguf")).toMatch(/several models/); // two end so
  expect(await chosen(bonsai)).toBe(
    "o/n: the repository has several models; name the file: o/n:B-PQ2_0.gguf, o/n:B-Q2_0.gguf, o/n:B-Q2_0_g64.gguf",
  );
  expect(await chosen(bonsai, "B-F16.gguf")).toEqual(["B-F16.gguf"]);
  expect(await chosen(["a-Q4_0.gguf", "b-Q2_K.gguf"])).toMatch(/several models; name the file: o\/n:a-Q4_0\.gguf, o\/n:b-Q2_K\.gguf$/);
  expect(await chosen(Array.from({ length: 20 }, (_, i) => `m${i}.gguf`))).toMatch(/ and 8 more$/);
});

it("takes all parts of a split GGUF, whichever is named", async () => {
  const parts = [1, 2, 3].map((i) => `m-tq2_0-0000${i}-of-00003.gguf`);
  expect(await chosen([...parts].reverse())).toEqual(parts);
  expect(await chosen([...parts, "m-f16.gguf"])).toEqual(parts);
  expect(await chosen(parts, parts[1])).toEqual(parts);
  expect(await chosen(parts.slice(0, 2))).toMatch(/is one of 3 parts, but the repository does not have "m-tq2_0-00003-of-00003\.gguf"/);
  expect(await chosen(["m-00001-of-99999.gguf"])).toMatch(/says that it is one of 99999 parts, which can't be/);
  expect(await chosen(["m-00001-of-00000.gguf"])).toMatch(/which can't be/);
});

it("takes SafeTensors with what stands beside them, where there is no GGUF", async () => {
  const beside = ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
  expect(await chosen(["model.safetensors", "other.safetensors", "pytorch_model.bin", "x.json", ...beside])).toEqual([
    "model.safetensors",
    ...beside,
  ]);
  expect(await chosen(["w.safetensors", "config.json"])).toEqual(["w.safetensors", "config.json"]);
  expect(await chosen(["sub/model.safetensors", "sub/config.json", "config.json"])).toEqual(["sub/model.safetensors", "sub/config.json"]);
  const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  const index = "model.safetensors.index.json";
  expect(await chosen([index, ...shards, "config.json"], undefined, null, shards)).toEqual([index, ...shards, "config.json"]);
  expect(await chosen([index, shards[0]!, "config.json"], undefined, null, shards)).toMatch(
    /lists a shard, but the repository does not have/,
  );
  expect(await chosen(["model.safetensors"])).toMatch(/can't be run without config\.json/);
  expect(await chosen(["a-Q4_0.gguf", "b-Q4_0.gguf", "model.safetensors", "config.json"])).toEqual(["model.safetensors", "config.json"]);
});

it("says what there is where there is no such file, or no model", async () => {
  expect(await chosen(["pytorch_model.bin"])).toBe("o/n: the repository has no model that can be run: no .gguf and no .safetensors file");
  expect(await chosen(["m.gguf"], "x.gguf")).toBe('o/n: the repository has no file "x.gguf"; it has o/n:m.gguf');
  expect(await chosen(["m.gguf", "x.bin"], "x.bin")).toMatch(/"x\.bin" is no model file; the repository has o\/n:m\.gguf/);
  expect(await chosen(["model.safetensors", "config.json", "CONFIG.json"], "model.safetensors")).toEqual([
    "model.safetensors",
    "config.json",
  ]);
  const folded = ["m-00001-of-00002.safetensors", "M-00001-of-00002.safetensors"];
  expect(await chosen(["m.safetensors.index.json", ...folded, "config.json"], undefined, null, folded)).toMatch(/differ only in case/);
});

it("the catalogue has names that can be pulled, no hash that is none, and says what is not known", () => {
  expect(CATALOGUE.length).toBeGreaterThan(10);
  for (const { name, file, size, sha256, licence, memory, note, ...more } of CATALOGUE) {
    expect(more).toEqual({});
    expect(parseName(name)).toMatchObject({ kind: "hub", repository: name });
    if (file !== null) expect(parseName(`${name}:${file}`)).toMatchObject({ file });
    expect(sha256 === null || /^[\da-f]{64}$/.test(sha256)).toBe(true);
    for (const number of [size, memory]) expect(number === null || (Number.isSafeInteger(number) && number > 1e6)).toBe(true);
    for (const text of [licence, note]) expect(text).not.toBe("");
    if (size === null) expect(sha256).toBeNull(); // whoever knows the bytes knows how many
  }
  expect(new Set(CATALOGUE.map(({ name }) => name)).size).toBe(CATALOGUE.length);
});
