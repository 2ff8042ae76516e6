/** The server that bench/soak.ts puts under load, in a process of its own: it says what memory it holds when it is asked. */
import { once } from "node:events";
import { loadModel } from "../engine/index.js";
import { createHandler, listen } from "../server/index.js";

/** What the process holds, after a collection. Bytes, but for the counts. */
export interface Held {
  readonly heap: number;
  /** Array buffers and the like. */
  readonly external: number;
  readonly rss: number;
  /** Sockets, timers and what else keeps a process running. */
  readonly handles: number;
  readonly running: number;
  readonly waiting: number;
}

/** Set by BITNET_SOAK_LEAK: bytes kept of each request, to see that the bounds notice. */
const leak = Number(process.env.BITNET_SOAK_LEAK ?? 0);
const leaked: Uint8Array[] = [];

const model = await loadModel(undefined, { threads: 2, maxRunning: 32, maxWaiting: 1024 });
const handler = createHandler(new Map([["stories", model]]), { loopbackOnly: true, maxBodyBytes: 65_536 });
const listening = await listen(
  (request) => {
    if (leak > 0) leaked.push(new Uint8Array(leak).fill(1));
    return handler(request);
  },
  { host: "127.0.0.1", port: 0 },
);

process.on("message", async () => {
  // Connections that were left before the server came to them are still to be seen.
  for (let idle = 0; idle < 20; idle++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    if (model.stats.running + model.stats.waiting > 0) idle = 0;
  }
  for (let i = 0; i < 5; i++) {
    await new Promise((resolve) => setTimeout(resolve, 20)); // finalizers have their turn between two collections
    globalThis.gc!();
  }
  const { heapUsed: heap, external, rss } = process.memoryUsage();
  const { running, waiting } = model.stats;
  const handles = process.getActiveResourcesInfo().length;
  process.send!({ heap, external, rss, handles, running, waiting } satisfies Held);
});
process.send!(listening.url);
await once(process, "disconnect");
await listening.close(0);
await model.close();
