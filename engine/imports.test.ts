import { readdirSync, readFileSync } from "node:fs";
import { dirname, posix } from "node:path";
import ts from "typescript";
import { describe, expect, it } from "vitest";

// The way of the data: host → container → model → packing → compute → network → sampling → text → grammar → generation → conversion → index. Imports run backwards only.
const ROOMS = ["host", "container", "model", "packing", "compute", "network", "sampling", "text", "grammar", "generation", "conversion"];

/** Validation's rooms: each imports from those before it only. The files beside them stand on all. */
const VALIDATION_ROOMS = ["statistics", "records", "performance", "receipts", "evaluation", "parity", "acceptance", "release"];
/** What tests compare with, beside those rooms: they use statistics and those before them here, and no other room uses them. */
const ORACLES = ["families", "fuzz", "published"];
/** The folder of validation with nothing in it but tests of the whole. */
const TESTS_ONLY = "end-to-end";

/** `compute/step.ts` carries sampling's settings to the workers, so it names their type. */
const TYPE_ONLY_EXCEPTION = { from: "engine/compute/step.ts", to: "engine/sampling/types.ts" };

/** The room of what differs between hosts, and the folders of each. Everything else imports their modules as `#host/…`. */
const HOST = "engine/host/";
const HOSTS = [`${HOST}node/`, `${HOST}web/`, `${HOST}inline/`];
/** The public API in a page: that of everywhere, and what only pages have. */
const WEB_INDEX = "engine/web.ts";
/** The same where one thread is all there is. */
const INLINE_INDEX = "engine/workerd.ts";
/** What only some hosts have. */
const OF_HOSTS = new Set(
  "process Buffer require __dirname window document navigator location self Worker MessageChannel fetch XMLHttpRequest Blob File FileReader localStorage indexedDB".split(
    " ",
  ),
);

/** What makes and replays receipts, on any host: the page uses it, too. */
const RECEIPTS = new Set([
  ...["receipts/calls.ts", "receipts/receipt.ts", "receipts/replay.ts"].map((path) => `validation/${path}`),
  ...["records/hashes.ts", "records/origin.ts", "records/plausible.ts", "records/tokenizer-hash.ts"].map((path) => `validation/${path}`),
]);

interface Import {
  readonly specifier: string;
  readonly typeOnly: boolean;
}

/** Place in the order; the engine's root files are the ground that all stand on, its index the roof. */
function rank(path: string): number {
  if (path === "engine/index.ts") return ROOMS.length + 1;
  if (path === WEB_INDEX || path === INLINE_INDEX) return ROOMS.length + 2;
  const [, room, inside] = path.split("/");
  return inside === undefined ? 0 : ROOMS.indexOf(room ?? "") + 1;
}

/** Whether a file of validation may import another one of it. */
function mayImport(path: string, target: string): boolean {
  const [from = "", to = ""] = [path, target].map((one) => one.split("/").slice(1, -1)[0]); // "": a file beside the rooms
  if (from === to) return true;
  const before = ORACLES.includes(from)
    ? ["statistics", ...ORACLES.slice(0, ORACLES.indexOf(from))]
    : from === ""
      ? VALIDATION_ROOMS
      : VALIDATION_ROOMS.slice(0, Math.max(0, VALIDATION_ROOMS.indexOf(from)));
  return before.includes(to);
}

