import { type ParseArgsConfig, parseArgs } from "node:util";

type Options = NonNullable<ParseArgsConfig["options"]>;
type Flags<Given extends Options> = ReturnType<typeof parseArgs<{ options: Given; allowPositionals: true }>>;

/**
 * The flags that a program of this folder was started with. With --help it says how it is used, and ends; so it does, with code 2, where a flag is
 * unknown or lacks its value.
 * @param allowPositionals what follows the flags, as behind `--`, is for another program
 */
export function readFlags<const Given extends Options>(usage: string, options: Given, allowPositionals = false): Flags<Given> {
  const help = `usage: ${usage}`;
  try {
    const found = parseArgs({ options: { ...options, help: { type: "boolean" } }, allowPositionals });
    if (!(found.values as { readonly help?: boolean }).help) return found as Flags<Given>;
    console.log(help);
    process.exit(0);
  } catch (error) {
    console.error(`error: ${(error as Error).message}\n${help}`);
    process.exit(2);
  }
}
