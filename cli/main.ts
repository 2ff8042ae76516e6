#!/usr/bin/env node
import { errorLine, exitCodeOf, ioError } from "./failure.js";
import { buildProgram } from "./program.js";
import { style } from "./terminal.js";

/** Says what went wrong, in one line. Help and version come here too, as commander's way of ending: they have been printed. */
function fail(error: unknown): void {
  const code = exitCodeOf(error);
  process.exitCode = code;
  if (code === 0) return;
  process.stderr.write(`${style("red", errorLine(error), process.stderr)}\n`);
  if (process.env.BITNET_DEBUG === "1" && error instanceof Error) process.stderr.write(`${error.stack}\n`);
}

// The reader has gone (`bitnet run | head`): there is nothing left to do.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  fail(ioError("write to standard output", error));
  process.exit();
});
process.stderr.on("error", () => process.exit(1)); // no place left to report it

// What no command could catch. The state is unknown, so the process ends here and now.
process.on("uncaughtException", (error) => {
  fail(error);
  process.exit();
});

async function main(): Promise<void> {
  const program = buildProgram();
  if (process.argv.length <= 2) program.outputHelp();
  else await program.parseAsync();
}

// Not awaited: the bundle of this is CommonJS.
main().catch(fail);