/** What a source file imports, and what is wrong with it, one sentence each. `path` is relative to the repository. */
function examine(path: string, source: string): { readonly imports: readonly Import[]; readonly faults: readonly string[] } {
  const found: string[] = [];
  const imports: Import[] = [];
  const isTest = path.includes(".test."); // their helpers too: x.test.helper.ts
  const file = ts.createSourceFile(path, source, ts.ScriptTarget.Latest, true);
  const fault = (node: ts.Node, text: string): void => {
    found.push(`${path}:${file.getLineAndCharacterOfPosition(node.getStart()).line + 1} ${text}`);
  };

  const visit = (node: ts.Node): void => {
    if (
      (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) &&
      node.moduleSpecifier &&
      ts.isStringLiteral(node.moduleSpecifier)
    ) {
      const typeOnly = ts.isImportDeclaration(node) ? node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword : node.isTypeOnly;
      imports.push({ specifier: node.moduleSpecifier.text, typeOnly });
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [specifier] = node.arguments;
      if (specifier && ts.isStringLiteralLike(specifier)) imports.push({ specifier: specifier.text, typeOnly: false });
      else fault(node, "imports what can't be known before it runs");
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument) && ts.isStringLiteral(node.argument.literal)) {
      imports.push({ specifier: node.argument.literal.text, typeOnly: true });
    } else if (ts.isExportAssignment(node) || node.kind === ts.SyntaxKind.DefaultKeyword) {
      if (!ts.isDefaultClause(node.parent)) fault(node, "has a default export");
    } else if (node.kind === ts.SyntaxKind.AnyKeyword) {
      fault(node, "says `any`");
    } else if (ts.isEnumDeclaration(node)) {
      fault(node, "declares an enum");
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  if (!isTest && path.startsWith("engine/") && !path.startsWith(HOST)) {
    for (const name of foreignNames(file)) fault(name, `names ${name.text}, which not every host has: it belongs to host/`);
  }

  // Tests may look at whatever they test against.
  if (!isTest) for (const imported of imports) found.push(...importFaults(path, imported));
  return { imports, faults: found };
}

/** Identifiers that mean what only some hosts have: not those of properties, nor what the file itself declares. */
function foreignNames(file: ts.SourceFile): ts.Identifier[] {
  const found: ts.Identifier[] = [];
  const declared = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node)) {
      const { parent } = node;
      const named = (parent as { readonly name?: ts.Node }).name === node;
      if (named && !ts.isPropertyAccessExpression(parent)) declared.add(node.text);
      if (OF_HOSTS.has(node.text) && !named && !(ts.isQualifiedName(parent) && parent.right === node)) found.push(node);
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found.filter(({ text }) => !declared.has(text));
}

function faults(path: string, source: string): readonly string[] {
  return examine(path, source).faults;
}

/** The file that a relative import means, or one of a host: Node's. */
function targetOf(path: string, specifier: string): string {
  if (specifier.startsWith("#host/")) return `${HOSTS[0]}${specifier.slice("#host/".length).replace(/\.js$/, ".ts")}`;
  return posix.join(dirname(path), specifier).replace(/\.js$/, ".ts");
}

/** Circles in a graph, at least one where there are any: "a → b → a". */
function circles(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const way: string[] = [];
  const visit = (path: string): void => {
    const at = way.indexOf(path);
    if (at >= 0) found.push([...way.slice(at), path].join(" → "));
    if (at >= 0 || done.has(path)) return;
    way.push(path);
    for (const next of imports.get(path) ?? []) visit(next);
    way.pop();
    done.add(path);
  };
  for (const path of imports.keys()) visit(path);
  return found;
}

