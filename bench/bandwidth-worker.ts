/** One reading thread: waits for a word, then takes pieces until there are none left, and says when it began and ended. */
import { parentPort, workerData } from "node:worker_threads";
import { ARRIVED, CHUNK, FIRST, NEXT, type Reading } from "./bandwidth.js";
import { probes } from "./machine.js";

const { memory, control, threads, thread, chunks } = workerData as Reading;
const { read } = probes("plain", memory);

parentPort!.on("message", () => {
  // All begin together.
  Atomics.add(control, ARRIVED, 1);
  while (Atomics.load(control, ARRIVED) < threads);
  const start = process.hrtime.bigint(); // one clock for all threads
  for (let chunk = Atomics.add(control, NEXT, 1); chunk < chunks; chunk = Atomics.add(control, NEXT, 1)) {
    read(thread * 64, FIRST + chunk * CHUNK, CHUNK);
  }
  parentPort!.postMessage({ start, end: process.hrtime.bigint() });
});
