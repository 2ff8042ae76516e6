import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeEach, expect, it } from "vitest";
import { BitnetError } from "../../engine/errors.js";
import { THOROUGH } from "../../engine/thorough.test.helper.js";
import { type AcceptanceSummary, SUMMARY_FILE } from "../acceptance/acceptance.js";
import type { Check } from "../acceptance/check.js";
import { Clone, COMMIT_TIME, ENVIRONMENT } from "../acceptance/clone.test.helper.js";
import { MODEL_CHECKS } from "../acceptance/model-checks.js";
import { SIGN_OFF } from "../acceptance/sign-off.js";
import { HISTORY_FILE, readHistory } from "../performance/history.js";
import { provenance } from "../records/provenance.js";
import { readRecord } from "../records/records.js";
import { packHere } from "./package.test.helper.js";
import { prepareRelease, type ReleaseOptions } from "./release.js";
import { verifyRelease } from "./verify.js";

const clone = new Clone();
beforeEach(() => clone.make());
afterAll(() => clone.remove());

const folders = { out: join(clone.folder, "out/release-v0.2.0"), results: join(clone.folder, "results") };
const GGUF = "bench/results/perf-bitnet-stories-4m-gguf.json";
const ARCHIVE = "bitnet-ts-v0.2.0-artifacts.tar.gz";
const NPM = "bitnet-ts-0.2.0.tgz";
const LIST = "RELEASE_CHECKLIST_v0.2.0.md";

/** As the command line calls it, on the small clone, with recorded results. */
async function prepare(more: Partial<ReleaseOptions> = {}): ReturnType<typeof prepareRelease> {
  await clone.results(folders.results);
  return prepareRelease({
    ...{ version: "0.2.0", dryRun: false, root: clone.root, out: folders.out, results: folders.results },
    ...{ cliArgs: ["release", "prepare"], seed: 42, deterministic: true, environment: ENVIRONMENT, date: new Date(), pack: packHere },
    ...more,
  });
}

/** All checks of the models, with what they say of such a run: the first leaves its artifacts. */
const MODELS: readonly Check[] = MODEL_CHECKS.map(({ id, title }, i) => ({
  ...{ id, title },
  run: async ({ out, record }) => {
    if (i === 0) await clone.results(out, await provenance(record));
    const { checks } = await readRecord<AcceptanceSummary>(join(out, SUMMARY_FILE), "acceptance-summary");
    const { figures } = checks.find((one) => one.id === id)!;
    return { status: "PASS", ...(figures && { figures }) };
  },
}));

/** Every file of the clone, by its hash. */
function snapshot(root = clone.root): Record<string, string> {
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    files
      .map(({ parentPath, name }) => [join(parentPath, name).slice(root.length + 1), sha256(readFileSync(join(parentPath, name)))])
      .sort(),
  );
}

/** A release's folder has every file, each with its sum. */
function holds(folder: string): void {
  expect(readdirSync(folder).sort()).toEqual(
    [LIST, "MANIFEST.json", "SHA256SUMS", ARCHIVE, NPM, "bitnet-ts-v0.2.0.cdx.json", "bitnet-ts-v0.2.0.provenance.json", "tree"].sort(),
  );
  const sums = readFileSync(join(folder, "SHA256SUMS"), "utf8").trim().split("\n");
  expect(sums).toHaveLength(6);
  for (const line of sums) {
    const [hash, name] = line.split("  ");
    expect(sha256(readFileSync(join(folder, name!)))).toBe(hash);
  }
}

const sha256 = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");

