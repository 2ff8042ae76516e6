// Serves the page of web/ with the headers that let its workers share memory: `npm run web`, then http://localhost:8321. `npm run web -- --out FOLDER`
// writes it as static files for any host instead.
import { cpSync, createReadStream, mkdirSync, readdirSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const usage = "usage: npm run web -- [--port 8321] [--out FOLDER]";
const options = { port: { type: "string", default: "8321" }, out: { type: "string" }, help: { type: "boolean", default: false } };
const types = {
  ".html": "text/html",
  ".css": "text/css",
  ".js": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};
/** Folders by the start of a URL's path. */
const folders = { "/dist/bundle/": "dist/bundle/", "/dist/kernels/": "dist/kernels/", "/models/": "models/", "/": "dist/site/" };
const MODEL = "models/bitnet-stories-4m/ggml-model-i2_s.gguf";

function write(out) {
  mkdirSync(out, { recursive: true });
  cpSync(join(root, "dist/site"), out, { recursive: true });
  const bundles = readdirSync(join(root, "dist/bundle")).filter((name) => /^web.*\.js$/.test(name));
  const kernels = readdirSync(join(root, "dist/kernels")).filter((name) => name.endsWith(".wasm"));
  const files = [...bundles.map((name) => `dist/bundle/${name}`), ...kernels.map((name) => `dist/kernels/${name}`), MODEL, "LICENSE"];
  for (const file of files) {
    mkdirSync(dirname(join(out, file)), { recursive: true });
    cpSync(join(root, file), join(out, file));
  }
  console.log(`written to ${out}: copy it to any static host, under any path`);
}

/** The file that a URL's path means; undefined: none. */
function fileAt(path) {
  const [prefix, folder] = Object.entries(folders).find(([start]) => path.startsWith(start)) ?? [];
  if (prefix === undefined) return undefined;
  const inside = normalize(path.slice(prefix.length) || "index.html");
  if (inside.startsWith("..") || inside.startsWith(sep)) return undefined;
  const file = join(root, folder, inside);
  return statSync(file, { throwIfNoEntry: false })?.isFile() ? file : undefined;
}

function serve(port) {
  const server = createServer((request, response) => {
    response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
    response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    response.setHeader("Cache-Control", "no-cache");
    let file;
    try {
      file = fileAt(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
    } catch {
      // No path at all: not found.
    }
    if (file === undefined || !["GET", "HEAD"].includes(request.method)) return response.writeHead(404).end();
    const { size, mtimeMs } = statSync(file);
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
    const start = Number(from ?? 0);
    const end = to ? Math.min(Number(to), size - 1) : size - 1;
    if (start > end) return response.writeHead(416, { "content-range": `bytes */${size}` }).end();
    const headers = {
      "content-type": types[extname(file)] ?? "application/octet-stream",
      "content-length": end - start + 1,
      etag: `"${size}-${mtimeMs}"`,
    };
    if (from === undefined) response.writeHead(200, headers);
    else response.writeHead(206, { ...headers, "content-range": `bytes ${start}-${end}/${size}` });
    if (request.method === "HEAD") response.end();
    else createReadStream(file, { start, end }).pipe(response);
  });
  server.on("error", (error) => {
    console.error(`error: port ${port} can't be used: ${error.code}; choose another (--port)`);
    process.exitCode = 1;
  });
  server.listen(port, "127.0.0.1", () => console.log(`http://localhost:${server.address().port} (end with Ctrl-C)`));
}

function main() {
  let values;
  try {
    ({ values } = parseArgs({ options }));
  } catch (error) {
    console.error(`error: ${error.message}\n${usage}`);
    process.exitCode = 2;
    return;
  }
  if (values.help) console.log(usage);
  else if (values.out !== undefined) write(values.out);
  else if (/^\d{1,5}$/.test(values.port) && Number(values.port) < 65536) serve(Number(values.port));
  else {
    console.error(`error: --port is a number from 0 to 65535\n${usage}`);
    process.exitCode = 2;
  }
}

main();
