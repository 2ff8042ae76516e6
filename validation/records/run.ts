import { spawn } from "node:child_process";
import { BitnetError } from "../../engine/errors.js";

/** Exit code and output of a program. */
export interface Ended {
  /** null: ended by a signal. */
  readonly code: number | null;
  readonly stdout: string;
  /** Both streams, in the order of arrival. */
  readonly said: string;
}

/** Limit of the output kept, in characters: the programs run here print less. */
const MAX_SAID = 2 ** 20;

/** Runs a program to its end. @throws BitnetError io: it can't be started */
export async function runProgram(
  command: string,
  args: readonly string[],
  { cwd, shell = false, signal }: { readonly cwd: string; readonly shell?: boolean; readonly signal?: AbortSignal | undefined },
): Promise<Ended> {
  // npm's settings for its scripts must not reach another npm.
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

/** The line that most likely says why a program failed. */
export function failureLine({ code, said }: Ended): string {
  const lines = said.split("\n").filter((line) => line.trim() !== "");
  return (lines.find((line) => /error/i.test(line)) ?? lines[0] ?? `exit code ${code}`).trim().slice(0, 300);
}
