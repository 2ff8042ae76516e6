import { setTimeout as sleep } from "node:timers/promises";
import { loadModel } from "../../engine/index.js";
import { createHandler } from "../handler.js";
import { workOn } from "./queue.js";
import { undated } from "./reproducible.js";

// A worker that is killed: `bitnet worker`, but slow enough to be killed at work, and missed soon.

const SLOW_MS = 100;
const LOCK_MS = 1_000;

const [url] = process.argv.slice(2);
const model = await loadModel(undefined, { threads: 1 });
const handler = createHandler(new Map([["bitnet-stories-4m", undated(model)]]));
await workOn(
  url!,
  async (request) => {
    await sleep(SLOW_MS);
    return handler(request);
  },
  { window: 2, lockMs: LOCK_MS, stopping: new AbortController().signal },
);
