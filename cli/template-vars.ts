import { type Command, InvalidArgumentError } from "commander";

/** Variables of a chat template that flags set. */
export type TemplateVars = Readonly<Record<string, unknown>>;

/** The flag that sets a variable of the chat template; it may be given several times. */
export function addTemplateFlag(command: Command): void {
  command.option(
    "--template-var <name=value>",
    "set a variable of the chat template, as JSON or text: enable_thinking=false, date=2025-07-31; can be repeated",
    templateVar,
  );
}

/** Adds `name=value` to those before. A value that is valid JSON is used as such, any other is a string. */
export function templateVar(text: string, before: TemplateVars = {}): TemplateVars {
  const at = text.indexOf("=");
  const name = text.slice(0, Math.max(at, 0));
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw new InvalidArgumentError("It must have the form name=value.");
  if (Object.hasOwn(before, name)) throw new InvalidArgumentError(`${name} is set twice.`);
  return { ...before, [name]: parsed(text.slice(at + 1)) };
}

function parsed(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
