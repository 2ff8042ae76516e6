import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { relaxedSimdFlag, revectorizeFlag, type V8Host } from "./v8-flags.js";

const host = (changes: Partial<V8Host>): V8Host => ({
  ...{ v8: 13.6, arch: "x64", revectorizer: true },
  listFlags: () => {
    throw new Error("nothing has to be asked");
  },
  ...changes,
});

test("256-bit code: on x64, where V8 was built with it, under the name that this V8 has for it", () => {
  const experimental = "--experimental-wasm-revectorize";
  expect(revectorizeFlag(host({}))).toBe(experimental); // Node 24
  expect(revectorizeFlag(host({ v8: 14.6 }))).toBe(experimental); // Node 26
  expect(revectorizeFlag(host({ v8: 12.4 }))).toBeUndefined(); // Node 22
  expect(revectorizeFlag(host({ arch: "arm64" }))).toBeUndefined();
  expect(revectorizeFlag(host({ revectorizer: false }))).toBeUndefined();
  expect(revectorizeFlag(host({ v8: undefined }))).toBeUndefined(); // Bun, Deno
  const listing = (name: string) => () =>
    `  --wasm-x (x)\n        type: bool\n  ${name} (enable 128 to 256 bit …)\n  --trace-wasm-revectorize (…)\n`;
  expect(revectorizeFlag(host({ v8: 15.1, listFlags: listing("--wasm-revectorize") }))).toBe("--wasm-revectorize");
  expect(revectorizeFlag(host({ v8: 15.1, listFlags: listing(experimental) }))).toBe(experimental);
  expect(revectorizeFlag(host({ v8: 15.1, listFlags: listing("--wasm-y") }))).toBeUndefined();
  expect(revectorizeFlag(host({ v8: 15.1, listFlags: () => "" }))).toBeUndefined();
});

test("relaxed SIMD: only where it is not there by default", () => {
  expect(relaxedSimdFlag(host({ v8: 11.3 }))).toBe("--experimental-wasm-relaxed-simd"); // Node 20
  expect(relaxedSimdFlag(host({ v8: 12.4 }))).toBeUndefined();
  expect(relaxedSimdFlag(host({ v8: undefined }))).toBeUndefined();
});

test("this V8 knows the flags that are set on it", () => {
  const flags = [relaxedSimdFlag(), revectorizeFlag()].filter((flag) => flag !== undefined);
  const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, "-e", "console.log(1)"], { encoding: "utf8" });
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "1\n", stderr: "" });
});
