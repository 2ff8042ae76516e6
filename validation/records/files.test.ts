import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, expect, it } from "vitest";
import { THOROUGH } from "../../engine/thorough.test.helper.js";
import { temporaryFolder, writeWhole } from "./files.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-files-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Writes one file over and over, a letter throughout each time. */
const WRITER = `
  const { writeWhole } = await import(${JSON.stringify(pathToFileURL(resolve("dist/validation/records/files.js")))});
  process.stdout.write("ready");
  for (let i = 0; ; i++) await writeWhole(process.argv[1], "abcdefgh"[i % 8].repeat(2 ** 24));
`;

// Processes that are killed take seconds: CI runs it.
it.runIf(THOROUGH)("leaves a whole file or none, whenever it is killed, and the next run removes what was left", async () => {
  const path = join(folder, "big");
  let left = 0;
  for (let run = 0; run < 6; run++) {
    const child = spawn(process.execPath, ["--input-type=module", "-e", WRITER, path], { stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout, "data");
    await new Promise((done) => setTimeout(done, Math.random() * 80));
    child.kill("SIGKILL");
    await once(child, "exit");
    const names = readdirSync(folder);
    left += names.filter((name) => name !== "big").length;
    expect(names.filter((name) => !/^\.big\.\d+-[0-9a-f]{8}\.tmp$/.test(name) && name !== "big")).toEqual([]);
    if (existsSync(path)) {
      const bytes = readFileSync(path);
      expect(bytes.length).toBe(2 ** 24);
      expect(bytes.equals(Buffer.alloc(2 ** 24, bytes[0]!))).toBe(true);
    }
  }
  expect(left).toBeGreaterThan(0); // it was killed while it wrote
  await writeWhole(path, "new");
  expect(readdirSync(folder)).toEqual(["big"]);
  expect(readFileSync(path, "utf8")).toBe("new");
});

it("leaves alone what another file or a running process may need", async () => {
  const others = [`.one.json.${process.pid}-01234567.tmp`, ".one.jsonl.1-01234567.tmp", ".one.json.tmp", ".one.json.0-xyz.tmp"];
  for (const name of others) writeFileSync(join(folder, name), "");
  await writeWhole(join(folder, "one.json"), "{}");
  expect(readdirSync(folder)).toEqual(expect.arrayContaining([...others, "one.json"]));
});

it("says why the system refused, and leaves nothing", async () => {
  const file = join(folder, "file");
  await writeWhole(file, "");
  await expect(writeWhole(join(file, "below"), "")).rejects.toMatchObject({ code: "io", message: expect.stringContaining("can't write") });
});

it("makes a temporary folder, and removes what a killed run left of its name", async () => {
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  const left = join(realpathSync(tmpdir()), `.bitnet-files-test.${pid}-01234567.tmp`);
  mkdirSync(join(left, "inside"), { recursive: true });
  const made = await temporaryFolder("bitnet-files-test");
  expect([existsSync(made), existsSync(left)]).toEqual([true, false]);
  rmSync(made, { recursive: true });
});
