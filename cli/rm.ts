import { bytesInWords } from "../hub/paths.js";
import { printable } from "./failure.js";
import { write } from "./terminal.js";

/** `bitnet rm`: removes models from the store. */
export async function rmCommand(names: readonly string[]): Promise<void> {
  const { remove } = await import("../hub/index.js");
  for (const name of names) await write(`removed ${printable(name)}, ${bytesInWords(await remove(name))} freed\n`);
}
