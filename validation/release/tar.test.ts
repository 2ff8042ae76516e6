import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, expect, it } from "vitest";
import { gzip, tar } from "./tar.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-tar-"));
afterAll(() => rmSync(folder, { recursive: true }));

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
/** Longer than a stored block of gzip can be, and no multiple of a block of tar. */
const LONG = Uint8Array.from({ length: 200_001 }, (_, i) => (i * 7919) >> 3);
const FILES = [
  { path: "b/naïve.txt", data: bytes("é\n") },
  { path: "a.txt", data: bytes("") },
  { path: "b/long.bin", data: LONG },
  { path: `c/${"long".repeat(20)}/${"name".repeat(20)}`, data: bytes("more than the 100 bytes that a header has for it") },
];
const TIME = 1_700_000_100;

it("zlib reads what gzip writes, and it says nothing of when and where", () => {
  for (const data of [new Uint8Array(), bytes("x"), LONG, LONG.subarray(0, 65_535), LONG.subarray(0, 131_070)]) {
    const packed = gzip(data);
    expect(gunzipSync(packed).equals(data)).toBe(true);
    expect([...packed.subarray(0, 10)]).toEqual([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
  }
});

it("the system's tar lists and unpacks the archive: sorted, with one time and no owner", async () => {
  const path = join(folder, "archive.tar.gz");
  writeFileSync(path, gzip(await tar(FILES, TIME)));
  const list = spawnSync("tar", ["-tf", path], { encoding: "utf8", env: { ...process.env, LC_ALL: "C.UTF-8" } });
  expect(list).toMatchObject({ status: 0, stderr: "" });
  expect(list.stdout.trim().split(/\r?\n/)[0]).toBe("a.txt");
  expect(spawnSync("tar", ["-xf", path, "-C", folder])).toMatchObject({ status: 0 });
  for (const { path: name, data } of FILES) {
    expect(readFileSync(join(folder, name)).equals(data)).toBe(true);
    expect(statSync(join(folder, name)).mtimeMs).toBe(TIME * 1000);
  }
});

it("equal files give equal bytes in any order, and another time other ones", async () => {
  const once = Buffer.from(await tar(FILES, TIME));
  expect(once.equals(await tar(FILES.toReversed(), TIME))).toBe(true);
  expect(once.equals(await tar(FILES, TIME + 1))).toBe(false);
  // Another version of the library that writes other bytes is to be noticed.
  expect(createHash("sha256").update(once).digest("hex")).toBe("769a2cfaf75b7fd9ef96d9b516e7af0153cff4d2647158047e1d5ff156f45786");
});

it("a header as POSIX has it, by hand; two empty blocks end the archive", async () => {
  const archive = Buffer.from(await tar([{ path: "a", data: bytes("x") }], 8));
  const head = archive.subarray(0, 512);
  expect(head.subarray(100, 108).toString()).toBe("0000644\0");
  expect(head.subarray(108, 124).toString()).toBe("0000000\0".repeat(2)); // owner and group
  expect(head.subarray(124, 136).toString()).toBe("00000000001\0");
  expect(head.subarray(136, 148).toString()).toBe("00000000010\0"); // 8 in octal
  expect(head.subarray(257, 265).toString()).toBe("ustar\x0000");
  // The sum of all bytes, with its own field as spaces.
  const sum = [...head.subarray(0, 148), ...Buffer.alloc(8, " "), ...head.subarray(156)].reduce((x, y) => x + y);
  expect(Number.parseInt(head.subarray(148, 154).toString(), 8)).toBe(sum);
  expect(archive.subarray(1024).equals(Buffer.alloc(1024))).toBe(true);
});
