import type { Base, Content, Files } from "./files.js";
import { scribble } from "./mutate-bytes.js";
import { GGUF_MUTATORS } from "./mutate-gguf.js";
import { mutateJson } from "./mutate-json.js";
import { SAFETENSORS_MUTATORS } from "./mutate-safetensors.js";
import { Random } from "./random.js";
import { hostileTemplate } from "./templates.js";

/** One mutated model. */
export interface Case extends Files {
  /** Which base, which file of it, what was done. */
  readonly base: string;
  readonly file: string;
  readonly kind: string;
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** Names in an index that lead elsewhere. */
const PATHS = [
  "../model.safetensors",
  "/etc/passwd",
  "..",
  ".",
  "",
  "a/b",
  "C:\\x",
  "model.safetensors.index.json",
  "config.json",
  "x".repeat(300),
  "a\0b",
];

/** An index whose names lead elsewhere, to itself, or to another shard. */
function paths(random: Random, bytes: Uint8Array): Uint8Array {
  const index = JSON.parse(text(bytes)) as { weight_map: Record<string, string> };
  const names = Object.keys(index.weight_map);
  const to = random.pick([...PATHS, ...new Set(Object.values(index.weight_map))]);
  for (const name of random.once(2) ? [random.pick(names)] : names) index.weight_map[name] = to;
  return Buffer.from(JSON.stringify(index));
}

/** What is not a file at all, or a huge one. */
function oddContent(random: Random, bytes: Uint8Array): Content {
  return random.pick<Content>([
    "directory",
    "link to itself",
    "link to nothing",
    "link to a device",
    "fifo",
    new Uint8Array(0),
    Buffer.from("{}"),
    { head: bytes, size: 64 * 2 ** 20 }, // loads, since nobody needs what stands behind the tensors; its hash reads it all
    { head: bytes.subarray(0, 100), size: 300 * 2 ** 20 },
  ]);
}

type Mutator = (random: Random, bytes: Uint8Array) => Content;

const JSON_MUTATORS: Readonly<Record<string, Mutator>> = {
  values: (random, bytes) => Buffer.from(mutateJson(random, text(bytes))),
  scribble: (random, bytes) => scribble(random, bytes, bytes.length),
};

/** What can be done to a file, by its name. */
function mutatorsOf(name: string): Readonly<Record<string, Mutator>> {
  if (name.endsWith(".gguf")) return GGUF_MUTATORS;
  if (name.endsWith(".safetensors")) return SAFETENSORS_MUTATORS;
  if (name.endsWith(".index.json")) return { ...JSON_MUTATORS, paths };
  if (name === "tokenizer_config.json") return { ...JSON_MUTATORS, template: inConfig };
  return JSON_MUTATORS;
}

function inConfig(random: Random, bytes: Uint8Array): Uint8Array {
  const config = JSON.parse(text(bytes)) as Record<string, unknown>;
  const hostile = hostileTemplate(random, String(config.chat_template));
  config.chat_template = random.once(3) ? [{ name: "default", template: hostile }] : hostile;
  return Buffer.from(JSON.stringify(config));
}

/** A template that never ends takes half a second until it is stopped; other cases take milliseconds. */
const SELDOM = 10;

/** The first base is a real model, of which a case takes ten times as long. */
const LARGE_SELDOM = 64;

/** The case of a seed and an index: always the same of the same bases. */
export function makeCase(bases: readonly Base[], seed: number, index: number): Case {
  const random = new Random(seed, index);
  const [large, ...small] = bases;
  const base = random.once(LARGE_SELDOM) ? large! : random.pick(small);
  const file = random.pick([...base.contents.keys()]);
  const bytes = base.contents.get(file)!;
  const contents = new Map<string, Content>(base.contents);
  let kind: string;
  if (random.once(40)) {
    kind = "no file";
    if (random.once(4)) contents.delete(file);
    else contents.set(file, oddContent(random, bytes));
  } else {
    const mutators = mutatorsOf(file);
    const mayRender = random.once(SELDOM);
    kind = random.pick(Object.keys(mutators).filter((name) => name !== "template" || mayRender));
    contents.set(file, mutators[kind]!(random, bytes));
  }
  return { base: base.name, file, kind, open: base.open, contents };
}
