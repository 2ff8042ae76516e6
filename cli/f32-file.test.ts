import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { F32File } from "./f32-file.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-f32-"));
afterAll(() => rmSync(folder, { recursive: true }));

it("writes little-endian numbers in pieces, and takes its name when it is whole", () => {
  const path = join(folder, "a.f32");
  writeFileSync(path, "old");
  const file = F32File.create(path, "--logits-out");
  const whole = new Float32Array([1, -2.5, 3e38, 0.1]);
  file.append(whole.subarray(0, 1));
  file.append(whole.subarray(1));
  expect(readFileSync(path, "utf8")).toBe("old");
  file.commit();
  file.discard();
  const bytes = readFileSync(path);
  expect(bytes.length).toBe(16);
  expect([0, 4, 8, 12].map((offset) => bytes.readFloatLE(offset))).toEqual([...whole]);
  expect(readdirSync(folder)).toEqual(["a.f32"]);
});

it("leaves nothing behind when it did not get whole", () => {
  const file = F32File.create(join(folder, "b.f32"), "--logits-out");
  file.append(new Float32Array(3));
  file.discard();
  expect(readdirSync(folder)).toEqual(["a.f32"]);
});

it("names flag and path when it can't write", () => {
  expect(() => F32File.create(join(folder, "none", "c.f32"), "--logits-out")).toThrow(
    expect.objectContaining({ code: "io", message: expect.stringMatching(/c\.f32 \(--logits-out\): no such file/) }),
  );
});
