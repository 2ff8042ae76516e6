import { type Command, Option } from "commander";
import { decimal, integer, nonEmpty, parseIds, parseSeed, parseThreads, repeatable } from "./values.js";

/** No model has more positions or tokens. */
export const MAX_TOKENS = 2 ** 31 - 1;
/** Default path of parity's report. */
export const PARITY_OUT = "artifacts/parity_report.json";
/** The engine's own range of the repetition penalty. */
const PENALTIES = [0.01, 100] as const;

/** Flags of the commands that load weights. */
export function addEngineFlags(command: Command, threads?: Option): void {
  command
    .option("--ctx <tokens>", "context length (default: the model's, at most 4096)", integer(1, MAX_TOKENS))
    .addOption(
      new Option(
        "--kv <type>",
        "type of the KV cache: f32, k16 with 16 bits and half of the memory, or q8 with 8 bits and a quarter of it (default: f32)",
      ).choices(["f32", "k16", "q8"]),
    )
    .option(
      "--states <n>",
      "states of sequences to keep, of models with recurrent layers (default: as many as fit in 256 MiB)",
      integer(1, 256),
    )
    .addOption(
      new Option(
        "--head <kind>",
        "output head: exact rows in memory, or codes that tell which rows to read; same tokens (default: auto)",
      ).choices(["auto", "exact", "two-stage"]),
    );
  addKernelFlags(command, threads);
}

/** For a model whose own tokenizer is not supported. */
export function addTokenizerFlag(command: Command): Command {
  return command.option(
    "--tokenizer <path>",
    "tokenizer.json, or a directory with one, to use instead of the model's own tokenizer",
    nonEmpty,
  );
}

/** What a model's files can't state, or don't. */
export function addFileFlags(command: Command): void {
  addTokenizerFlag(command)
    .addOption(
      new Option("--activation <name>", "activation function, for a file that names none and could mean either").choices(["relu2", "silu"]),
    )
    .addOption(
      new Option(
        "--activations <kind>",
        "inputs of ternary layers, for a file that can't state it: int8, or float (unquantised) for models such as TriLM",
      ).choices(["int8", "float"]),
    )
    .addOption(
      new Option("--i2s-layout <name>", "layout of the codes in an I2_S file, which the file does not state (default: block128)").choices([
        "block128",
        "block64",
        "rows4",
      ]),
    );
}

/** What the network runs on, and what its file can't state. */
export function addKernelFlags(command: Command, threads?: Option): void {
  addFileFlags(command);
  addThreadFlags(command, threads);
}

/** What changes no result. */
export function addThreadFlags(
  command: Command,
  threads = new Option("--threads <n>", "worker threads (default: as many as can run at once, at most 16)").argParser(parseThreads),
): void {
  command
    .addOption(threads)
    .addOption(
      new Option("--tier <tier>", "WebAssembly features that the kernels use (default: auto)").choices([
        "auto",
        "plain",
        "relaxed",
        "wide",
        "vnni",
      ]),
    );
}

/** Flags of the commands that write text. */
export function addSamplingFlags(command: Command): void {
  command
    .option("-n, --max-tokens <n>", "maximum tokens to generate (default: 512)", integer(0, MAX_TOKENS))
    .option("--temperature <t>", "randomness; 0: always the most likely token (default: the model's, else 0.7)", decimal(0, 1e6))
    .option("--top-k <k>", "sample from the k most likely tokens; 0: all (default: the model's, else 50)", integer(0, MAX_TOKENS))
    .option(
      "--top-p <p>",
      "sample from the most likely tokens whose probabilities add up to p; 1: all (default: the model's, else 0.9)",
      decimal(0, 1),
    )
    .option(
      "--min-p <p>",
      "exclude tokens less than p times as likely as the most likely one (default: the model's, else 0)",
      decimal(0, 1),
    )
    .option(
      "--repetition-penalty <r>",
      "0.01 to 100; above 1: avoid tokens that already occurred (default: the model's, else 1.1)",
      decimal(...PENALTIES),
    )
    .option("--seed <n>", "random seed (default: 42)", parseSeed)
    .option("--stop <text>", "stop before this text; can be repeated", repeatable(nonEmpty))
    .option("--stop-id <ids>", "stop at these token ids: 1,2; can be repeated", repeatable(parseIds))
    .option("--json-schema <file>", "answer in JSON that fits the JSON Schema in this file", nonEmpty)
    .option("--grammar <file>", "answer with a text of the grammar in this file, in GBNF", nonEmpty)
    .option("--speculate", "guess tokens from earlier text and check them in one pass: same text, faster where it repeats itself")
    .option("--no-speculate", "compute one token in each pass (default)");
}
