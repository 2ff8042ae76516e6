import { BitnetError } from "../errors.js";
import { GGUF_MAGIC, readGguf } from "./gguf.js";
import { countOf, firstPart, metadataOf, openParts } from "./gguf-parts.js";
import { isPlainName } from "./names.js";
import { quote } from "./quote.js";
import { readSafetensors, readSafetensorsIndex } from "./safetensors.js";
import {
  type ByteSource,
  directoryOf,
  type FileStamp,
  fileName,
  inDirectory,
  listDirectory,
  openSource,
  pathKind,
  readText,
  sha256,
} from "./source.js";
import type { MetadataValue, TensorInfo } from "./tensor.js";

export type { ListValue, MetadataValue, NewTensor, NumberList, TensorInfo, TensorType } from "./tensor.js";

/** An open model, whatever its format: named tensors and what stands beside them. Nothing but headers has been read. */
export interface Checkpoint {
  readonly format: "gguf" | "safetensors";
  /** What the user named: a file or a directory. */
  readonly path: string;
  /** The files with tensors in them. */
  readonly files: readonly string[];
  /** The state of each of them when it was opened. */
  readonly stamps: ReadonlyMap<string, FileStamp>;
  /** Bytes of those files together. */
  readonly byteLength: number;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** GGUF's key-value pairs; empty for SafeTensors. */
  readonly metadata: ReadonlyMap<string, MetadataValue>;
  /** Text of a file beside a SafeTensors model, such as `config.json`; undefined if there is none, and always for GGUF. */
  sidecar(name: string): Promise<string | undefined>;
  /** SHA-256 of the model file, hex; of models in several files, that of the lines "sha256  name\n" of the files in name order. */
  sha256(): Promise<string>;
  close(): Promise<void>;
}

/** The largest tokenizer.json in use has 35 MB. */
export const MAX_SIDECAR_BYTES = 128 * 2 ** 20;

/** Enough of a file to tell what it is. */
const SNIFF_BYTES = 512;

/** Names that a message lists. */
const MAX_LISTED = 12;

const INDEX_SUFFIX = ".index.json";

/** In a directory: the file to open. Throws `usage` if none stands out. */
async function chooseFile(directory: string): Promise<string> {
  const names = await listDirectory(directory);
  for (const name of ["model.safetensors", `model.safetensors${INDEX_SUFFIX}`]) {
    if (names.includes(name)) return inDirectory(directory, name);
  }
  const models = names.filter((name) => /\.(?:safetensors|gguf)$/i.test(name));
  const [only] = models;
  if (only !== undefined && models.length === 1) return inDirectory(directory, only);
  const part = firstPart(models);
  if (part !== undefined) return inDirectory(directory, part);
  const list = (some: readonly string[]) =>
    some.length === 0
      ? "nothing"
      : some.slice(0, MAX_LISTED).map(quote).join(", ") + (some.length > MAX_LISTED ? ` and ${some.length - MAX_LISTED} more` : "");
  const message =
    models.length > 1
      ? `has more than one model, ${list(models)}; name the file`
      : `has no model in it; needed is a .gguf or a .safetensors file, found ${names.length === 0 ? "" : "only "}${list(names)}`;
  throw new BitnetError("usage", `${directory}: ${message}`, { file: directory });
}

/** What often lies where a model should be; `head` are the first bytes as Latin-1. */
function instead(head: string): string | undefined {
  if (head === "") return "is empty; the download may have failed";
  if (head.startsWith("version https://git-lfs")) return "is a git-lfs pointer, not the model itself; fetch the file with `git lfs pull`";
  const isPage = /^(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|\?xml|!--)/i.test(head);
  return isPage ? "is a web page, not a model; the download got an error page or needs a login" : undefined;
}

