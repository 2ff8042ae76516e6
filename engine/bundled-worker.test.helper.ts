import { statSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { fileURLToPath } from "node:url";
import workerThreads, { type WorkerOptions } from "node:worker_threads";

// Before every test file (vitest.config.mjs). Tests start some 800 worker threads, and to find and parse tsc's modules takes each longer than all it
// has to do: here they run what is published, one file of the same sources. Where tsc alone has run since, its modules are what is to be tested.

const modules = fileURLToPath(new URL("./generation/worker.js", import.meta.url));
const bundle = fileURLToPath(new URL("../bundle/worker.cjs", import.meta.url));
const compiled = fileURLToPath(new URL("../.tsbuildinfo", import.meta.url));
const writtenAt = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

if (writtenAt(bundle) > writtenAt(compiled)) {
  const { Worker } = workerThreads;
  workerThreads.Worker = class extends Worker {
    constructor(entry: string | URL, options?: WorkerOptions) {
      super(entry === modules ? bundle : entry, options);
    }
  };
  syncBuiltinESMExports();
}
