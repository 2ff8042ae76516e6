import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { THOROUGH } from "../engine/thorough.test.helper.js";
import { pullFrom, sendFile, someModel, TestHub, temporaryStore } from "./hub.test.helper.js";
import { list, resolve } from "./index.js";

const PROGRAM = fileURLToPath(new URL("killed.test.helper.js", import.meta.url));

it("killed at random moments, it goes on where it was, and the file is right; a second process waits meanwhile", async () => {
  const hub = await TestHub.start();
  const { cache, remove } = temporaryStore();
  try {
    const data = someModel(2_000_000);
    hub.files.set("model.gguf", data);
    // Two thirds of a second at least, whichever way it is divided.
    hub.trick = (request, response, { server }) => {
      if (server === "hub") return false;
      return setTimeout(() => sendFile(request, response, data, '"tag"'), 80);
    };
    let left = 0;
    const kills = THOROUGH ? 12 : 3;
    for (let kill = 0; kill < kills; kill++) {
      const child = spawn(process.execPath, [PROGRAM, hub.endpoint, cache], { stdio: "ignore" });
      // From when it has asked for something on: what a process does before is not ours.
      const before = hub.seen.length;
      const exit = once(child, "exit");
      // One that finds the whole file there, since the one before was fast, asks for nothing.
      while (hub.seen.length === before && child.exitCode === null) await sleep(5);
      await sleep(600 * Math.random());
      child.kill("SIGKILL");
      await exit;
      const listing = await list({ cache });
      const [unfinished, ...others] = listing.unfinished;
      expect(others).toEqual([]);
      if (unfinished) {
        expect(unfinished).toMatchObject({ name: "owner/name", size: data.length, active: false });
        expect(unfinished.done).toBeGreaterThanOrEqual(left);
        left = unfinished.done;
      }
    }
    let received = 0;
    const child = spawn(process.execPath, [PROGRAM, hub.endpoint, cache], { stdio: ["ignore", "pipe", "inherit"] });
    let said = "";
    child.stdout.on("data", (piece: Buffer) => {
      said += String(piece);
    });
    const [{ path }] = await Promise.all([
      pullFrom(hub, cache, "owner/name", {
        onProgress: (progress) => {
          received = progress.received;
        },
      }),
      once(child, "exit"),
    ]);
    expect(said).toBe(`${path}\n`);
    expect(received).toBeLessThanOrEqual(data.length - left);
    expect(readFileSync(resolve("owner/name", { cache }))).toEqual(data);
    expect(readdirSync(join(cache, "partial"))).toEqual([]);
  } finally {
    await hub.stop();
    remove();
  }
});
