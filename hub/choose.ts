/** Which files of a repository make a model. */
import { BitnetError } from "../engine/errors.js";
import { folderOf, inOneLine } from "./paths.js";
import type { RemoteFile } from "./repository.js";
import { MAX_FILES } from "./store.js";

/** What is downloaded, and which of it is opened. */
export interface Choice {
  readonly main: string;
  readonly files: readonly RemoteFile[];
}

/** `name-00001-of-00003.gguf`: a part of a split file. */
const GGUF_PART = /^(?<stem>.+)-(?<part>\d{5})-of-(?<count>\d{5})\.gguf$/i;
const MODEL_FILE = /\.(?:gguf|safetensors)$|\.safetensors\.index\.json$/i;
const INDEX = /\.safetensors\.index\.json$/i;
const SHARD = /-\d{5}-of-\d{5}\.safetensors$/i;
/** Types of ternary layers, as files of models are named. */
const TERNARY = /(?:^|[-._/])(?:i2_s|tq1_0|tq2_0|q2_0|pq2_0|ptq1_0|q1_0)(?=[-._])/i;
/** Encoders of images beside a model. */
const PROJECTOR = /(?:^|\/)mmproj/i;

/** What the engine reads beside SafeTensors; the last two only to refuse what they change. */
const BESIDE = [
  ...["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"],
  ...["chat_template.jinja", "additional_chat_templates/tool_use.jinja", "adapter_config.json", "hadamard.json"],
];

/** Names that a message lists. */
const MOST_LISTED = 12;

/**
 * Chooses the files of a model.
 * @param what name of the model, for messages
 * @param files all of the repository
 * @param wanted path of the file that was asked for
 * @param preferred path of the GGUF to take where several could be meant, or how it ends
 * @param readIndex names of the shards that an index lists, relative to its folder
 * @throws BitnetError usage: there is no model, or several could be meant
 */
export async function chooseFiles(
  what: string,
  files: readonly RemoteFile[],
  wanted: string | undefined,
  preferred: string | null,
  readIndex: (index: RemoteFile) => Promise<readonly string[]>,
): Promise<Choice> {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const fail = (message: string): never => {
    throw new BitnetError("usage", `${what}: ${message}`);
  };
  const main = wanted ?? pick(what, files, preferred);
  const file = byPath.get(main);
  if (!file) return fail(`the repository has no file "${inOneLine(main)}"; it has ${list(what, candidates(files))}`);
  if (!MODEL_FILE.test(main)) return fail(`"${inOneLine(main)}" is no model file; the repository has ${list(what, candidates(files))}`);

  const chosen = [file];
  const take = (path: string, why: string): void => {
    const one = byPath.get(path) ?? fail(`${why}, but the repository does not have "${inOneLine(path)}"`);
    if (!chosen.includes(one)) chosen.push(one);
  };
  const part = GGUF_PART.exec(main)?.groups;
  let first = main;
  if (part) {
    const count = Number(part.count);
    if (count < 1 || count > MAX_FILES) fail(`"${inOneLine(main)}" says that it is one of ${count} parts, which can't be`);
    const parts = Array.from({ length: count }, (_, i) => `${part.stem}-${String(i + 1).padStart(5, "0")}-of-${part.count}.gguf`);
    for (const path of parts) take(path, `"${inOneLine(main)}" is one of ${count} parts`);
    first = parts[0]!;
  } else if (!/\.gguf$/i.test(main)) {
    const folder = folderOf(main);
    const shards = INDEX.test(main) ? await readIndex(file) : [];
    for (const shard of shards) take(`${folder}${shard}`, `"${inOneLine(main)}" lists a shard`);
    take(`${folder}config.json`, `"${inOneLine(main)}" can't be run without config.json`);
    for (const name of BESIDE) {
      const beside = byPath.get(`${folder}${name}`);
      if (beside && !chosen.includes(beside)) chosen.push(beside);
    }
  }
  if (chosen.length > MAX_FILES) fail(`the model has ${chosen.length} files, but at most ${MAX_FILES} are supported`);
  const names = new Set(chosen.map(({ path }) => path.toLowerCase()));
  if (names.size < chosen.length) fail("two of its files have names that differ only in case, which not every system can store");
  return { main: first, files: chosen };
}

/** What could be opened: GGUF files, of those in parts the first ones; else SafeTensors, of those in shards the index. */
function candidates(files: readonly RemoteFile[]): readonly string[] {
  const gguf = files.map(({ path }) => path).filter((path) => /\.gguf$/i.test(path) && !PROJECTOR.test(path));
  const whole = gguf.filter((path) => Number(GGUF_PART.exec(path)?.groups?.part ?? 1) === 1);
  const tensors = files.map(({ path }) => path).filter((path) => (/\.safetensors$/i.test(path) && !SHARD.test(path)) || INDEX.test(path));
  return [...whole.sort(), ...tensors.sort()];
}

/** The file that is meant where none was named. @throws BitnetError usage */
function pick(what: string, files: readonly RemoteFile[], preferred: string | null): string {
  const all = candidates(files);
  const gguf = all.filter((path) => /\.gguf$/i.test(path));
  const ternary = gguf.filter((path) => TERNARY.test(path));
  for (const some of [gguf, ternary]) if (some.length === 1) return some[0]!;
  const known = preferred === null ? [] : gguf.filter((path) => path.endsWith(preferred));
  if (known.length === 1) return known[0]!;
  const tensors = all.filter((path) => !/\.gguf$/i.test(path));
  if (ternary.length === 0) {
    for (const name of ["model.safetensors", "model.safetensors.index.json"]) if (tensors.includes(name)) return name;
    if (tensors.length === 1) return tensors[0]!;
  }
  if (all.length === 0) {
    throw new BitnetError("usage", `${what}: the repository has no model that can be run: no .gguf and no .safetensors file`);
  }
  throw new BitnetError(
    "usage",
    `${what}: the repository has several models; name the file: ${list(what, ternary.length > 0 ? ternary : all)}`,
  );
}

/** Names that could be given. */
function list(what: string, paths: readonly string[]): string {
  if (paths.length === 0) return "no model";
  const names = paths.slice(0, MOST_LISTED).map((path) => `${what.replace(/:.*$/s, "")}:${inOneLine(path)}`);
  return names.join(", ") + (paths.length > MOST_LISTED ? ` and ${paths.length - MOST_LISTED} more` : "");
}