function importFaults(path: string, { specifier, typeOnly }: Import): string[] {
  const [area] = path.split("/");
  const wrong = (why: string): string[] => [`${path} imports ${specifier}: ${why}`];
  if (!specifier.startsWith(".")) {
    if (RECEIPTS.has(path) && !specifier.startsWith("#host/")) return wrong("receipts are of no host");
    if (area !== "engine") return [];
    if (specifier.startsWith("#host/")) return rank(path) > rank(HOST) ? [] : wrong("it runs against the way of the data");
    if (specifier.startsWith("node:")) return path.startsWith(`${HOST}node/`) ? [] : wrong("node:* belongs to host/node/");
    return wrong("the engine is our own");
  }
  if (specifier.endsWith(".wasm")) return path.startsWith(HOSTS[2]!) ? [] : wrong("only a host that compiles modules itself imports them");
  const target = targetOf(path, specifier);
  const [targetArea] = target.split("/");
  const host = HOSTS.find((folder) => target.startsWith(folder));
  const mayUseWeb = path === WEB_INDEX || path.startsWith(HOSTS[2]!);
  if (host !== undefined && !path.startsWith(host) && !(mayUseWeb && host === HOSTS[1]))
    return wrong("what is of one host is imported as #host/…, and chosen by a condition");
  if (target.includes(".test.")) return wrong("a test must not be imported");
  if (area === "engine") {
    if (targetArea !== "engine") return wrong("the engine knows only itself");
    if (typeOnly && path === TYPE_ONLY_EXCEPTION.from && target === TYPE_ONLY_EXCEPTION.to) return [];
    return rank(target) <= rank(path) ? [] : wrong("it runs against the way of the data");
  }
  if (targetArea === "cli" && area !== "cli") return wrong("only cli knows cli");
  if (area === "hub" && targetArea !== "hub" && !/^engine\/(?:errors|options|system-reason)\.ts$/.test(target))
    return wrong("the hub knows the engine's errors and options, and no models");
  if (targetArea === "hub" && area !== "hub" && !(area === "cli" && /^hub\/(?:index|paths)\.ts$/.test(target)))
    return wrong("cli uses the hub's public API, and nobody else does");
  if (targetArea === "server" && area !== "server" && area !== "cli" && !(area === "bench" && target === "server/index.ts"))
    return wrong("only cli knows server, and bench its public API");
  if (area === "server" && targetArea !== "server" && targetArea !== "engine") return wrong("server stands on the engine alone");
  if (area === "ai" && targetArea !== "ai" && targetArea !== "engine") return wrong("ai stands on the engine alone");
  if (targetArea === "ai" && area !== "ai") return wrong("nobody knows ai");
  if (area === "web" && targetArea !== "web" && target !== WEB_INDEX && !RECEIPTS.has(target))
    return wrong("the page uses the public API of pages, and what receipts need of no host");
  if (targetArea === "web" && area !== "web") return wrong("nobody knows the page");
  const ofNode = targetArea === "validation" ? !RECEIPTS.has(target) : target === "engine/index.ts";
  if (RECEIPTS.has(path) && !typeOnly && ofNode) return wrong("receipts are of no host");
  if (area === "validation" && targetArea === "validation" && !mayImport(path, target))
    return wrong("against the order of validation's rooms");
  const usesPublic = area === "cli" || area === "server" || area === "ai";
  if (usesPublic && targetArea === "engine" && !/^engine\/(index|errors|system-reason)\.ts$/.test(target))
    return wrong(`${area} uses the public API`);
  return [];
}

