import { Script } from "node:vm";

/** What a sandbox is asked. */
export interface SandboxJob {
  readonly milliseconds: number;
  readonly value: unknown;
}

/** What it answers: that the job begins, then how it ended. */
export type SandboxReply = { readonly kind: "begun" } | { readonly kind: "value"; readonly value: unknown } | { readonly kind: "time" };

/**
 * Makes this process the inside of a `Sandbox`: `work` turns each job into its answer. It must not throw. When the process outside has gone,
 * this one ends too, if need be after the job in hand: jobs are interrupted when their time is over.
 */
export function serveSandbox(work: (value: unknown) => unknown): void {
  const call = new Script("bitnetSandboxJob()");
  const run = ({ milliseconds, value }: SandboxJob): SandboxReply => {
    let answer: unknown;
    Object.assign(globalThis, {
      bitnetSandboxJob: () => {
        answer = work(value);
      },
    });
    try {
      call.runInThisContext({ timeout: milliseconds });
      return { kind: "value", value: answer };
    } catch {
      return { kind: "time" };
    }
  };
  const send = (reply: SandboxReply, sent = (): void => {}): void => {
    process.send?.(reply, undefined, undefined, (error) => {
      if (error === null) sent(); // else nobody is there any more
    });
  };
  process.on("message", (job: SandboxJob) => send({ kind: "begun" }, () => send(run(job))));
}
