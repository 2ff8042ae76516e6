import { defineConfig } from "vitest/config";

// The tests run on what ships: tsc compiles them with the code into dist/, and nothing is transformed on the way.
export default defineConfig({
  test: {
    include: ["dist/**/*.test.js"],
    server: { deps: { external: [/\/dist\/(?!.*\.test\.js)/] } },
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
