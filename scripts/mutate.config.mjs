import { defineConfig } from "vitest/config";

// Runs the test files that MUTATE_TESTS names, in its order, in a scratch copy of the tree; with MUTATE_COVER it says who runs what.

const files = JSON.parse(process.env.MUTATE_TESTS ?? "[]");
const cover = process.env.MUTATE_COVER !== undefined;

/** Keeps the order. */
class AsGiven {
  shard(specifications) {
    return specifications;
  }
  sort(specifications) {
    const place = ({ moduleId }) => files.findIndex((path) => moduleId.endsWith(path));
    return specifications.toSorted((a, b) => place(a) - place(b));
  }
}

export default defineConfig({
  root: process.cwd(),
  test: {
    include: files,
    server: { deps: { external: [/\/dist\/(?!.*\.test\.js)/] } },
    testTimeout: 600_000,
    hookTimeout: 600_000,
    pool: "forks",
    maxWorkers: cover ? 2 : 1,
    isolate: process.env.MUTATE_ISOLATE === "1",
    sequence: { sequencer: AsGiven },
    setupFiles: cover ? ["dist/bench/mutate/cover.js"] : [],
  },
});
