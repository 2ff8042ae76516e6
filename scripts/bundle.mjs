// Bundles what tsc made into dist/bundle/, the part of dist/ that is published: the command line (bitnet.cjs, and validation.cjs, which it loads
// when a command validates), the library (index.js; index.cjs for require()) with what gets models for it (hub.js, hub.cjs) and what
// answers OpenAI's API (server.js, server.cjs) and the AI SDK (ai.js, ai.cjs), and the programs that they start: worker threads (worker.cjs), speed
// (perf.js). Each is one file, with the packages it needs: to find and parse some hundred small modules takes three threads longer than to run them.
// What Node starts itself is CommonJS, which it starts sooner. Lines stay lines: an uncaught error shows the one it came from. Development and most
// tests use tsc's modules.
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, extname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const dist = join(dirname(fileURLToPath(import.meta.url)), "../dist");
const out = join(dist, "bundle");
/** Programs that others start: what is bundled, and as what. */
const programs = {
  "engine/generation/worker.js": "worker.cjs",
  "validation/performance/program.js": "perf.js",
};
/** The same of a web page. */
const webPrograms = {
  "engine/generation/worker.js": "web-worker.js",
  "engine/host/web/store-worker.js": "web-store.js",
};

/**
 * Files are found relative to the module that needs them; in the bundle that is dist/bundle/, and programs are the bundled ones.
 * @param {Readonly<Record<string, string>>} programs
 */
