import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { BUILD_FILE, builtHashes } from "../records/build.js";
import type { PackNpm } from "./npm.js";
import { gzip, tar } from "./tar.js";

/** Of this repository, which the records of a clone name; oracles and schemas are left out, to be quick. */
const SHIPPED = [
  BUILD_FILE,
  ...Object.keys(builtHashes(".")),
  ...["models/bitnet-stories-4m/packed/model.safetensors", "models/bitnet-stories-4m/ggml-model-i2_s.gguf"],
];
/** Of the release. */
const OWN = [
  ...["package.json", "README.md", "LICENSE", "CHANGELOG.md", "docs/release.md", "docs/PERF_COMPARISON.md"],
  ...["docs/perf-bitnet-stories-4m.svg", "docs/perf-2b4t-random.svg", "docs/performance-history.svg"],
];

/** In place of npm, which npm.test.ts and the gates try: packs what is built here with the pages and the version of a release. */
export const packHere: PackNpm = async (root, overlay, version) => {
  const at = (path: string): string => (existsSync(join(overlay, path)) ? join(overlay, path) : join(root, path));
  const files = [...SHIPPED.map((path) => [path, path] as const), ...OWN.map((path) => [path, at(path)] as const)];
  const packed = files.map(([path, from]) => ({ path: `package/${path}`, data: readFileSync(from) }));
  return { file: `bitnet-ts-${version}.tgz`, data: gzip(await tar(packed, 499_162_500)) };
};
