// Bundles what tsc made into dist/bundle/, the part of dist/ that is published: the command line (bitnet.cjs), the library (index.js), and the
// programs that they start: worker threads (worker.cjs), chat templates (template.cjs). Each is one file, with the packages it needs: to find and
// parse some hundred small modules takes three threads longer than to run them. What Node starts itself is CommonJS, which it starts sooner.
// Development and most tests use tsc's modules.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const dist = join(dirname(fileURLToPath(import.meta.url)), "../dist");
const out = join(dist, "bundle");
/** Programs that others start: what is bundled, and as what. */
const programs = { "engine/generation/worker.js": "worker.cjs", "engine/text/template-program.js": "template.cjs" };

/** Files are found relative to the module that needs them; in the bundle that is dist/bundle/, and programs are the bundled ones. */
const relocate = {
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
};

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

rmSync(out, { recursive: true, force: true });
/** Packages of which something is in the bundle. */
const packages = new Set();
const entries = { "cli/main.js": "bitnet.cjs", "engine/index.js": "index.js", ...programs };
for (const [path, name] of Object.entries(entries)) {
  const bundle = await rolldown({ input: join(dist, path), platform: "node", external: [/^node:/], plugins: [relocate, withoutProcesses] });
  // Names stay, for stack traces; white space and comments go.
  const minify = { mangle: false, compress: false };
  const { output } = await bundle.write({
    file: join(out, name),
    format: name.endsWith(".cjs") ? "cjs" : "esm",
    codeSplitting: false,
    minify,
  });
  await bundle.close();
  for (const id of output.flatMap((file) => file.moduleIds ?? [])) {
    const [path] = id.match(/^.*[\\/]node_modules[\\/](?:@[^\\/]+[\\/])?[^\\/]+/) ?? [];
    if (path) packages.add(path);
  }
}

const licenses = [...packages].sort().map((path) => {
  const { name, version } = JSON.parse(readFileSync(join(path, "package.json"), "utf8"));
  return `${name} ${version}\n\n${readFileSync(join(path, "LICENSE"), "utf8").trim()}\n`;
});
writeFileSync(join(out, "LICENSES.txt"), `The files beside this one contain parts of these packages:\n\n${licenses.join("\n----\n\n")}`);