it("puts version, changelog and checklist into the tree, and the rest into a folder, whose sums are right", async () => {
  const before = snapshot();
  const release = await prepare();
  const history = [HISTORY_FILE, "docs/PERF_COMPARISON.md", "docs/performance-history.svg"];
  expect(release.tree).toEqual(["CHANGELOG.md", ...history, "package-lock.json", "package.json", LIST]);
  const changed = Object.entries(snapshot()).filter(([path, hash]) => before[path] !== hash);
  expect(changed.map(([path]) => path)).toEqual(["CHANGELOG.md", LIST, ...history, "package-lock.json", "package.json"].sort());
  expect(readHistory(clone.read(HISTORY_FILE)).map(({ version, model }) => [version, model.name, model.format])).toEqual([
    ...[
      ["0.2.0", "2b4t-random", "gguf"],
      ["0.2.0", "2b4t-random", "safetensors"],
    ],
    ...[
      ["0.2.0", "bitnet-stories-4m", "gguf"],
      ["0.2.0", "bitnet-stories-4m", "safetensors"],
    ],
  ]);
  expect(JSON.parse(clone.read("package.json"))).toMatchObject({ name: "bitnet-ts", version: "0.2.0" });
  expect(JSON.parse(clone.read("package-lock.json"))).toMatchObject({ version: "0.2.0", packages: { "": { version: "0.2.0" } } });
  expect(clone.read("CHANGELOG.md")).toContain("## [Unreleased]\n\n## [0.2.0] - 2023-11-14\n\n### Added\n\n- Wings."); // the commit's day
  holds(folders.out);
  const ticked = readFileSync(join(folders.out, LIST), "utf8"); // from results, and never else
  expect(ticked).toContain("- [x] Acceptance");
  expect(ticked).toContain("- [x] Format parity, FP32↔FP32: τ-b ≥ 0.95, |ΔNLL| ≤ 0.01");
  expect(ticked).toContain("- [x] Format parity, Quant↔FP32");
  expect(ticked).toContain("- [x] Sign-off");
  expect(ticked).toContain('- [ ] `git tag -a v0.2.0 -m "Dual-format validation: audited & gated"`');
  expect(release.commands.join("\n")).toMatch(
    /^git add CHANGELOG\.md .* RELEASE_CHECKLIST_v0\.2\.0\.md\ngit commit .*\ngit tag -a v0\.2\.0 -m .*\ngit push\ngit push --tags\nnpm publish \/\S+\/out\/release-v0\.2\.0\/bitnet-ts-0\.2\.0\.tgz$/,
  );
});

it("the archive is the same, byte for byte, from the same results, and holds what the manifest says", async () => {
  await prepare({ dryRun: true });
  const first = readFileSync(join(folders.out, ARCHIVE));
  await prepare({ dryRun: true, cliArgs: ["another", "way"], out: `${folders.out}-again` });
  expect(readFileSync(join(`${folders.out}-again`, ARCHIVE)).equals(first)).toBe(true);

  const unpacked = join(clone.folder, "unpacked");
  mkdirSync(unpacked, { recursive: true });
  expect(spawnSync("tar", ["-xzf", join(folders.out, ARCHIVE), "-C", unpacked])).toMatchObject({ status: 0 });
  type Manifest = {
    readonly version: string;
    readonly provenance: { readonly package_version: string };
    readonly package: { readonly files: readonly object[] };
    readonly files: readonly { readonly path: string; readonly sha256: string }[];
  };
  const manifest = await readRecord<Manifest>(join(unpacked, "MANIFEST.json"), "manifest");
  expect([manifest.version, manifest.provenance.package_version]).toEqual(["0.2.0", "0.2.0"]);
  const npm = readFileSync(join(folders.out, NPM));
  const integrity = `sha512-${createHash("sha512").update(npm).digest("base64")}`;
  expect(manifest.package).toMatchObject({ path: NPM, bytes: npm.length, integrity });
  const kernel = sha256(readFileSync("dist/kernels/plain.wasm"));
  expect(manifest.package.files).toContainEqual({ path: "dist/kernels/plain.wasm", bytes: expect.any(Number), sha256: kernel });
  const paths = manifest.files.map(({ path }) => path);
  for (const path of [
    GGUF,
    "docs/PERF_COMPARISON.md",
    "docs/perf-bitnet-stories-4m.svg",
    HISTORY_FILE,
    "CHANGELOG.md",
    "acceptance_summary.json",
  ]) {
    expect(paths).toContain(path);
  }
  const { "MANIFEST.json": _manifest, SHA256SUMS: _sums, ...held } = snapshot(unpacked);
  expect(held).toEqual(Object.fromEntries(manifest.files.map(({ path, sha256: hash }) => [path, hash])));
  expect(Math.floor(statSync(join(unpacked, "CHANGELOG.md")).mtimeMs / 1000)).toBe(COMMIT_TIME);

  // The bill of materials names what is bundled, as package-lock.json has it.
  const bom = JSON.parse(readFileSync(join(folders.out, "bitnet-ts-v0.2.0.cdx.json"), "utf8")) as {
    readonly components: readonly { readonly purl: string; readonly hashes: readonly { readonly content: string }[] }[];
  };
  expect(bom).toMatchObject({
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    metadata: {
      component: {
        ...{ name: "bitnet-ts", version: "0.2.0" },
        hashes: [
          {
            alg: "SHA-512",
            content: createHash("sha512")
              .update(readFileSync(join(folders.out, NPM)))
              .digest("hex"),
          },
        ],
      },
    },
  });
  const products = sha256(readFileSync("dist/kernels/products.wasm"));
  expect(bom.components).toContainEqual(
    expect.objectContaining({ type: "file", name: "dist/kernels/products.wasm", hashes: [{ alg: "SHA-256", content: products }] }),
  );
  const lock = JSON.parse(clone.read("package-lock.json")) as { packages: Record<string, { version: string; integrity: string }> };
  const commander = lock.packages["node_modules/commander"]!;
  const own = bom.components.find(({ purl }) => purl === `pkg:npm/commander@${commander.version}`)!;
  expect(own).toMatchObject({ type: "library", name: "commander", licenses: [{ license: { id: "MIT" } }] });
  expect(`sha512-${Buffer.from(own.hashes[0]!.content, "hex").toString("base64")}`).toBe(commander.integrity);
  expect(bom.components.map(({ purl }) => purl)).toEqual(expect.arrayContaining([expect.stringMatching(/^pkg:npm\/ajv@/)]));
});

