import { Script } from "node:vm";

/** What a sandbox is asked. */
export interface SandboxJob {
  readonly milliseconds: number;
  readonly value: unknown;
}

/** What it answers. */
export type SandboxReply = { readonly kind: "value"; readonly value: unknown } | { readonly kind: "time" };

/**
 * Makes this process the inside of a `Sandbox`: `work` turns each job into its answer. It must not throw. When the process outside has gone,
 * this one ends too, if need be after the job in hand: jobs are interrupted when their time is over.
 */
export function serveSandbox(work: (value: unknown) => unknown): void {
  const call = new Script("bitnetSandboxJob()");
  process.on("message", ({ milliseconds, value }: SandboxJob) => {
    let answer: unknown;
    Object.assign(globalThis, {
      bitnetSandboxJob: () => {
        answer = work(value);
      },
    });
    let reply: SandboxReply;
    try {
      call.runInThisContext({ timeout: milliseconds });
      reply = { kind: "value", value: answer };
    } catch {
      reply = { kind: "time" };
    }
    process.send?.(reply);
  });
}
