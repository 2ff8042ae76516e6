import type { ConversionType } from "../engine/index.js";
import { type AddStep, addModel } from "../validation/add-model.js";
import { modelName } from "../validation/perf.js";
import { INTERRUPTED, printable } from "./failure.js";
import { type FileFlags, fileOptions, type ModelFlags } from "./model.js";
import { Status, write } from "./terminal.js";
import { readEnvironment } from "./values.js";

export interface AddModelFlags extends Omit<FileFlags, "model">, Pick<ModelFlags, "threads" | "tier"> {
  readonly name?: string;
  readonly type?: ConversionType;
  readonly out?: string;
  readonly quick?: boolean;
}

/** `bitnet add-model`: convert, inspect, parity, speed and tables, in one go. */
export async function addModelCommand(source: string, flags: AddModelFlags): Promise<void> {
  const environment = readEnvironment(process.env);
  const threads = flags.threads ?? environment.threads;
  const out = flags.out ?? flags.name ?? modelName(source);
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort());
  const status = new Status("adding the model");
  try {
    await addModel({
      source,
      out,
      name: flags.name,
      type: flags.type,
      quick: flags.quick,
      files: fileOptions(flags),
      kernels: { ...(threads !== undefined && { threads }), ...(flags.tier !== undefined && { tier: flags.tier }) },
      cliArgs: process.argv.slice(2),
      seed: environment.seed,
      deterministic: process.env.BITNET_DETERMINISTIC === "1",
      date: new Date(),
      signal: interrupt.signal,
      onStep: ({ name, finding }: AddStep) => {
        status.end();
        return write(`PASS  ${name.padEnd(9)}${printable(finding)}\n`);
      },
    });
    await write(`${printable(out)} is complete\n`);
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    process.exitCode = INTERRUPTED;
  } finally {
    status.end();
  }
}