it("on no branch there is nothing to push to", async () => {
  clone.put(".git/HEAD", `${clone.commit}\n`);
  const { commands } = await prepare({ dryRun: true });
  expect(commands.filter((command) => command.startsWith("git push"))).toEqual([]);
  expect(commands.some((command) => command.startsWith("git tag -a v0.2.0"))).toBe(true);
});

it("a dry run without the deterministic environment is no go, and says which line to type", async () => {
  const checks = [
    ...MODELS.map(
      (check): Check =>
        check.id === "d.environment" ? { ...check, run: () => ({ status: "SKIP", reason: "run export", ship: false }) } : check,
    ),
    ...SIGN_OFF,
  ];
  expect(await prepare({ results: undefined, dryRun: true, environment: "", checks })).toMatchObject({ noGo: "d.environment: run export" });
  expect(readFileSync(join(folders.out, LIST), "utf8")).toContain("- [ ] Acceptance");
  await expect(verifyRelease(folders.out)).rejects.toMatchObject({ message: expect.stringContaining("d.environment did not pass") });
  await expect(prepare({ environment: "" })).rejects.toMatchObject({
    message: `the deterministic environment is not set (BITNET_DETERMINISTIC, BITNET_SEED, BITNET_NUM_THREADS): run export ${ENVIRONMENT}`,
  });
});

it("where the tree can't be written, it is as it was, and there is no release", async () => {
  const folder = `RELEASE_CHECKLIST_v0.2.0.md`;
  mkdirSync(join(clone.root, folder));
  const before = snapshot();
  await expect(prepare({ out: `${folders.out}-refused` })).rejects.toMatchObject({ code: "io" });
  expect(snapshot()).toEqual(before);
  expect(existsSync(`${folders.out}-refused`)).toBe(false);
});

it("without a check that decides a ship criterion there is no go, dry or not", async () => {
  const measured: Check = { id: "c.fp32-fp32", title: "parity", run: () => ({ status: "PASS" }) };
  for (const dryRun of [false, true]) {
    await expect(prepare({ results: undefined, dryRun, checks: [measured, ...SIGN_OFF] })).rejects.toMatchObject({
      code: "acceptance",
      message: expect.stringMatching(/^ship criteria are not met: Format parity, Quant↔FP32: [^;]*$/),
    });
  }
});

// Takes seconds: CI runs it.
it.runIf(THOROUGH)("a dry run of a changed tree is no go, and says so", async () => {
  clone.put("a.txt", "4\n");
  const checks = [...MODELS, ...SIGN_OFF];
  const { noGo, summary } = await prepare({ results: undefined, dryRun: true, checks });
  expect([noGo, summary.checks.at(-1)]).toEqual([
    "g.clean-tree: changed since the commit: a.txt (this blocks a release)",
    expect.objectContaining({ id: "g.clean-tree", status: "SKIP" }),
  ]);
  expect(readFileSync(join(folders.out, LIST), "utf8")).toContain("- [ ] Sign-off");
  await expect(prepare({ results: undefined, checks })).rejects.toMatchObject({ code: "acceptance" });
  await clone.make();
  expect(await prepare({ results: undefined, dryRun: true, checks })).toMatchObject({ noGo: undefined });
});

