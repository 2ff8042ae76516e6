import { Command, Option } from "commander";
import type { AddModelFlags } from "./add-model.js";
import type { BenchFlags } from "./bench.js";
import type { ChatFlags } from "./chat.js";
import type { ConvertFlags } from "./convert.js";
import type { InfoFlags } from "./info.js";
import type { InspectFlags } from "./inspect.js";
import type { ParityFlags } from "./parity.js";
import type { PerfFlags } from "./perf.js";
import type { PerfRenderFlags } from "./perf-render.js";
import type { ReleaseFlags } from "./release.js";
import type { ReplayFlags } from "./replay.js";
import type { RunFlags } from "./run.js";
import type { ScoreFlags } from "./score.js";
import { addTemplateFlag } from "./template-vars.js";
import type { TokenizeFlags } from "./tokenize.js";
import type { ValidateFlags } from "./validate.js";
import {
  decimal,
  integer,
  integers,
  MAX_THREADS,
  nonEmpty,
  parseIds,
  parseLanes,
  parseSeed,
  parseThreads,
  plainName,
  repeatable,
} from "./values.js";
import type { VerifyFlags } from "./verify.js";
import { version } from "./version.js";

/** Positions and tokens beyond this are no model's. */
const MAX_TOKENS = 2 ** 31 - 1;
/** Pairs are compared one by one: a larger union takes long and says no more. */
const MAX_TOP_K = 1000;

const ENVIRONMENT = `
Environment:
  BITNET_SEED           seed when there is no --seed
  BITNET_NUM_THREADS    threads when there is no --threads
  BITNET_DETERMINISTIC  1: seed 42 and one thread, unless said otherwise
  NO_COLOR              no colours
  BITNET_DEBUG          1: stack traces of errors

Exit codes: 0 ok, 1 failure, 2 usage, 3 tensor missing or unknown, 4 tokenizer missing or unusable,
  5 likelihoods differ (parity), 6 ranks differ (parity), 7 greedy text differs (parity),
  8 suspicious weights (inspect --gate), 9 slower than before (perf --baseline), 10 not enough memory,
  11 bad or truncated file, 12 a replay differs, 130 interrupted`;

