import { startSha256 } from "#host/digest.js";
import { openSource, pathKind } from "#host/files.js";
import { BitnetError } from "../errors.js";
import type { ByteSource } from "../host/files.js";

/** How much of a file is in memory while it is hashed or copied. */
const PIECE_BYTES = 2 ** 20;

/** Bytes [offset, offset + length) of a source in pieces of 1 MiB, for hashing and copying. */
export async function* readPieces(source: ByteSource, offset = 0, length = source.size - offset): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for (let done = 0; done < length; done += PIECE_BYTES) {
    yield await source.read(offset + done, Math.min(PIECE_BYTES, length - done));
  }
}

/** SHA-256 of a whole file, or of a text's UTF-8: 64 hex digits. */
export async function sha256(of: ByteSource | string): Promise<string> {
  const hash = startSha256();
  if (typeof of === "string") hash.update(new TextEncoder().encode(of));
  else for await (const piece of readPieces(of)) hash.update(piece);
  return hash.hex();
}

/** All bytes of a small regular file. Errors as `openSource`, and `file` if it is over `maxBytes`. */
export async function readBytes(path: string, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const source = await openSource(path);
  try {
    if (source.size > maxBytes) {
      throw new BitnetError("file", `${path} has ${source.size} bytes, but the limit for such a file is ${maxBytes}`, {
        file: path,
      });
    }
    return await source.read(0, source.size);
  } finally {
    await source.close();
  }
}

/** Text of a small UTF-8 file (a byte-order mark is dropped); undefined if there is none. Throws `file` if it is over `maxBytes` or not UTF-8. */
export async function readText(path: string, maxBytes: number): Promise<string | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await readBytes(path, maxBytes);
  } catch (error) {
    if (error instanceof BitnetError && error.code === "usage") return undefined;
    throw error;
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new BitnetError("file", `${path} is not UTF-8 text`, { file: path });
  }
}

/** What a path names, undefined if there is nothing. */
export async function kindIfAny(path: string): Promise<"file" | "directory" | undefined> {
  try {
    return await pathKind(path);
  } catch (error) {
    if (error instanceof BitnetError && error.code === "usage") return undefined;
    throw error;
  }
}
