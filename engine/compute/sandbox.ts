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

/** A process that has had nothing to do for so long ends; another takes some 50 ms to start. */
const IDLE_MS = 60_000;

/** How much longer than a job's time is waited for the process to say that it is over: it has to start, perhaps on a busy machine. */
const PATIENCE_MS = 20_000;

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
        const overdue = setTimeout(() => reject(timeError(milliseconds)), milliseconds + PATIENCE_MS);
        const settle = (act: () => void): void => {
          clearTimeout(overdue);
          child.removeAllListeners();
          act();
        };
        child.on("message", (reply: SandboxReply) =>
          settle(() => (reply.kind === "value" ? resolve(reply.value) : reject(timeError(milliseconds)))),
        );
        child.on("error", (cause) => settle(() => reject(new SandboxError("start", cause.message, { cause }))));
        child.on("exit", () => settle(() => reject(new SandboxError("memory", `needs more than ${megabytes} MB of memory`))));
        const job: SandboxJob = { milliseconds, value };
        child.send(job, (error) => error && settle(() => reject(new SandboxError("start", error.message, { cause: error }))));
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

function timeError(milliseconds: number): SandboxError {
  return new SandboxError("time", `doesn't finish in ${milliseconds / 1000} s`);
}
