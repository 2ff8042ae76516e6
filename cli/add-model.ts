import type { ConversionType } from "../engine/index.js";
import { type AddStep, addModel } from "../validation/add-model.js";
import { modelName } from "../validation/performance/perf.js";
import { interruptible, kernelOptions, recordOptions } from "./command.js";
import { printable } from "./failure.js";
import { type FileFlags, fileOptions, type ModelFlags } from "./model.js";
import { write } from "./terminal.js";

export interface AddModelFlags extends Omit<FileFlags, "model">, Pick<ModelFlags, "threads" | "tier"> {
  readonly name?: string;
  readonly type?: ConversionType;
  readonly out?: string;
  readonly quick?: boolean;
}

/** `bitnet add-model`: convert, inspect, parity, speed and tables, in one go. */
export async function addModelCommand(source: string, flags: AddModelFlags): Promise<void> {
  const out = flags.out ?? flags.name ?? modelName(source);
  await interruptible("adding the model", async (status, signal) => {
    await addModel({
      ...recordOptions(),
      source,
      out,
      name: flags.name,
      type: flags.type,
      quick: flags.quick,
      files: fileOptions(flags),
      kernels: kernelOptions(flags),
      signal,
      onProgress: (share) => status.update(share),
      onStep: ({ name, finding }: AddStep) => {
        status.clear();
        return write(`PASS  ${name.padEnd(9)}${printable(finding)}\n`);
      },
    });
    status.end();
    await write(`${printable(out)} is complete\n`);
  });
}
