import { directoryOf, fileName, inDirectory, openSource, pathKind } from "#host/files.js";
import { BitnetError } from "../errors.js";
import type { ByteSource, FileStamp } from "../host/files.js";
import { chooseFile, indexOfShard } from "./directory.js";
import { readGguf } from "./gguf.js";
import { countOf, metadataOf, openParts } from "./gguf-parts.js";
import { isPlainName } from "./names.js";
import { quote } from "./quote.js";
import { readSafetensors, readSafetensorsIndex } from "./safetensors.js";
import { OTHER_FORMATS, SAVE_ANEW, sniff } from "./sniff.js";
import { readText, sha256 } from "./source.js";
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
  /** Bytes [start, start + length) of a tensor. */
  read(tensor: TensorInfo, start: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Text of a file beside a SafeTensors model, such as `config.json`; undefined if there is none, and always for GGUF. */
  sidecar(name: string): Promise<string | undefined>;
  /** SHA-256 of the model file, hex; of models in several files, that of the lines "sha256  name\n" of the files in name order. */
  sha256(): Promise<string>;
  close(): Promise<void>;
}

/** The largest tokenizer.json in use has 35 MB. */
export const MAX_SIDECAR_BYTES = 128 * 2 ** 20;

/** Opens the shards that an index names, and requires that index and shards list the same tensors. */
async function openShards(index: ByteSource, sources: ByteSource[]): Promise<TensorInfo[]> {
  const { weightMap, shards } = await readSafetensorsIndex(index);
  if (shards.some((shard) => OTHER_FORMATS[0]![0].test(shard))) {
    throw new BitnetError("file", `${index.path} is an index of PyTorch files, which are not supported; ${SAVE_ANEW}`, {
      file: index.path,
    });
  }
  const tensors = new Map<string, TensorInfo>();
  for (const shard of shards) {
    const path = inDirectory(directoryOf(index.path), shard);
    const source = await openSource(path, true).catch((error: unknown) => {
      if (!(error instanceof BitnetError) || error.code !== "usage") throw error;
      throw new BitnetError(
        "file",
        `${path} is missing, but ${index.path} lists it as a part of the model`,
        { file: path },
        { cause: error },
      );
    });
    sources.push(source);
    if ((await sniff(source)) === "gguf")
      throw new BitnetError("file", `${path}: is a GGUF file, but ${index.path} lists it as a part of the model`, { file: path });
    for (const tensor of (await readSafetensors(source)).tensors) {
      if (weightMap.get(tensor.name) !== shard) {
        throw new BitnetError(
          "file",
          `${path} contains the tensor ${quote(tensor.name)}, but ${index.path} does not list it there; the files don't belong together`,
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
    throw new BitnetError("file", `${path} does not contain the tensor ${quote(name)}, although ${index.path} lists it there`, {
      file: path,
      tensor: name,
    });
  }
  return [...tensors.values()];
}

/**
 * Opens a model: a .gguf or .safetensors file (of one in parts any part), a `*.index.json` of shards, or a directory with one of them. The first
 * bytes decide what a file is, its name does not. Only headers are read. Throws `usage` for a path that leads to no model, `io` if the system refuses,
 * `file` for what is damaged or no model, `unsupported` for what this reader doesn't know.
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  let file = (await pathKind(path)) === "directory" ? await chooseFile(path) : path;
  let main = await openSource(file, true);
  const sources: ByteSource[] = []; // those with tensors
  const closeAll = async () => {
    for (const source of [main, ...sources]) await source.close();
  };
  try {
    let kind = await sniff(main);
    const index = kind === "safetensors" ? await indexOfShard(file) : undefined;
    if (index !== undefined) {
      await main.close();
      main = await openSource(index);
      [file, kind] = [index, "index"];
    }
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
      async read({ file: of, offset }, start, length) {
        return sources.find((source) => source.path === of)!.read(offset + start, length);
      },
      async sidecar(name) {
        const parts = name.split("/");
        if (parts.length > 2 || !parts.every(isPlainName))
          // in the directory, or in a folder of it
          throw new BitnetError("usage", `${quote(name)} is not a plain file name, so it can't be beside ${file}`, { file });
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