const failing: Check = { id: "c.fp32-fp32", title: "parity", run: () => ({ status: "FAIL", reason: "it differs" }) };
const refusals: readonly (readonly [
  cause: string,
  code: string,
  breakIt: () => Partial<ReleaseOptions> | Promise<Partial<ReleaseOptions>>,
])[] = [
  ["a check that fails", "acceptance", () => ({ results: undefined, checks: [failing] })],
  [
    "a tree that is not clean",
    "acceptance",
    () => {
      clone.put("a.txt", "4\n");
      return { results: undefined, checks: SIGN_OFF };
    },
  ],
  [
    "one beside recorded results",
    "acceptance",
    () => {
      clone.put("a.txt", "4\n");
      return {};
    },
  ],
  [
    "results of a tree that was not clean",
    "stale",
    async () => {
      const results = join(clone.folder, "dirty");
      await clone.results(results, { git_dirty: true });
      return { results };
    },
  ],
  [
    "results of another commit",
    "stale",
    async () => {
      const results = join(clone.folder, "other");
      await clone.results(results, { git_commit: "9f9dc76cc7ce" });
      return { results };
    },
  ],
  [
    "stale performance beside recorded results",
    "stale",
    () => {
      clone.edit(GGUF, /"kernel_sha256": "\w{4}/, '"kernel_sha256": "0000');
      return {};
    },
  ],
  [
    "a package that npm can't install",
    "acceptance",
    () => ({
      pack: () => {
        throw new BitnetError("acceptance", "the npm package does not run");
      },
    }),
  ],
  [
    "a changelog with nothing in it",
    "usage",
    () => {
      clone.edit("CHANGELOG.md", "### Added\n\n- Wings.\n\n", "");
      return { dryRun: true };
    },
  ],
  [
    "another version of what is bundled than that of package-lock.json",
    "file",
    () => {
      clone.edit("package-lock.json", /("node_modules\/commander": \{\s*"version": ")[^"]*/, "$10.0.1");
      clone.build();
      return { dryRun: true };
    },
  ],
  ["a folder that is no release", "usage", () => ({ out: join(clone.root, "docs") })],
  ["the version of the package", "usage", () => ({ version: "0.1.0" })],
  [
    "an older version than a tag",
    "usage",
    () => {
      clone.put(".git/refs/tags/v0.3.0", `${clone.commit}\n`);
      return {};
    },
  ],
  [
    // The folder of an earlier release says so; it is in no commit.
    "a changed source that an earlier release seems to have put there",
    "acceptance",
    () => {
      const out = join(clone.folder, "earlier");
      const change = "export const activation = 'silu';\n";
      clone.put("engine/network/feed-forward.ts", change);
      clone.build();
      mkdirSync(join(out, "tree/engine/network"), { recursive: true });
      writeFileSync(join(out, "tree/engine/network/feed-forward.ts"), change);
      writeFileSync(join(out, "SHA256SUMS"), `${"0".repeat(64)}  bitnet-ts-v0.2.0-artifacts.tar.gz\n`);
      return { out };
    },
  ],
  [
    "a package.json with the new version and something else",
    "acceptance",
    () => {
      clone.edit("package.json", '"version": "0.1.0",', '"version": "0.2.0",\n  "funding": "https://example.org",');
      clone.build();
      return {};
    },
  ],
  [
    "a folder with sums of something else",
    "usage",
    () => {
      const out = join(clone.folder, "sums");
      mkdirSync(out, { recursive: true });
      writeFileSync(join(out, "SHA256SUMS"), `${"0".repeat(64)}  photos.zip\n`);
      return { out };
    },
  ],
  [
    "a release's folder with something else in it",
    "usage",
    () => {
      const out = join(clone.folder, "more");
      mkdirSync(out, { recursive: true });
      writeFileSync(join(out, "SHA256SUMS"), `${"0".repeat(64)}  bitnet-ts-v0.2.0-artifacts.tar.gz\n`);
      writeFileSync(join(out, "notes.txt"), "mine");
      return { out };
    },
  ],
  ["no deterministic environment", "acceptance", () => ({ environment: ENVIRONMENT.replace(/ BITNET_SEED=42/, "") })],
  [
    "results without the deterministic environment",
    "stale",
    async () => {
      const results = join(clone.folder, "environment");
      await clone.results(results, { deterministic: false });
      return { results };
    },
  ],
  ["a folder that is no clone", "usage", () => ({ root: clone.folder })],
];
it.each(refusals)("%s: no release, and the tree is as it was", async (_, code, breakIt) => {
  const more = await breakIt();
  const before = snapshot();
  await expect(prepare({ out: `${folders.out}-refused`, ...more })).rejects.toMatchObject({ code });
  expect(snapshot()).toEqual(before);
  expect(readdirSync(clone.folder).filter((name) => name.includes("refused"))).toEqual([]);
});

// Takes seconds: CI runs it.
it.runIf(THOROUGH)("all gates pass on what is about to be released: version and changelog are those to come", async () => {
  const whole = { results: undefined, checks: [...MODELS, ...SIGN_OFF] };
  const release = await prepare(whole);
  expect(release.summary.checks.filter(({ status }) => status !== "PASS")).toEqual([]);
  expect(release.summary.checks.find(({ id }) => id === "g.changelog")!.figures).toEqual({ version: "0.2.0" });
  // Once more, on what the first has put there: all of it is the release's own, and nothing else.
  const again = await prepare(whole);
  expect(again.tree).toEqual([LIST]);
  const history = [HISTORY_FILE, "docs/PERF_COMPARISON.md", "docs/performance-history.svg"];
  expect(again.commands[0]!.split(" ").slice(2).sort()).toEqual(["CHANGELOG.md", LIST, ...history, "package-lock.json", "package.json"]);
  clone.edit("CHANGELOG.md", "Wings", "Wheels");
  await expect(prepare(whole)).rejects.toMatchObject({ code: "acceptance", message: expect.stringContaining("g.clean-tree") });
});

/** What `bitnet release prepare` does, as a process that can be killed. */
const PROGRAM = `
  import { prepareRelease } from ${JSON.stringify(pathToFileURL("dist/validation/release/release.js").href)};
  import { packHere } from ${JSON.stringify(pathToFileURL("dist/validation/release/package.test.helper.js").href)};
  const [root, out, results] = process.argv.slice(1);
  await prepareRelease({ version: "0.2.0", dryRun: false, root, out, results, cliArgs: [], pack: packHere, seed: 42, deterministic: true, environment: "${ENVIRONMENT}", date: new Date() });
`;

// Processes that are killed take seconds: CI runs it.
it.runIf(THOROUGH)("killed at any moment it leaves nothing partial under a final name, and the next run cleans up", async () => {
  const out = join(clone.folder, "killed/release-v0.2.0");
  await clone.results(folders.results);
  const args = ["--input-type=module", "-e", PROGRAM, clone.root, out, folders.results];
  const before = snapshot();
  const whole = (): void => expect(spawnSync(process.execPath, args).status).toBe(0);
  const started = performance.now();
  whole();
  const takes = performance.now() - started;
  const after = snapshot();
  for (let run = 0; run < 4; run++) {
    await clone.make();
    rmSync(out, { recursive: true });
    const child = spawn(process.execPath, args, { stdio: "ignore" });
    await new Promise((done) => setTimeout(done, takes * (0.3 + 0.8 * Math.random())));
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    const left = Object.entries(snapshot()).filter(([path]) => !path.endsWith(".tmp"));
    for (const [path, hash] of left) expect([before[path], after[path]], path).toContain(hash);
    if (existsSync(out)) holds(out);
    whole();
    expect(snapshot()).toEqual(after);
  }
  // As after kills in the midst of it: some files are in the tree, and there is a part of a folder, of a process that has ended.
  await clone.make();
  clone.put("package.json", readFileSync(join(out, "tree/package.json")));
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  mkdirSync(join(out, `../.release-v0.2.0.${pid}-01234567.tmp`), { recursive: true });
  writeFileSync(join(out, `../.release-v0.2.0.${pid}-01234567.tmp/SHA256SUMS`), "half");
  whole();
  expect(readdirSync(join(out, ".."))).toEqual(["release-v0.2.0"]);
  expect(snapshot()).toEqual(after);
});
