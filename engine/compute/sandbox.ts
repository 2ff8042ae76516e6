import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { SandboxJob, SandboxReply } from "./sandbox-program.js";

/** What a program may use. */
export interface SandboxLimits {
  /** For one job. */
  readonly milliseconds: number;
  /** Of JavaScript's heap. */
  readonly megabytes: number;
}

/** A process that has had nothing to do for so long ends; another takes as long to start as Node does. */
const IDLE_MS = 60_000;

/** How long a job may take to begin: the process has to start, perhaps on a busy machine. */
const PATIENCE_MS = 20_000;

/** How much longer than its time a job may go on: the process ends it by itself, but not while it collects garbage. */
const GRACE_MS = 500;

/** Why a job gave no value. */
export class SandboxError extends Error {
  /** `time`, `memory`: a limit was passed; `start`: the system gave no process. */
  readonly reason: "time" | "memory" | "start";

  constructor(reason: SandboxError["reason"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

/**
 * Runs jobs, one after another, in a process of its own that can be ended: what a job does is a stranger's. A thread would not do: where one
 * allocation passes a thread's memory limit, V8 ends the whole process. The process starts with the first job, stays for later ones, and keeps
 * nothing alive.
 */
export class Sandbox {
  readonly #program: URL;
  readonly #limits: SandboxLimits;
  #child: ChildProcess | undefined;
  #idle: NodeJS.Timeout | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** @param program a module that calls `serveSandbox` */
  constructor(program: URL, limits: SandboxLimits) {
    this.#program = program;
    this.#limits = limits;
  }

  /** The program's answer to a job; both are plain data. Rejects with a SandboxError if it passes a limit. */
  run(value: unknown): Promise<unknown> {
    const done = this.#last.then(() => this.#run(value));
    this.#last = done.catch(() => {});
    return done;
  }

  async #run(value: unknown): Promise<unknown> {
    const child = this.#child ?? (await this.#start());
    clearTimeout(this.#idle);
    const { milliseconds, megabytes } = this.#limits;
    try {
      return await new Promise((resolve, reject) => {
        hold(child);
        let hasBegun = false;
        const settle = (act: () => void): void => {
          clearTimeout(overdue);
          child.removeAllListeners();
          act();
        };
        const fail = (reason: SandboxError["reason"], message: string, cause?: Error): void =>
          settle(() => reject(new SandboxError(reason, message, { cause })));
        const tooLong = (): void => fail("time", `doesn't finish in ${milliseconds / 1000} s`);
        let overdue = setTimeout(() => fail("start", `it doesn't start in ${PATIENCE_MS / 1000} s`), PATIENCE_MS);
        child.on("message", (reply: SandboxReply) => {
          if (reply.kind === "value") settle(() => resolve(reply.value));
          else if (reply.kind === "time") tooLong();
          else {
            hasBegun = true;
            clearTimeout(overdue);
            overdue = setTimeout(tooLong, milliseconds + GRACE_MS);
          }
        });
        child.on("error", (cause) => fail("start", cause.message, cause));
        // Nothing but its memory ends a process that works.
        child.on("exit", (code) =>
          hasBegun ? fail("memory", `needs more than ${megabytes} MB of memory`) : fail("start", `it ended with code ${code}`),
        );
        const job: SandboxJob = { milliseconds, value };
        child.send(job, (error) => error && fail("start", error.message, error));
      });
    } catch (error) {
      this.#end();
      throw error;
    } finally {
      if (this.#child !== undefined) this.#rest(child);
    }
  }

  async #start(): Promise<ChildProcess> {
    const { fork } = await import("node:child_process"); // takes long to load, and most programs need it not
    const { NODE_OPTIONS: _, ...env } = process.env; // the process's own flags are for its main program
    try {
      this.#child = fork(fileURLToPath(this.#program), {
        execArgv: [`--max-old-space-size=${this.#limits.megabytes}`],
        env,
        stdio: ["ignore", "ignore", "ignore", "ipc"],
      });
    } catch (cause) {
      throw new SandboxError("start", (cause as Error).message, { cause });
    }
    return this.#child;
  }

  /** Nothing to do: the process no longer keeps this one alive. */
  #rest(child: ChildProcess): void {
    child.unref();
    child.channel?.unref();
    child.on("error", () => this.#end());
    child.on("exit", () => this.#end());
    this.#idle = setTimeout(() => this.#end(), IDLE_MS).unref();
  }

  #end(): void {
    clearTimeout(this.#idle);
    const child = this.#child;
    this.#child = undefined;
    child?.removeAllListeners();
    child?.on("error", () => {});
    child?.kill("SIGKILL");
    child?.unref();
    child?.channel?.unref();
  }
}

function hold(child: ChildProcess): void {
  child.removeAllListeners();
  child.ref();
  child.channel?.ref();
}