/** The commands and their flags. What a command does is loaded only when it is called, so that `--help` costs nothing. */
export function buildProgram(): Command {
  const program = new Command("bitnet")
    .description("Run ternary (1.58-bit) language models: TypeScript and WebAssembly, the same bits everywhere.")
    .version(version())
    // What stands behind a command is that command's: release prepare has a --version of its own.
    .enablePositionalOptions()
    // Errors are thrown, and printed once, in main.ts.
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .addHelpText("after", ENVIRONMENT);

  const run = command(program, "run", "continue a prompt", 'bitnet run --prompt "Once upon a time" --max-tokens 64')
    .option("-p, --prompt <text>", "what to continue; - reads standard input, as it is")
    .option("--json", "one JSON object in place of the text")
    .option("--receipt <file>", "write how the text came about, to be replayed by bitnet verify", nonEmpty)
    .action(async (flags: RunFlags) => (await import("./run.js")).run(flags));
  addSamplingFlags(run);
  addEngineFlags(run);

  const chat = command(program, "chat", "talk with a model, line by line", 'bitnet chat --system "You tell short stories."')
    .option("--system <text>", "system message that opens the conversation")
    .action(async (flags: ChatFlags) => (await import("./chat.js")).chat(flags));
  addTemplateFlag(chat);
  addSamplingFlags(chat);
  addEngineFlags(chat);

  const score = command(program, "score", "how likely a model finds a text", "bitnet score --file story.txt --json")
    .option("--text <text>", "text to score; - reads standard input")
    .option("--file <path>", "file to score, byte for byte; - reads standard input")
    .option("--ids <ids>", "token ids to score as they are, no BOS added: 1,2,3", parseIds)
    .option("--reference", "scalar f32 path in place of the kernels: slow, readable, the oracle")
    .option("--no-activation-quant", "with --reference: don't quantise activations to 8 bits")
    .option("--logits-out <path>", "write all logits there: raw little-endian f32 [positions, vocab]")
    .option("--json", "one JSON object: ids, nll, meanNll, perplexity, policy")
    .action(async (flags: ScoreFlags) => (await import("./score.js")).score(flags));
  addEngineFlags(score);

  const tokenize = command(program, "tokenize", "text to token ids and back", 'bitnet tokenize --text "Once upon a time" --json')
    .option("--text <text>", "text to encode; - reads standard input")
    .option("--file <path>", "file to encode, byte for byte; - reads standard input")
    .option("--decode <ids>", "token ids to turn into text: 1,2,3", parseIds)
    .option("--chat <path>", "JSON file with a conversation to render and encode; - reads standard input")
    .option("--no-special", "no BOS, and special tokens are plain text; with --decode they are left out")
    .option("--json", "one JSON object: ids and tokens, or text, or prompt and ids")
    .action(async (flags: TokenizeFlags) => (await import("./tokenize.js")).tokenize(flags));
  addTemplateFlag(tokenize);
  addTokenizerFlag(tokenize);

  const bench = command(
    program,
    "bench",
    "measure how fast a model reads and writes",
    "bitnet bench --pp 512 --tg 64 --depth 0,1024 --threads 1,2",
  )
    .option("--pp <tokens>", "lengths of prompts to read: 128,512; 0: none", integers(0, MAX_TOKENS), [128, 512])
    .option("--tg <tokens>", "numbers of tokens to write: 64; 0: none", integers(0, MAX_TOKENS), [64])
    .option("--depth <tokens>", "how much is in the cache before they are written: 0,512,2048", integers(0, MAX_TOKENS), [0, 512, 2048])
    .option("-r, --repetitions <n>", "times to measure each, after one that doesn't count", integer(1, 1000), 5)
    .option("--json", "one JSON object")
    .option("--markdown", "a table in Markdown")
    .action(async (flags: BenchFlags) => (await import("./bench.js")).bench(flags));
  const threads = new Option("--threads <n>", "worker threads, one or several numbers: 1,2 (default: one a core, at most what helps)");
  addEngineFlags(bench, threads.argParser(integers(1, MAX_THREADS)));

  const perf = command(
    program,
    "perf",
    "measure a model and store the record, with where it comes from",
    "bitnet perf --model model.gguf --baseline bench/results/perf-model-gguf.json",
  )
    .option("--out <file>", "the record (default: bench/results/perf-<model>-<format>.json)", nonEmpty)
    .option("--iterations <n>", "samples, each measured in a process of its own", integer(2, 1000), 10)
    .option("--baseline <file>", "an earlier record of the same model and machine; exit code 9 if a median is worse", nonEmpty)
    .option("--tolerance <percent>", "how much worse than the baseline it may be", decimal(0, 1000), 15)
    .option("--max-rss <MiB>", "exit code 10 if a process's memory peaked above this", integer(1, MAX_TOKENS))
    .option("--json", "the record on standard output, too")
    .action(async (flags: PerfFlags) => (await import("./perf.js")).perf(flags));
  addEngineFlags(perf);
  perf
    .command("render [files...]")
    .description("docs/PERF_COMPARISON.md and its pictures, from records (default: bench/results/perf-*.json)")
    .option("--check", "write nothing; exit code 1 if the page is not what the records give, or a record is stale")
    .addHelpText("after", "\nExample:\n  $ bitnet perf render --check")
    .action(async (files: string[], flags: PerfRenderFlags) => (await import("./perf-render.js")).perfRender(files, flags));

  const info = command(program, "info", "what a model is, and how it would run here", "bitnet info --model model.gguf --json")
    .option("--json", "one JSON object")
    .action(async (flags: InfoFlags) => (await import("./info.js")).info(flags));
  addKernelFlags(info);

  const inspect = command(
    program,
    "inspect",
    "every tensor of a model, and whether its numbers are sound",
    "bitnet inspect --model model.gguf --gate",
  )
    .option("--gate", "check the weights; exit code 8 if something is wrong with them")
    .option("--probe", "score a short text under each way to read the file: I2_S layouts, or scales that multiply or divide")
    .option("--json", "one JSON object")
    .action(async (flags: InspectFlags) => (await import("./inspect.js")).inspect(flags));
  addKernelFlags(inspect);
  const convert = program
    .command("convert <model> <output>")
    .description("write a model in another form: GGUF, or a directory with packed SafeTensors")
    .allowExcessArguments(false)
    .addOption(
      new Option(
        "-t, --type <type>",
        "of the ternary layers: all but packed are GGUF (default: i2_s if the output ends in .gguf, else packed)",
      ).choices(["i2_s", "tq1_0", "tq2_0", "f16", "f32", "packed"]),
    )
    .addOption(
      new Option(
        "--embedding <type>",
        "of a GGUF's embedding and output head (default: f16; f32 with --type f32; as it is if quantised)",
      ).choices(["f16", "f32", "q8_0", "q6_k"]),
    )
    .option("--force", "replace an output that is there already")
    .option("--json", "one JSON object: what was written, and what was rounded")
    .addHelpText("after", "\nExample:\n  $ bitnet convert model-directory model.gguf --type tq2_0 --embedding q6_k")
    .action(async (model: string, output: string, flags: ConvertFlags) => (await import("./convert.js")).convert(model, output, flags));
  addFileFlags(convert);

  const parity = program
    .command("parity [a] [b]")
    .description("whether two forms of a model say the same: ranks and likelihoods, in float32 and as shipped")
    .allowExcessArguments(false)
    .option("--lane <names>", "fp32-fp32, quant-fp32, oracle (default: all that can be measured)", parseLanes)
    .option("--prompts <path>", "a file with prompts, one a line (default: texts of the package)", nonEmpty)
    .option("--quick", "fewer texts, shorter continuations")
    .option("--top-k <k>", "ranks are compared over the union of both sides' k likeliest tokens", integer(3, MAX_TOP_K), 50)
    .option("-n, --max-tokens <n>", "tokens of each prompt's greedy continuation (default: 32, quick 16)", integer(0, MAX_TOKENS))
    .option("--out <path>", "the report; failing prompts go to parity_failures.jsonl beside it", nonEmpty, "artifacts/parity_report.json")
    .option("--json", "print the report as JSON")
    .addHelpText("after", "\nExample:\n  $ bitnet parity model-directory model.gguf")
    .action(async (a: string | undefined, b: string | undefined, flags: ParityFlags) => (await import("./parity.js")).parity(a, b, flags));
  addKernelFlags(parity);

  const replay = program
    .command("replay <file>")
    .description("a failing prompt of parity again, from its row alone")
    .allowExcessArguments(false)
    .requiredOption("--row <n>", "which row, from 1", integer(1, MAX_TOKENS))
    .option("--model-a <path>", "where the reference side's model is now (default: as the row says)", nonEmpty)
    .option("--model-b <path>", "where the other side's model is now (default: as the row says)", nonEmpty)
    .option("--json", "one JSON object")
    .addHelpText("after", "\nExample:\n  $ bitnet replay artifacts/parity_failures.jsonl --row 1")
    .action(async (file: string, flags: ReplayFlags) => (await import("./replay.js")).replay(file, flags));
  addThreadFlags(replay);

  const addModel = program
    .command("add-model <source>")
    .description("convert a model, check its weights, compare both forms, measure them and render the tables; all or nothing")
    .allowExcessArguments(false)
    .option("--name <name>", "in records and tables (default: from the source's path)", plainName)
    .addOption(
      new Option("-t, --type <type>", "of the ternary layers of the new form (default: the other format, i2_s or packed)").choices([
        "i2_s",
        "tq1_0",
        "tq2_0",
        "f16",
        "f32",
        "packed",
      ]),
    )
    .option("--out <folder>", "folder to make (default: the name)", nonEmpty)
    .option("--quick", "parity on fewer texts")
    .addHelpText("after", "\nExample:\n  $ bitnet add-model model-directory --out models/mine")
    .action(async (source: string, flags: AddModelFlags) => (await import("./add-model.js")).addModelCommand(source, flags));
  addKernelFlags(addModel);
  const verify = program
    .command("verify <receipt>")
    .description("whether a receipt of bitnet run holds: replays it, and compares every step")
    .allowExcessArguments(false)
    .option("-m, --model <path>", "where the model is now (default: as the receipt says)", nonEmpty)
    .option("--reference", "replay on the scalar f32 path in place of the kernels: slow")
    .option("--json", "one JSON object")
    .addHelpText("after", "\nExample:\n  $ bitnet verify receipt.json")
    .action(async (path: string, flags: VerifyFlags) => (await import("./verify.js")).verify(path, flags));
  addTokenizerFlag(verify);
  addThreadFlags(verify);

  const validate = program
    .command("validate")
    .description("everything that can be checked: parity, determinism, texts, records, the house; its exit code is go or no-go")
    .allowExcessArguments(false)
    .option("--quick", "fewer texts and runs")
    .option("--model-a <path>", "the reference form of a model (default: the embedded model's SafeTensors)", nonEmpty)
    .option("--model-b <path>", "its other form (default: the embedded model's GGUF)", nonEmpty)
    .option("--out <folder>", "folder of the artifacts", nonEmpty, "artifacts")
    .option("--json", "print the summary as JSON")
    .addHelpText("after", "\nExample:\n  $ bitnet validate --quick")
    .action(async (flags: ValidateFlags) => (await import("./validate.js")).validate(flags));
  addKernelFlags(validate);

  program
    .command("release")
    .description("prepare a release")
    .addHelpText("after", "\nExample:\n  $ bitnet release prepare --version 1.2.3")
    .command("prepare")
    .description("validate, and make changelog, version, archive, bill of materials and checklist; pushes nothing")
    .allowExcessArguments(false)
    .requiredOption("--version <X.Y.Z>", "the release's version", nonEmpty)
    .option("--dry-run", "change nothing: all of it goes to a temporary folder")
    .option("--out <folder>", "folder to make (default: artifacts/release-vX.Y.Z, or a temporary one)", nonEmpty)
    .option("--results <folder>", "pack the artifacts of an earlier bitnet validate in place of validating", nonEmpty)
    .option("--perf", "measure performance anew, even if its records are fresh")
    .addHelpText("after", "\nExample:\n  $ bitnet release prepare --version 1.2.3 --dry-run")
    .action(async (flags: ReleaseFlags) => (await import("./release.js")).releasePrepare(flags));

  return program;
}