const relocate = (programs) => ({
  name: "relocate",
  transform(code, id) {
    if (!id.startsWith(join(dist, sep))) return null;
    const moved = code.replace(/new URL\((["`])([^"`]+)\1, import\.meta\.url\)/g, (_, quote, path) => {
      const target = resolve(dirname(id), path);
      const program = programs[relative(dist, target).split(sep).join("/")];
      const place = program ? `./${program}` : relative(out, target).split(sep).join("/");
      return `new URL(${quote}${place}${quote}, __moduleUrl)`;
    });
    if (/\bimport\.meta\b/.test(moved))
      throw new Error(`${id}: in the bundle, only new URL("…", import.meta.url) leads to the right place`);
    return moved.replaceAll("__moduleUrl", "import.meta.url");
  },
});

/** Commander runs other programs for subcommands that are files of their own; here there are none, and the module takes long to load. */
const withoutProcesses = {
  name: "without-processes",
  transform(code, id) {
    if (!/[\\/]commander[\\/]lib[\\/]command\.js$/.test(id)) return null;
    const without = code.replace("const childProcess = require('node:child_process');", "const childProcess = undefined;");
    if (without === code) throw new Error(`${id}: no longer loads node:child_process where it did`);
    return without;
  },
};

const { engines, version } = JSON.parse(readFileSync(join(dist, "../package.json"), "utf8"));
const oldest = engines.node
  .match(/^>=(\d+)\.(\d+)$/)
  .slice(1)
  .map(Number);

/** Refuses an old Node in one sentence, before anything that it lacks is asked for. Its syntax must be that of Node 14. @param {string} refuse a statement that uses `problem` */
const versionCheck = (refuse) => `{
	const [major, minor] = (globalThis.process?.versions?.node ?? "${oldest.join(".")}").split(".").map(Number);
	const problem = "bitnet-ts requires Node.js ${oldest.join(".")} or newer, but this is Node.js " + major + "." + minor + ": get a newer version from https://nodejs.org";
	if (major < ${oldest[0]} || (major === ${oldest[0]} && minor < ${oldest[1]})) ${refuse}
}
`;

/**
 * Puts the check first. Modules are linked before any code runs, and a name that an old Node lacks would end it there, so what is imported of Node
 * is looked up after the check.
 */
const checksVersion = {
  name: "checks-version",
  renderChunk(code, { fileName }) {
    if (fileName === "validation.cjs") return null; // loaded by what has checked
    const [, hashbang, rest] = code.match(/^(#!.*\n)?([\s\S]*)$/);
    if (fileName === "bitnet.cjs") {
      const refuse = '{\n\t\tprocess.stderr.write("error: " + problem + "\\n");\n\t\tprocess.exit(1);\n\t}';
      return `${hashbang ?? ""}${versionCheck(refuse)}${rest}`;
    }
    const check = versionCheck("throw new Error(problem);");
    if (extname(fileName) === ".cjs") return `${check}${rest}`;
    const names = [];
    const linked = rest.replace(/^import \{([^}]*)\} from ("node:([\w/]+)");\n/gm, (_, imported, specifier, module) => {
      const name = `node_${module.replaceAll("/", "_")}`;
      names.push(`const {${imported.replace(/ as /g, ": ")}} = ${name};\n`);
      return `import * as ${name} from ${specifier};\n`;
    });
    const imports = linked.match(/^(?:import [^;]*;\n)*/)[0];
    return `${imports}${check}${names.join("")}${linked.slice(imports.length)}`;
  },
};

rmSync(out, { recursive: true, force: true });
/** Packages of which something is in the bundle. */
const packages = new Set();
/** Names and lines stay, for stack traces; comments go. */
const minify = { mangle: false, compress: false, codegen: { removeWhitespace: false } };

/** Writes one bundle. @param {string} path its first module, in dist/; @param {object} output how it is written; @param {object[]} plugins more */
async function write(path, output, plugins = []) {
  // What a command loads when it is called is in its file already: that is meant.
  const checks = { ineffectiveDynamicImport: false };
  // The bundle contains module paths: without symlinks resolved, they don't depend on where node_modules is.
  const shared = {
    checks,
    resolve: { symlinks: false },
    platform: "node",
    // Optional peers, loaded when they are asked for.
    external: [/^node:/, "sigstore", "bullmq", "ioredis"],
    plugins: [relocate(programs), withoutProcesses, checksVersion, ...plugins],
  };
  const bundle = await rolldown({ ...shared, input: { bitnet: join(dist, path) }, preserveEntrySignatures: "allow-extension" });
  const written = await bundle.write({ ...output, minify, comments: false });
  await bundle.close();
  for (const id of written.output.flatMap((file) => file.moduleIds ?? [])) {
    const [path] = id.match(/^.*[\\/]node_modules[\\/](?:@[^\\/]+[\\/])?[^\\/]+/) ?? [];
    if (path) packages.add(path);
  }
  return written.output;
}

/** The program that measures speed runs the library as it is published. */
const published = {
  name: "published",
  resolveId: (source) => (source === "../../engine/index.js" ? { id: "./index.js", external: true } : null),
};

/** What stands beside the library uses it as it is published: its errors are one class, whoever threw them. @param {string} index the library */
const besides = (index) => ({
  name: "besides-the-library",
  resolveId: (source, importer) =>
    importer !== undefined && ["errors.js", "index.js"].some((name) => resolve(dirname(importer), source) === join(dist, "engine", name))
      ? { id: index, external: true }
      : null,
});

const libraries = [
  ["engine/index.js", "index"],
  ["hub/index.js", "hub"],
  ["server/index.js", "server"],
  ["ai/index.js", "ai"],
].flatMap(([path, name]) => [
  [path, `${name}.js`],
  [path, `${name}.cjs`],
]);
for (const [path, name] of [...libraries, ...Object.entries(programs)]) {
  // Jest runs CommonJS in a context that has no import().
  const output = { file: join(out, name), format: name.endsWith(".cjs") ? "cjs" : "esm", codeSplitting: false, dynamicImportInCjs: false };
  const beside = /^(?:ai|hub|server)(\.c?js)$/.exec(name);
  await write(path, output, name === "perf.js" ? [published] : beside ? [besides(`./index${beside[1]}`)] : []);
}

// For web pages: small, since they download it.
for (const [path, name] of [["engine/web.js", "web.js"], ...Object.entries(webPrograms)]) {
  const bundle = await rolldown({
    input: join(dist, path),
    platform: "browser",
    resolve: { symlinks: false, conditionNames: ["browser", "import"] },
    preserveEntrySignatures: "allow-extension",
    checks: { ineffectiveDynamicImport: false },
    plugins: [relocate(webPrograms)],
  });
  // Chat templates are a file of their own, which is loaded when a model has one.
  const late = /[\\/]text[\\/](?:jinja[\\/]|(?:chat-template|placeholder)\.js$)/;
  const groups = [
    { name: "chat", test: late, priority: 2 },
    { name: "web", test: (id) => !late.test(id), priority: 1 },
  ];
  const files = { dir: out, entryFileNames: name, chunkFileNames: "web-[name].js" };
  const codeSplitting = name === "web.js" && { includeDependenciesRecursively: false, groups };
  await bundle.write({ ...files, format: "esm", codeSplitting, minify: true, comments: false });
  await bundle.close();
}

// For runtimes without workers that compile modules themselves: they are imports.
const inline = await rolldown({
  input: join(dist, "engine/workerd.js"),
  platform: "browser",
  resolve: { symlinks: false, conditionNames: ["workerd", "browser", "import"] },
  checks: { ineffectiveDynamicImport: false },
  plugins: [
    relocate({}),
    {
      name: "modules",
      resolveId: (source) => (source.endsWith(".wasm") ? { id: `../kernels/${basename(source)}`, external: "relative" } : null),
    },
  ],
});
await inline.write({ file: join(out, "workerd.js"), format: "esm", codeSplitting: false, minify: true, comments: false });
await inline.close();

// The page that shows it, beside the package's own files as `npm run web` serves them. It is no part of the package.
if (existsSync(join(dist, "web/main.js"))) {
  const site = join(dist, "site");
  rmSync(site, { recursive: true, force: true });
  const page = await rolldown({
    input: join(dist, "web/main.js"),
    platform: "browser",
    resolve: { conditionNames: ["browser", "import"] },
    transform: { define: { PACKAGE_VERSION: JSON.stringify(version) } },
    plugins: [
      {
        // Its errors are one class with those of the package, whoever threw them.
        name: "the-package",
        resolveId: (source) => (/(?:^|\/)engine\/(?:web|errors)\.js$/.test(source) ? { id: "./dist/bundle/web.js", external: true } : null),
      },
    ],
  });
  await page.write({ file: join(site, "main.js"), format: "esm", codeSplitting: false, minify: true, comments: false });
  await page.close();
  for (const name of ["index.html", "page.css", "isolate.js"]) copyFileSync(join(dist, "../web", name), join(site, name));
}

// The command line is two files: what validates, with its packages, would make every start slower. Commands that use validation/ are with it.
const commands = readdirSync(join(dist, "cli")).filter((name) => /^[^.]+\.js$/.test(name));
const late = new Set(
  commands
    .filter((name) => /from "\.\.\/validation\//.test(readFileSync(join(dist, "cli", name), "utf8")))
    .map((name) => join(dist, "cli", name)),
);
const first = /[\\/]node_modules[\\/]commander[\\/]|^(?!.*[\\/]node_modules[\\/])/;
const validates = (id) => late.has(id) || id.startsWith(join(dist, "validation", sep)) || !first.test(id);
const chunks = await write("cli/main.js", {
  dir: out,
  format: "cjs",
  entryFileNames: "[name].cjs",
  chunkFileNames: "[name].cjs",
  codeSplitting: {
    includeDependenciesRecursively: false,
    groups: [
      { name: "validation", test: validates, priority: 2 },
      { name: "bitnet", test: (id) => !validates(id), priority: 1 },
    ],
  },
});
const names = chunks.map(({ fileName }) => fileName).sort();
const loaded = chunks.find(({ isEntry }) => isEntry).imports.filter((name) => !name.startsWith("node:"));
if (names.join() !== "bitnet.cjs,validation.cjs" || loaded.length > 0)
  throw new Error(
    `the command line is ${names.join(", ")} and loads ${loaded.join(", ") || "none"} at its start: import validation/ dynamically`,
  );

// Declarations for require(): those of the modules that each index.d.ts leads to, under names that say CommonJS.
for (const room of ["ai", "engine", "hub", "server"]) {
  for (const name of readdirSync(join(dist, room), { recursive: true })) {
    if (name.endsWith(".d.cts")) rmSync(join(dist, room, name));
  }
}
const declared = new Set();
function declare(path) {
  if (declared.has(path)) return;
  declared.add(path);
  const text = readFileSync(path, "utf8");
  writeFileSync(path.replace(/\.ts$/, ".cts"), text.replace(/(from "|import\(")(\.[^"]+)\.js"/g, '$1$2.cjs"'));
  for (const [, specifier] of text.matchAll(/(?:from "|import\(")(\.[^"]+)\.js"/g)) declare(resolve(dirname(path), `${specifier}.d.ts`));
}
for (const room of ["ai", "engine", "hub", "server"]) declare(join(dist, room, "index.d.ts"));

const licenses = [...packages].sort().map((path) => {
  const { name, version } = JSON.parse(readFileSync(join(path, "package.json"), "utf8"));
  return `${name} ${version}\n\n${readFileSync(join(path, existsSync(join(path, "LICENSE")) ? "LICENSE" : "LICENSE-MIT"), "utf8").trim()}\n`;
});
writeFileSync(join(out, "LICENSES.txt"), `The files beside this one contain parts of these packages:\n\n${licenses.join("\n----\n\n")}`);
