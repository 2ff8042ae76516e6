import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** How a run of tests ended. */
export interface Ran {
  readonly passed: boolean;
  readonly timedOut: boolean;
  /** The first test that failed. */
  readonly failed: string | undefined;
  readonly seconds: number;
  readonly output: string;
}

export interface RunOptions {
  /** A process a file. */
  readonly isolate: boolean;
  /** Stop at the first failure. */
  readonly bail: boolean;
  /** After how long without output a file hangs, by its place among the files. */
  readonly silentMs: (place: number) => number;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A copy of the tree in which dist/ may be changed: the rest is linked. */
export class Scratch {
  readonly #parent = realpathSync(mkdtempSync(join(tmpdir(), "bitnet-mutate-")));
  readonly root = join(this.#parent, "tree");
  readonly #temporary = join(this.#parent, "tmp");
  /** Ends what runs. */
  #end: () => void = () => {};

  constructor(readonly from: string) {
    mkdirSync(this.root);
    mkdirSync(this.#temporary);
    for (const { name } of readdirSync(from, { withFileTypes: true })) {
      if (name === ".git" || name === "artifacts") continue;
      if (name === "dist") cpSync(join(from, name), join(this.root, name), { recursive: true });
      else symlinkSync(join(from, name), join(this.root, name));
    }
  }

  put(path: string, data: string | Uint8Array): void {
    writeFileSync(join(this.root, path), data);
  }

  /** Puts back what the tree has. */
  restore(path: string): void {
    this.put(path, readFileSync(join(this.from, path)));
  }

  /** Runs test files of dist/, in their order. */
  run(files: readonly string[], { isolate, bail, silentMs, args = [], env = {} }: RunOptions): Promise<Ran> {
    const start = performance.now();
    const vitest = ["node_modules/vitest/vitest.mjs", "run", "--config", "scripts/mutate.config.mjs", "--no-color", "--reporter=verbose"];
    const child = spawn(process.execPath, [...vitest, ...(bail ? ["--bail=1"] : []), ...args], {
      cwd: this.root,
      detached: true, // a group of its own, which a timeout ends
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...process.env,
        ...{ MUTATE_TESTS: JSON.stringify(files), MUTATE_ISOLATE: isolate ? "1" : "0", TMPDIR: this.#temporary, CI: "", NO_COLOR: "1" },
        ...env,
      },
    });
    return new Promise((resolve, reject) => {
      let output = "";
      let timedOut = false;
      this.#end = (): void => {
        try {
          process.kill(-child.pid!, "SIGKILL");
        } catch {
          child.kill("SIGKILL"); // the group is gone, or the system has none
        }
      };
      const hangs = (): void => {
        timedOut = true;
        this.#end();
      };
      let place = 0;
      let timer = setTimeout(hangs, silentMs(0));
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding("utf8").on("data", (text: string) => {
          output = (output + text).slice(-200_000);
          clearTimeout(timer);
          while (place < files.length - 1 && output.includes(files[place]!)) place++;
          timer = setTimeout(hangs, silentMs(place));
        });
      child.on("error", reject);
      child.on("close", (code) => {
        clearTimeout(timer);
        this.#end(); // children that it left behind
        this.#end = () => {};
        rmSync(this.#temporary, { recursive: true, force: true, maxRetries: 5 });
        mkdirSync(this.#temporary, { recursive: true });
        const failed = output.match(/^\s*(?:FAIL|⎯+ Unhandled \w+)\s+(.*)$/m)?.[1];
        resolve({ passed: code === 0 && !timedOut, timedOut, failed, seconds: (performance.now() - start) / 1000, output });
      });
    });
  }

  remove(): void {
    this.#end();
    rmSync(this.#parent, { recursive: true, force: true, maxRetries: 5 });
  }
}
