import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import * as nodeDigest from "./node/digest.js";
import * as nodeFiles from "./node/files.js";
import * as nodeKernels from "./node/kernel-files.js";
import * as nodeLimits from "./node/limits.js";
import * as nodeName from "./node/name.js";
import * as nodePaths from "./node/paths.js";
import * as nodeThreads from "./node/threads.js";
import * as nodeFlags from "./node/v8-flags.js";
import * as webDigest from "./web/digest.js";
import * as webFiles from "./web/files.js";
import * as webKernels from "./web/kernel-files.js";
import * as webLimits from "./web/limits.js";
import * as webName from "./web/name.js";
import * as webPaths from "./web/paths.js";
import * as webThreads from "./web/threads.js";
import * as webFlags from "./web/v8-flags.js";

// The compiler sees the engine with Node's modules alone. Those of pages must take and give the same.

/** What the engine takes of a module, by the module's name. */
function taken(): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const path of readdirSync("engine", { recursive: true, encoding: "utf8" })) {
    if (!path.endsWith(".ts") || path.includes(".test.") || path.startsWith("host")) continue;
    for (const [, names, module] of readFileSync(`engine/${path}`, "utf8").matchAll(/import \{([^}]*)\} from "#host\/([\w-]+)\.js"/g)) {
      const all = found.get(module!) ?? new Set();
      for (const name of names!.split(",")) if (name.trim() !== "") all.add(name.trim());
      found.set(module!, all);
    }
  }
  return found;
}

/** The compiler refuses a module of pages whose functions take or give something else than Node's of the same names. */
function twins<Node extends object, Web extends Pick<Node, keyof Node & keyof Web>>(node: Node, web: Web): [Set<string>, Set<string>] {
  return [new Set(Object.keys(node)), new Set(Object.keys(web))];
}

it("the hosts' modules have one shape, and each has what the engine takes of it", () => {
  const modules = {
    digest: twins(nodeDigest, webDigest),
    files: twins(nodeFiles, webFiles),
    "kernel-files": twins(nodeKernels, webKernels),
    limits: twins(nodeLimits, webLimits),
    name: twins(nodeName, webName),
    paths: twins(nodePaths, webPaths),
    threads: twins(nodeThreads, webThreads),
    "v8-flags": twins(nodeFlags, webFlags),
  };
  const wanted = taken();
  expect([...wanted.keys()].toSorted()).toEqual(Object.keys(modules));
  for (const [module, both] of Object.entries(modules)) {
    for (const names of both)
      expect(
        [...wanted.get(module)!].filter((name) => !names.has(name)),
        module,
      ).toEqual([]);
  }
});