function sourceFiles(): string[] {
  return ["ai", "engine", "hub", "server", "cli", "validation", "bench", "web"].flatMap((area) =>
    readdirSync(area, { recursive: true, encoding: "utf8" })
      .map((name) => posix.join(area, name.replaceAll("\\", "/")))
      .filter((path) => path.endsWith(".ts") && !/\/(node_modules|fixtures|peers)\//.test(path)),
  );
}

describe("the rules of the house", () => {
  const files = sourceFiles();

  it("every room of the engine has its place in the order", () => {
    const rooms = new Set(
      files.filter((path) => path.startsWith("engine/") && path.split("/").length > 2).map((path) => path.split("/")[1]),
    );
    expect([...rooms].filter((room) => !ROOMS.includes(room ?? ""))).toEqual([]);
    expect(rooms.size).toBe(ROOMS.length);
  });

  it("every room of validation has its place in the order, and what is only for tests holds nothing else", () => {
    const inRooms = files.filter((path) => path.startsWith("validation/") && path.split("/").length > 2);
    const rooms = new Set(inRooms.map((path) => path.split("/")[1]));
    expect([...rooms].toSorted()).toEqual([...VALIDATION_ROOMS, ...ORACLES, TESTS_ONLY].toSorted());
    expect(inRooms.filter((path) => path.startsWith(`validation/${TESTS_ONLY}/`) && !path.includes(".test."))).toEqual([]);
  });

  const sources = new Map(files.map((path) => [path, examine(path, readFileSync(path, "utf8"))]));

  it("are kept by every source file", () => {
    expect(files.length).toBeGreaterThan(30);
    expect([...sources.values()].flatMap((source) => source.faults)).toEqual([]);
  });

  it("no files import each other in a circle, not even for types", () => {
    const graph = [...sources].map(([path, { imports }]): [string, string[]] => {
      const relative = imports.filter(({ specifier }) => /^(?:\.|#host\/)/.test(specifier));
      return [path, relative.map(({ specifier }) => targetOf(path, specifier))];
    });
    expect(graph.flatMap(([, targets]) => targets).length).toBeGreaterThan(files.length);
    expect(circles(new Map(graph))).toEqual([]);
  });
});

describe("the checker", () => {
  const offences: [path: string, source: string, message: RegExp][] = [
    ["engine/container/gguf.ts", 'import { a } from "../model/config.js";', /against the way/],
    ["engine/text/bpe.ts", 'export { a } from "../generation/stream.js";', /against the way/],
    ["engine/compute/pool.ts", 'const a = await import("../network/forward.js");', /against the way/],
    ["engine/packing/i2s.ts", 'let a: import("../compute/arena.js").Arena;', /against the way/],
    ["engine/errors.ts", 'import { a } from "./container/source.js";', /against the way/],
    ["engine/errors.ts", 'import { a } from "#host/files.js";', /against the way/],
    ["engine/host/files.ts", 'import { a } from "#host/files.js";', /against the way/],
    ["engine/host/node/files.ts", 'import { a } from "../../container/source.js";', /against the way/],
    ["engine/host/web/files.ts", 'import { a } from "../node/files.js";', /of one host/],
    ["engine/host/web/files.ts", 'import { a } from "node:path";', /node:\*/],
    ["engine/host/web/files.ts", 'import { a } from "../inline/files.js";', /of one host/],
    ["engine/host/inline/files.ts", 'import { a } from "../node/files.js";', /of one host/],
    ["engine/host/web/kernel-files.ts", 'import a from "../../../kernels/plain.wasm";', /compiles modules itself/],
    ["engine/compute/pool.ts", 'import type { a } from "../host/node/threads.js";', /of one host/],
    ["engine/compute/pool.ts", 'import { Worker } from "node:worker_threads";', /node:\*/],
    ["server/node.ts", 'import { a } from "../engine/host/node/files.js";', /of one host/],
    ["engine/generation/model.ts", 'import { a } from "../index.js";', /against the way/],
    ["engine/compute/step.ts", 'import { SamplingOptions } from "../sampling/types.js";', /against the way/],
    ["engine/compute/pool.ts", 'import type { SamplingOptions } from "../sampling/types.js";', /against the way/],
    ["engine/compute/step.ts", 'import type { Rng } from "../sampling/rng.js";', /against the way/],
    ["engine/container/gguf.ts", 'import { open } from "node:fs/promises";', /node:\*/],
    ["engine/index.ts", 'import { join } from "node:path";', /node:\*/],
    ["engine/model/config.ts", 'import { Template } from "@huggingface/jinja";', /our own/],
    ["engine/text/load.ts", 'import { open } from "fs";', /our own/],
    ["engine/index.ts", 'import { main } from "../cli/main.js";', /only itself/],
    ["engine/network/forward.ts", 'import type { a } from "../../validation/parity/parity.js";', /only itself/],
    ["engine/model/config.ts", 'import { a } from "./config.test.js";', /a test/],
    ["validation/parity/parity.ts", 'import { a } from "../../cli/values.js";', /only cli/],
    ["engine/index.ts", 'import { a } from "../hub/index.js";', /only itself/],
    ["hub/pull.ts", 'import { a } from "../engine/index.js";', /no models/],
    ["hub/pull.ts", 'import { a } from "../cli/values.js";', /only cli/],
    ["validation/parity/parity.ts", 'import { a } from "../../hub/index.js";', /nobody else/],
    ["cli/pull.ts", 'import { a } from "../hub/store.js";', /hub's public API/],
    ["validation/records/records.ts", 'import type { a } from "../parity/types.js";', /order of validation/],
    ["validation/acceptance/acceptance.ts", 'const a = await import("../release/release.js");', /order of validation/],
    ["validation/release/release.ts", 'import { a } from "../add-model.js";', /order of validation/],
    ["validation/parity/parity.ts", 'import { a } from "../families/outputs.js";', /order of validation/],
    ["validation/add-model.ts", 'import { a } from "./families/outputs.js";', /order of validation/],
    ["validation/fuzz/bases.ts", 'import { a } from "../records/files.js";', /order of validation/],
    ["validation/families/model.ts", 'import { a } from "../published/standins.js";', /order of validation/],
    ["validation/statistics/summary.ts", 'import { a } from "../attic/files.js";', /order of validation/],
    ["validation/attic/files.ts", 'import { a } from "../statistics/summary.js";', /order of validation/],
    ["cli/run.ts", 'import { a } from "../engine/network/forward.js";', /public API/],
    ["web/main.ts", 'import { a } from "../engine/index.js";', /public API of pages/],
    ["web/prove.ts", 'import { a } from "../validation/receipts/verify.js";', /public API of pages/],
    ["validation/receipts/receipt.ts", 'import { a } from "node:crypto";', /of no host/],
    ["validation/receipts/replay.ts", 'import { a } from "../records/provenance.js";', /of no host/],
    ["validation/receipts/replay.ts", 'import { a } from "../../engine/index.js";', /of no host/],
    ["bench/peers.ts", 'import { a } from "../web/isolation.js";', /nobody knows the page/],
    ["server/chat.ts", 'import type { a } from "../engine/text/types.js";', /public API/],
    ["server/chat.ts", 'import { a } from "../validation/records/records.js";', /engine alone/],
    ["server/chat.ts", 'import { a } from "../cli/values.js";', /only cli knows cli/],
    ["validation/parity/parity.ts", 'import { a } from "../../server/handler.js";', /only cli knows server/],
    ["bench/soak-server.ts", 'import { a } from "../server/handler.js";', /only cli knows server/],
    ["engine/compute/pool.ts", "await import(name);", /can't be known/],
    ["engine/errors.ts", "export default class A {}", /default export/],
    ["cli/run.ts", "const a = 1; export default a;", /default export/],
    ["engine/errors.ts", "export function f(x: any): void {}", /`any`/],
    ["engine/errors.test.ts", "const a = x as Record<string, any>;", /`any`/],
    ["engine/errors.ts", "export enum A { b }", /enum/],
    ["engine/compute/cpus.ts", "const n = navigator.hardwareConcurrency;", /names navigator/],
    ["engine/container/gguf.ts", "const text = Buffer.from(bytes).toString();", /names Buffer/],
    ["engine/text/bpe.ts", "const of = process.env;", /names process/],
  ];
  it.each(offences)("reports %s: %s", (path, source, message) => {
    expect(faults(path, source)).toEqual([expect.stringMatching(message)]);
  });

  const allowed: [path: string, source: string][] = [
    [
      "engine/generation/model.ts",
      'import { a } from "../container/checkpoint.js"; import { b } from "./types.js"; import { c } from "../errors.js";',
    ],
    ["engine/index.ts", 'export { a } from "./generation/model.js";'],
    ["engine/compute/step.ts", 'import type { SamplingOptions } from "../sampling/types.js";'],
    [
      "engine/host/node/files.ts",
      'import { open } from "node:fs/promises"; import { a } from "../files.js"; import { b } from "./digest.js";',
    ],
    ["engine/host/web/files.ts", 'import { a } from "../files.js"; import { b } from "../../errors.js";'],
    ["engine/compute/pool.ts", 'import { a } from "#host/threads.js"; import type { b } from "../host/threads.js";'],
    ["engine/compute/pool.test.ts", 'import { a } from "../network/reference.js"; import { readFileSync } from "node:fs"; console.log(1);'],
    ["hub/pull.ts", 'import { a } from "./store.js"; import { b } from "../engine/errors.js"; import { c } from "node:fs";'],
    ["cli/pull.ts", 'import { a } from "../hub/index.js";'],
    ["cli/main.ts", 'import { a } from "../engine/index.js"; console.log(a); process.exit(0);'],
    ["cli/serve.ts", 'import { a } from "../server/handler.js";'],
    ["bench/soak-server.ts", 'import { a } from "../server/index.js";'],
    ["server/node.ts", 'import { a } from "../engine/index.js"; import { b } from "node:http"; import { c } from "./handler.js";'],
    ["validation/parity/parity.ts", 'import { a } from "../../engine/network/reference.js"; import { b } from "node:fs";'],
    ["validation/parity/parity.ts", 'import { a } from "./sides.js"; import { b } from "../records/records.js";'],
    ["validation/add-model.ts", 'import { a } from "./release/release.js"; import { b } from "./statistics/summary.js";'],
    ["validation/families/outputs.ts", 'import { a } from "./model.js"; import { b } from "../statistics/kendall.js";'],
    ["validation/records/records.test.ts", 'import { a } from "../release/release.js";'],
    ["engine/compute/cpus.ts", "const { process } = a; a.fetch(); class B { private document(): void {} }"],
    ["engine/host/web/limits.ts", "const n = navigator.hardwareConcurrency;"],
    ["engine/host/inline/files.ts", 'export { a } from "../web/files.js"; import b from "../../../kernels/plain.wasm";'],
    ["engine/workerd.ts", 'import "./generation/worker.js"; export type * from "./index.js";'],
    ["engine/web.ts", 'export { a } from "./host/web/store.js"; export type * from "./index.js";'],
    ["web/prove.ts", 'import { a } from "../validation/receipts/replay.js"; import { b } from "../engine/web.js";'],
    ["validation/receipts/replay.ts", 'import type { a } from "../records/provenance.js"; import { b } from "../records/hashes.js";'],
    ["engine/errors.ts", "switch (a) { default: break; } /* any console.log */ const b = 'export default any';"],
  ];
  it.each(allowed)("lets pass %s: %s", (path, source) => {
    expect(faults(path, source)).toEqual([]);
  });

  it("finds circles, and takes two ways to one file for none", () => {
    const of = (graph: Record<string, string[]>): string[] => circles(new Map(Object.entries(graph)));
    expect(of({ a: ["b", "c"], b: ["d"], c: ["d"], d: [] })).toEqual([]);
    expect(of({ a: ["a"] })).toEqual(["a → a"]);
    expect(of({ start: ["a"], a: ["b"], b: ["c"], c: ["a"] })).toEqual(["a → b → c → a"]);
    expect(of({ a: ["b"], b: ["a"], c: ["d"], d: ["a", "c"] })).toEqual(["a → b → a", "c → d → c"]);
  });

  it("sees every kind of import, of types too", () => {
    const source = 'import type { A } from "./a.js"; export * from "../b.js"; let c: typeof import("./c.js"); await import("./d.js");';
    const { imports } = examine("engine/text/x.ts", source);
    expect(imports.map(({ specifier }) => targetOf("engine/text/x.ts", specifier))).toEqual([
      "engine/text/a.ts",
      "engine/b.ts",
      "engine/text/c.ts",
      "engine/text/d.ts",
    ]);
  });
});
