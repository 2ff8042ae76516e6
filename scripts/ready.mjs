// Makes a clone ready to run, before `npm start` and `npm test`: installs what package-lock.json names and builds dist/, each only when
// something changed since. Nothing is installed when this runs first, so it uses Node alone. What it does, it says on stderr.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { basename, dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

const OLDEST_NODE = [20, 19];
/** A process that holds the lock longer than this has died: no install or build takes so long. */
const STALE_LOCK_MS = 15 * 60_000;

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const lockPath = join(root, "dist", ".ready.lock");
const stampPath = join(root, "dist", ".ready");

function say(text) {
  process.stderr.write(`bitnet: ${text}\n`);
}

function stop(text, code) {
  say(text);
  process.exit(code);
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

/** npm writes what it has installed into node_modules, when it is done: the same packages as in package-lock.json are wanted. */
function needsInstall() {
  const wanted = readJson(join(root, "package-lock.json"))?.packages ?? {};
  const present = readJson(join(root, "node_modules/.package-lock.json"))?.packages;
  if (!present) return true;
  // Optional packages may be missing: those of other systems are.
  return Object.entries(wanted).some(([path, { version, integrity, optional, devOptional, peer }]) => {
    if (path === "") return false;
    const there = present[path];
    if (!there) return !(optional || devOptional || peer);
    return there.version !== version || there.integrity !== integrity;
  });
}

/** npm as [command, first arguments, whether it takes a shell to run it]. */
function findNpm() {
  const node = dirname(process.execPath);
  const scripts = [
    process.env.npm_execpath ?? "", // the npm that runs this; other package managers set it too
    join(node, "node_modules/npm/bin/npm-cli.js"), // beside node.exe
    join(node, "../lib/node_modules/npm/bin/npm-cli.js"),
  ];
  const script = scripts.find((path) => basename(path) === "npm-cli.js" && existsSync(path));
  // On Windows npm is a .cmd file, which only a shell can start.
  return script ? [process.execPath, [script], false] : ["npm", [], process.platform === "win32"];
}

function install() {
  say("installing dependencies");
  const [command, first, shell] = findNpm();
  // No package here has an install script, and this package's own is what runs now (prepare).
  const args = [...first, "ci", "--include=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  // All of their output goes to stderr: stdout is the story's.
  const { status, error } = spawnSync(command, args, { cwd: root, shell, stdio: ["ignore", 2, 2] });
  if (error) stop(`npm could not be started (${error.message}): install the dependencies with "npm ci"`, 1);
  if (status !== 0) stop(`"npm ci" failed with exit code ${status ?? 1}: see its message above`, status ?? 1);
}

/** The files that decide what the build makes: TypeScript, its settings, and the packages that compile it. */
function* sources(directory) {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory() && !["node_modules", "fixtures", "golden"].includes(entry.name)) yield* sources(path);
    else if (entry.isFile() && /\.ts$|^tsconfig.*\.json$/.test(entry.name)) yield path;
  }
}

function sourceHash() {
  const folders = ["engine", "kernels", "hub", "server", "ai", "cli", "validation", "bench", "web"]
    .map((name) => join(root, name))
    .filter((path) => existsSync(path));
  const single = ["tsconfig.json", "package.json", "package-lock.json", "scripts/build.mjs", "scripts/bundle.mjs"].map((name) =>
    join(root, name),
  );
  const hash = createHash("sha256");
  for (const path of [...folders.flatMap((folder) => [...sources(folder)]), ...single].sort()) {
    hash.update(`${relative(root, path).split(sep).join("/")}\0`).update(createHash("sha256").update(readFileSync(path)).digest());
  }
  return hash.digest("hex");
}

function needsBuild() {
  const built = existsSync(stampPath) ? readFileSync(stampPath, "utf8") : "";
  // The build removes its record when it starts and writes it when it succeeds.
  return built !== sourceHash() || !existsSync(join(root, "dist/build.json"));
}

function build() {
  say("building");
  // Of before the build: what is edited meanwhile is built next time.
  const hash = sourceHash();
  rmSync(stampPath, { force: true });
  const { status } = spawnSync(process.execPath, [join(root, "scripts/build.mjs")], { cwd: root, stdio: ["ignore", 2, 2] });
  if (status !== 0) stop(`the build failed with exit code ${status ?? 1}: see its messages above`, status ?? 1);
  writeFileSync(stampPath, hash);
}

/** One at a time: waits for another that is at it, unless it has died. */
function lock() {
  mkdirSync(dirname(lockPath), { recursive: true });
  for (let waited = false; ; waited = true) {
    try {
      const file = openSync(lockPath, "wx");
      writeSync(file, String(process.pid));
      closeSync(file);
      process.on("exit", () => rmSync(lockPath, { force: true }));
      return;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    if (holderIsGone()) rmSync(lockPath, { force: true });
    else {
      if (!waited) say("waiting for another install or build to end");
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    }
  }
}

function holderIsGone() {
  try {
    const pid = Number(readFileSync(lockPath, "utf8"));
    if (Date.now() - statSync(lockPath).mtimeMs > STALE_LOCK_MS) return true;
    if (pid > 0) process.kill(pid, 0);
    return false;
  } catch (error) {
    return error.code === "ESRCH";
  }
}

const [major, minor] = process.versions.node.split(".").map(Number);
if (major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1])) {
  stop(`Node.js ${OLDEST_NODE.join(".")} or newer is needed, this is ${process.versions.node}: get one from https://nodejs.org`, 1);
}

try {
  if (needsInstall() || needsBuild()) {
    lock();
    // Both are asked again: the other may have done it.
    if (needsInstall()) install();
    if (needsBuild()) build();
  }
} catch (error) {
  stop(`could not make ready: ${error.message}`, 1);
}
