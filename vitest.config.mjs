import { defineConfig } from "vitest/config";

// tsc compiles the tests with the code into dist/, and they run on its modules as they are; cli/bundle.test.ts compares the bundle with them.
export default defineConfig({
  test: {
    include: ["dist/**/*.test.js"],
    server: { deps: { external: [/\/dist\/(?!.*\.test\.js)/] } },
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
