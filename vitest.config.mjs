import { defineConfig } from "vitest/config";

// tsc compiles the tests with the code into dist/, and they run on its modules as they are; cli/bundle.test.ts compares the bundle with them.
const shared = {
  server: { deps: { external: [/\/dist\/(?!.*\.test\.js)/] } },
  testTimeout: 600_000,
  hookTimeout: 600_000,
};

// What runs whole models has a process a file: it looks at threads, memory and files that the process holds. All else shares two processes: to
// start one and load the engine takes longer than many of those files.
const models = ["dist/engine/generation/**/*.test.js", "dist/validation/**/*.test.js", "dist/cli/**/*.test.js"];

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      { test: { ...shared, name: "models", include: models } },
      { test: { ...shared, name: "parts", include: ["dist/**/*.test.js"], exclude: models, isolate: false } },
    ],
  },
});
