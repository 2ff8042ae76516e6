import { spawn } from "node:child_process";
import { BitnetError } from "../../engine/errors.js";

/** What a program that ended has said. */
export interface Ended {
  /** null: a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  /** Both streams, as they came. */
  readonly said: string;
}

/** Most of a program's output that is kept: what is run here says less. */
const MAX_SAID = 2 ** 20;

/** Runs a program to its end. @throws BitnetError io: it can't be started */
export async function runProgram(
  command: string,
  args: readonly string[],
  { cwd, shell = false, signal }: { readonly cwd: string; readonly shell?: boolean; readonly signal?: AbortSignal | undefined },
): Promise<Ended> {
  // What npm tells its scripts is not for another npm.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)));
  const child = spawn(command, args, { cwd, shell, env, stdio: ["ignore", "pipe", "pipe"], ...(signal && { signal }) });
  let [stdout, said] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout = `${stdout}${text}`.slice(0, MAX_SAID);
    said = `${said}${text}`.slice(0, MAX_SAID);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = `${said}${text}`.slice(0, MAX_SAID);
  });
  try {
    const code = await new Promise<number | null>((done, failed) => child.on("close", done).on("error", failed));
    return { code, stdout, said };
  } catch (error) {
    signal?.throwIfAborted();
    throw new BitnetError("io", `${command} can't be started: ${(error as Error).message}`, {}, { cause: error });
  }
}

/** The line that says why a program failed, as far as that can be told. */
export function failureLine({ code, said }: Ended): string {
  const lines = said.split("\n").filter((line) => line.trim() !== "");
  return (lines.find((line) => /error/i.test(line)) ?? lines[0] ?? `exit code ${code}`).trim().slice(0, 300);
}