/** What a file is, by its first bytes. Throws `file` with what it is instead of a model. */
async function sniff(source: ByteSource): Promise<"gguf" | "safetensors" | "index"> {
  const { path, size } = source;
  const head = await source.read(0, Math.min(SNIFF_BYTES, size));
  const text = String.fromCharCode(...head); // bytes as Latin-1
  if (text.startsWith(GGUF_MAGIC)) return "gguf";
  const what = instead(text);
  // SafeTensors begin with a 64-bit length, whose high bytes are zero.
  const isText = !/[^\t\n\r\x20-\xff]/.test(text);
  if (what === undefined) {
    if (path.endsWith(INDEX_SUFFIX)) return "index";
    if (text[8] === "{" || (path.toLowerCase().endsWith(".safetensors") && !isText)) return "safetensors";
  }
  const otherwise = isText ? "is a text file, not a model" : "is neither a GGUF nor a SafeTensors file";
  throw new BitnetError("file", `${path}: ${what ?? otherwise}`, { file: path });
}

/** Opens the shards that an index names, and requires that index and shards list the same tensors. */
async function openShards(index: ByteSource, sources: ByteSource[]): Promise<TensorInfo[]> {
  const { weightMap, shards } = await readSafetensorsIndex(index);
  const tensors = new Map<string, TensorInfo>();
  for (const shard of shards) {
    const path = inDirectory(directoryOf(index.path), shard);
    const source = await openSource(path, true).catch((error: unknown) => {
      if (!(error instanceof BitnetError) || error.code !== "usage") throw error;
      throw new BitnetError(
        "file",
        `${path}: is missing, though ${index.path} names it as a part of the model`,
        { file: path },
        { cause: error },
      );
    });
    sources.push(source);
    for (const tensor of (await readSafetensors(source)).tensors) {
      if (weightMap.get(tensor.name) !== shard) {
        throw new BitnetError(
          "file",
          `${path}: holds the tensor ${quote(tensor.name)}, but ${index.path} doesn't say so; the files don't belong together`,
          {
            file: path,
            tensor: tensor.name,
          },
        );
      }
      tensors.set(tensor.name, tensor);
    }
  }
  for (const [name, shard] of weightMap) {
    if (tensors.has(name)) continue;
    const path = inDirectory(directoryOf(index.path), shard);
    throw new BitnetError("file", `${path}: lacks the tensor ${quote(name)}, which ${index.path} says it holds`, {
      file: path,
      tensor: name,
    });
  }
  return [...tensors.values()];
}

/**
 * Opens a model: a .gguf (of a split one any part) or .safetensors file, a `*.index.json` of shards, or a directory with one of them. The first bytes decide what a file is,
 * its name does not. Only headers are read. Throws `usage` for a path that leads to no model, `io` if the system refuses,
 * `file` for what is damaged or no model, `unsupported` for what this reader doesn't know.
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  const file = (await pathKind(path)) === "directory" ? await chooseFile(path) : path;
  const main = await openSource(file, true);
  const sources: ByteSource[] = []; // those with tensors
  const closeAll = async () => {
    for (const source of [main, ...sources]) await source.close();
  };
  try {
    const kind = await sniff(main);
    let tensors: readonly TensorInfo[];
    let metadata: ReadonlyMap<string, MetadataValue> = new Map();
    if (kind === "index") tensors = await openShards(main, sources);
    else if (kind === "safetensors") {
      sources.push(main);
      tensors = (await readSafetensors(main)).tensors;
    } else {
      const gguf = await readGguf(main);
      metadata = metadataOf(gguf);
      if (countOf(metadata) === undefined) {
        sources.push(main);
        tensors = gguf.tensors;
      } else ({ tensors, metadata } = await openParts(main, gguf, sources));
    }
    return {
      format: kind === "gguf" ? "gguf" : "safetensors",
      path,
      files: sources.map((source) => source.path),
      stamps: new Map(sources.map(({ path, stamp }) => [path, stamp])),
      byteLength: sources.reduce((sum, source) => sum + source.size, 0),
      tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])),
      metadata,
      async sidecar(name) {
        if (!isPlainName(name))
          throw new BitnetError("usage", `${quote(name)} is not a plain file name, so it can't stand beside ${file}`, { file });
        return kind === "gguf" ? undefined : readText(inDirectory(directoryOf(file), name), MAX_SIDECAR_BYTES);
      },
      async sha256() {
        if (sources.length === 1 && kind !== "index") return sha256(main);
        let lines = "";
        for (const source of sources) lines += `${await sha256(source)}  ${fileName(source.path)}\n`;
        return sha256(lines);
      },
      close: closeAll,
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}
