import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { takeCoverage } from "node:v8";
import { afterAll, beforeAll, expect } from "vitest";

// Before each test file of a coverage run, in a process of its own: what it runs, on all its threads and in its children, is written down.

const base = process.env.NODE_V8_COVERAGE!;
const folder = join(base, `children-${process.pid}`);
mkdirSync(folder);

beforeAll(() => {
  process.env.NODE_V8_COVERAGE = folder; // of children and threads; this process keeps its own
});
afterAll(() => {
  takeCoverage();
  const { testPath } = expect.getState();
  writeFileSync(join(base, `file-${process.pid}.json`), JSON.stringify({ path: testPath, seconds: performance.now() / 1000 }));
});
