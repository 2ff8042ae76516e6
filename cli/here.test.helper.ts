import { vi } from "vitest";
import { errorLine, exitCodeOf } from "./failure.js";
import { buildProgram } from "./program.js";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** How a command ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * A command in this process, as main.ts runs it: for what does not hang on a process of its own, whose start takes longer than most commands. One
 * that reads standard input, or is to be killed, needs one.
 */
export async function bitnetHere(...args: readonly string[]): Promise<Ended> {
  const said = { stdout: "", stderr: "" };
  const caught = (["stdout", "stderr"] as const).map((name) =>
    // Only to hear what the command prints, which would go to vitest's own output.
    vi.spyOn(process[name], "write").mockImplementation((text: string | Uint8Array) => {
      said[name] += typeof text === "string" ? text : new TextDecoder().decode(text);
      return true;
    }),
  );
  const before = process.exitCode;
  process.exitCode = undefined;
  // A command listens for Ctrl-C until its process ends; this one goes on.
  const listening = SIGNALS.map((signal) => process.listeners(signal));
  try {
    await buildProgram().parseAsync(args, { from: "user" });
    return { code: Number(process.exitCode ?? 0), ...said };
  } catch (error) {
    const code = exitCodeOf(error);
    return { code, ...said, stderr: code === 0 ? said.stderr : `${said.stderr}${errorLine(error)}\n` };
  } finally {
    process.exitCode = before;
    for (const one of caught) one.mockRestore();
    for (const [i, signal] of SIGNALS.entries())
      for (const listener of process.listeners(signal)) if (!listening[i]!.includes(listener)) process.off(signal, listener);
  }
}
