import { CommanderError } from "commander";
import { BitnetError, type ErrorCode } from "../engine/errors.js";
import { systemReason } from "../engine/system-reason.js";

/** The exit code of each kind of mistake; what is not here is 1. */
const EXIT_CODES: Partial<Record<ErrorCode, number>> = {
  usage: 2,
  tensor: 3,
  tokenizer: 4,
  nll: 5,
  tau: 6,
  greedy: 7,
  weights: 8,
  regression: 9,
  memory: 10,
  file: 11,
  receipt: 12,
  network: 13,
};

/** Exit code of `inspect --gate` where a check fails. */
export const SUSPICIOUS = 8;

/** Exit code of `batch` where all results are there, and some are errors. */
export const SOME_FAILED = 14;

/** Exit code after an interrupt: 128 + SIGINT, as shells count. */
export const INTERRUPTED = 130;

/** The system's codes for a path that does not exist. */
const NOWHERE = new Set(["ENOENT", "ENOTDIR"]);

/** The process's exit code for whatever was thrown. A path that does not exist is always a usage error, whether of a model, a file or a record. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof BitnetError) {
    if (error.code === "io" && NOWHERE.has(String((error.cause as NodeJS.ErrnoException | undefined)?.code))) return 2;
    return EXIT_CODES[error.code] ?? 1;
  }
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  return 1;
}

/** The library names its options; a user of the command line knows them as flags. */
const FLAGS: Readonly<Record<string, string>> = {
  contextLength: "--ctx",
  cacheTokens: "--cache-tokens",
  maxTokens: "--max-tokens",
  temperature: "--temperature",
  topK: "--top-k",
  topP: "--top-p",
  minP: "--min-p",
  repetitionPenalty: "--repetition-penalty",
  presencePenalty: "--presence-penalty",
  frequencyPenalty: "--frequency-penalty",
  seed: "--seed",
  stop: "--stop",
  stopIds: "--stop-id",
  threads: "--threads",
};

/** What to do about a mistake, where commander does not say it. Its message is empty if help is asked for an unknown command. */
const COMMANDER_HINTS: Readonly<Record<string, string>> = {
  "commander.excessArguments": " Put text with spaces in quotes.",
  "commander.unknownCommand": ": bitnet help lists the commands",
  "commander.unknownOption": ": --help lists the flags",
  "commander.help": "unknown command: bitnet help lists the commands",
};

/**
 * The one line that is printed for whatever was thrown: `error: …`. Names from a model file may be in it, so line ends become spaces
 * and other control characters, which could steer a terminal, their escapes.
 */
export function errorLine(error: unknown): string {
  let message = error instanceof Error ? error.message || error.name : String(error);
  if (error instanceof CommanderError && !message.includes("Did you mean")) message += hintOf(error);
  if (error instanceof BitnetError && error.code === "usage") message = message.replace(/^\w+(?= must be )/, (name) => FLAGS[name] ?? name);
  return `error: ${printable(message.replace(/^error: |^\(outputHelp\)/, "").trim())}`;
}

/** A text in the place of a command is meant for `run`. */
function hintOf({ code, message }: CommanderError): string {
  const text = code === "commander.unknownCommand" ? / '(.*\s.*)'$/s.exec(message)?.[1] : undefined;
  return text === undefined ? (COMMANDER_HINTS[code] ?? "") : `: to continue a text, put run before it: bitnet run "${text.slice(0, 60)}"`;
}

/** What can steer a terminal or change the order of its text: control characters but line ends and tabs, and Unicode's line and direction marks. */
export const STEERING = /[^\P{Cc}\t\n]|[\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

/**
 * Text with control characters written as `\x1b`; line ends and tabs stay. It looks at one character at a time, so a sequence that a model
 * spreads over several pieces is escaped like any other.
 */
export function escapeControls(text: string): string {
  return text.replace(STEERING, escaped);
}

/** Text on one line, with control characters written as `\x1b`. */
export function printable(text: string): string {
  return escapeControls(text.replace(/\s*[\r\n]\s*/g, " ")).replace(/\t/g, escaped);
}

function escaped(char: string): string {
  const code = char.charCodeAt(0);
  return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16)}`;
}

/** Turns the system's refusal to read or write `what` into one sentence. */
export function ioError(doing: string, error: unknown): BitnetError {
  return new BitnetError("io", `can't ${doing}: ${systemReason(error)}`, {}, { cause: error });
}
