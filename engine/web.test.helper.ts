import { type ChildProcess, spawn } from "node:child_process";
import { createReadStream, existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository: pages load the package as it is published from it. */
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".css": "text/css",
  ".js": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/** Browsers that this machine has. */
export const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path));
export const FIREFOX = ["/usr/bin/firefox-esr", "/usr/bin/firefox"].find((path) => existsSync(path));

/** WebKitGTK's own small browser, which needs a display: xvfb-run gives it one. */
export const WEBKIT = existsSync("/usr/bin/xvfb-run")
  ? readdirSync("/usr/lib", { recursive: false, encoding: "utf8" })
      .filter((folder) => folder.endsWith("-linux-gnu"))
      .flatMap((folder) =>
        ["webkitgtk-6.0", "webkit2gtk-4.1", "webkit2gtk-4.0"].map((name) => join("/usr/lib", folder, name, "MiniBrowser")),
      )
      .find((path) => existsSync(path))
  : undefined;

/** A started browser takes longer on a busy machine; a page that says nothing for so long says nothing any more, ms. */
const MOST_MS = 240_000;

/** Answers a request otherwise than the repository's files do; false: it doesn't. */
export type Answer = (request: IncomingMessage, response: ServerResponse) => boolean;

export interface PageOptions {
  /** Whether pages are cross-origin isolated, so that their workers share memory. */
  readonly isolated: boolean;
  readonly answer?: Answer;
  /** The folder whose files it serves. Default: the repository. */
  readonly root?: string;
}

type Told<T> = { readonly value: T } | { readonly error: string };

/** A program as a page that tells its result, which nothing but itself drives. */
const pageOf = (program: string): string => `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><script type="module">
  const tell = (told) => fetch("/told", { method: "POST", body: JSON.stringify(told) });
  const failed = (error) => tell({ error: String(error?.stack ?? "") + " " + String(error?.message ?? error) });
  addEventListener("error", ({ error, message }) => failed(error ?? message));
  addEventListener("unhandledrejection", ({ reason }) => failed(reason));
  try { await tell({ value: await (async () => { ${program} })() }); } catch (error) { await failed(error); }
</script>`;

/** An origin whose pages run programs in browsers. */
export class Pages {
  readonly #server: Server;
  #page = "";
  #tell: (told: Told<unknown>) => void = () => {};

  private constructor({ isolated, answer, root = ROOT }: PageOptions) {
    this.#server = createServer((request, response) => {
      if (isolated) {
        response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
        response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
      }
      if (request.url === "/") response.setHeader("content-type", "text/html").end(this.#page);
      else if (request.url === "/told") {
        let body = "";
        request.on("data", (chunk) => {
          body += chunk;
        });
        request.on("end", () => {
          response.end();
          this.#tell(JSON.parse(body));
        });
      } else if (!answer?.(request, response)) serveFile(root, request, response);
    });
  }

  static async open(options: PageOptions): Promise<Pages> {
    const pages = new Pages(options);
    await new Promise<void>((resolve) => pages.#server.listen(0, "127.0.0.1", resolve));
    return pages;
  }

  /**
   * What a program gives that runs in a page of a new browser.
   * @param program the text of an asynchronous function
   * @param profile a folder that keeps what pages store; without, a new one
   * @param until the browser is killed when this is done; then the result is undefined
   */
  async run<T>(browser: string, program: string, profile?: string, until?: Promise<unknown>): Promise<T | undefined> {
    const folder = profile ?? mkdtempSync(join(tmpdir(), "bitnet-browser-"));
    this.#page = pageOf(program);
    const told = new Promise<Told<T>>((resolve) => {
      this.#tell = resolve as (told: Told<unknown>) => void;
    });
    const child = start(browser, folder, `${this.url}/`);
    const ended = new Promise<Told<T>>((resolve) => {
      child.once("exit", (code) => resolve({ error: `the browser ended with ${code}` }));
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<Told<T>>((resolve) => {
      timer = setTimeout(() => resolve({ error: `the page said nothing in ${MOST_MS / 1000} s` }), MOST_MS);
    });
    try {
      const result = await Promise.race([told, ended, late, ...(until ? [until.then(() => undefined)] : [])]);
      if (result === undefined) return undefined;
      if ("error" in result) throw new Error(result.error);
      return result.value;
    } finally {
      clearTimeout(timer);
      await stop(child);
      if (profile === undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    }
  }

  /** Without a slash at its end. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

function start(browser: string, profile: string, url: string): ChildProcess {
  // In a group of its own, so that all its processes end with it.
  const options = { stdio: "ignore", detached: true } as const;
  if (browser === FIREFOX) {
    writeFileSync(
      join(profile, "user.js"),
      'user_pref("browser.shell.checkDefaultBrowser", false);\nuser_pref("datareporting.policy.dataSubmissionEnabled", false);\n',
    );
    return spawn(browser, ["--headless", "--no-remote", "--profile", profile, url], options);
  }
  if (browser === WEBKIT) {
    const env = { ...process.env, HOME: profile, XDG_DATA_HOME: profile, XDG_CACHE_HOME: profile, XDG_CONFIG_HOME: profile };
    return spawn("/usr/bin/xvfb-run", ["-a", browser, url], { ...options, env });
  }
  const flags = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
  ];
  return spawn(browser, [...flags, `--user-data-dir=${profile}`, url], options);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  try {
    process.kill(-child.pid!, "SIGKILL");
  } catch {
    // It has just ended.
  }
  await ended;
}

/** A file in a folder, or a range of it. */
function serveFile(root: string, request: IncomingMessage, response: ServerResponse): void {
  const path = join(root, decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname));
  const stats = path.startsWith(root) ? statSync(path, { throwIfNoEntry: false }) : undefined;
  if (!stats?.isFile()) {
    response.writeHead(404).end();
    return;
  }
  const [, first] = /^bytes=(\d+)-$/.exec(request.headers.range ?? "") ?? [];
  const start = Number(first ?? 0);
  response.setHeader("content-type", TYPES[extname(path)] ?? "application/octet-stream");
  response.setHeader("content-length", stats.size - start);
  response.setHeader("etag", `"${stats.size}-${stats.mtimeMs}"`);
  if (first !== undefined) response.writeHead(206, { "content-range": `bytes ${start}-${stats.size - 1}/${stats.size}` });
  createReadStream(path, { start }).pipe(response);
}
