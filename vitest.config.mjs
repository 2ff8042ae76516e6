import { defineConfig } from "vitest/config";

// tsc compiles the tests with the code into dist/, and they run on its modules as they are; cli/bundle.test.ts compares the bundle with them.
const setup = ["thorough", "equal-bytes"];
const setupFiles = (names) => names.map((name) => `./dist/engine/${name}.test.helper.js`);
const shared = {
  server: { deps: { external: [/\/dist\/(?!.*\.test\.js)/] } },
  setupFiles: setupFiles([...setup, "bundled-worker"]),
  testTimeout: 600_000,
  hookTimeout: 600_000,
};

// These look at the threads, memory and files that their process holds, so each has a process of its own. All else shares two: to start one and
// load the engine takes longer than many files.
const alone = ["close", "load", "model", "stream"].map((name) => `dist/engine/{generation,network}/${name}.test.js`);

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      { test: { ...shared, name: "alone", include: alone, setupFiles: setupFiles(setup) } },
      { test: { ...shared, name: "shared", include: ["dist/**/*.test.js"], exclude: alone, isolate: false } },
    ],
  },
});
