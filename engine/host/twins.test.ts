import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import * as inlineDigest from "./inline/digest.js";
import * as inlineFiles from "./inline/files.js";
import type * as inlineKernels from "./inline/kernel-files.js";
import * as inlineLimits from "./inline/limits.js";
import * as inlineName from "./inline/name.js";
import * as inlinePaths from "./inline/paths.js";
import * as inlineThreads from "./inline/threads.js";
import * as inlineFlags from "./inline/v8-flags.js";
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

// The compiler sees the engine with Node's modules alone. Those of other hosts must take and give the same.

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

type Alike<Node, Other> = Pick<Node, keyof Node & keyof Other>;

/** The compiler refuses a module of another host whose functions take or give something else than Node's of the same names. */
function twins<Node extends object, Web extends Alike<Node, Web>, Inline extends Alike<Node, Inline>>(
  node: Node,
  web: Web,
  inline: Inline,
) {
  return [node, web, inline].map((module) => new Set(Object.keys(module)));
}

it("the hosts' modules have one shape, and each has what the engine takes of it", () => {
  const modules = {
    digest: twins(nodeDigest, webDigest, inlineDigest),
    files: twins(nodeFiles, webFiles, inlineFiles),
    "kernel-files": twins(nodeKernels, webKernels, nodeKernels as typeof inlineKernels),
    limits: twins(nodeLimits, webLimits, inlineLimits),
    name: twins(nodeName, webName, inlineName),
    paths: twins(nodePaths, webPaths, inlinePaths),
    threads: twins(nodeThreads, webThreads, inlineThreads),
    "v8-flags": twins(nodeFlags, webFlags, inlineFlags),
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