function command(program: Command, name: string, summary: string, example: string): Command {
  return program
    .command(name)
    .description(summary)
    .allowExcessArguments(false)
    .option("-m, --model <path>", "GGUF file, SafeTensors file, or a directory with one; default: the embedded model", nonEmpty)
    .addHelpText("after", `\nExample:\n  $ ${example}`);
}

/** Flags of the commands that load weights. */
function addEngineFlags(command: Command, threads?: Option): void {
  command
    .option("--ctx <tokens>", "positions of the context (default: the model's, at most 4096)", integer(1, MAX_TOKENS))
    .addOption(
      new Option("--kv <type>", "keys and values of the context: f32, or 8 bits in a quarter of the memory (default: f32)").choices([
        "f32",
        "q8",
      ]),
    )
    .addOption(
      new Option(
        "--head <kind>",
        "output head: rows in memory, or 8-bit codes that say which rows to read; same tokens (default: auto)",
      ).choices(["auto", "exact", "two-stage"]),
    );
  addKernelFlags(command, threads);
}

/** For a model whose own tokenizer is not known here. */
function addTokenizerFlag(command: Command): Command {
  return command.option("--tokenizer <path>", "tokenizer.json, or a directory with one, in place of the model's own tokenizer", nonEmpty);
}

/** What a model's files can't say, or don't. */
function addFileFlags(command: Command): void {
  addTokenizerFlag(command)
    .addOption(
      new Option("--activation <name>", "activation function, where the file names none and may mean either").choices(["relu2", "silu"]),
    )
    .addOption(
      new Option("--i2s-layout <name>", "how an I2_S file lays out its codes, which it can't say (default: block128)").choices([
        "block128",
        "block64",
        "rows4",
      ]),
    );
}

/** What the network runs on, and what its file can't say. */
function addKernelFlags(command: Command, threads?: Option): void {
  addFileFlags(command);
  addThreadFlags(command, threads);
}

/** What changes no result. */
function addThreadFlags(
  command: Command,
  threads = new Option("--threads <n>", "worker threads (default: one a core, at most what helps)").argParser(parseThreads),
): void {
  command
    .addOption(threads)
    .addOption(
      new Option("--tier <tier>", "kernels: which WebAssembly features to use (default: auto)").choices([
        "auto",
        "plain",
        "relaxed",
        "wide",
      ]),
    );
}

/** Flags of the commands that write text. */
function addSamplingFlags(command: Command): void {
  command
    .option("-n, --max-tokens <n>", "tokens to write at the most", integer(0, MAX_TOKENS))
    .option("--temperature <t>", "0: always the likeliest token (default: the model's)", decimal(0, 1e6))
    .option("--top-k <k>", "choose among the k likeliest; 0: all", integer(0, MAX_TOKENS))
    .option("--top-p <p>", "choose among the likeliest that make up p", decimal(0, 1, true))
    .option("--min-p <p>", "leave out what is less than p times as likely as the likeliest", decimal(0, 1))
    .option("--repetition-penalty <r>", "above 1: avoid what was said before", decimal(0, 1e6, true))
    .option("--seed <n>", "seed of the random numbers (default: 42)", parseSeed)
    .option("--stop <text>", "end before this text; may be repeated", repeatable(nonEmpty))
    .option("--stop-id <ids>", "end at these tokens; may be repeated", repeatable(parseIds))
    .option("--speculate", "guess tokens from what was said before and check them in one pass: the same text, sooner if it repeats itself")
    .option("--no-speculate", "one token a pass");
}
