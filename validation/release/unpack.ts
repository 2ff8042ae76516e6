import { gunzipSync } from "node:zlib";
import { unpackTar } from "modern-tar";
import { BitnetError } from "../../engine/errors.js";
import { type ArchiveFile, digestOf, type FileDigest, gzip, tar } from "./tar.js";

/** Contents of an archive by path. */
export type Files = ReadonlyMap<string, Uint8Array>;

/** The longest archive that is read, its longest content, and its most files: a real release has 10 MB in 200 files. */
export const MAX_PACKED = 64 * 2 ** 20;
const MAX_UNPACKED = 4 * MAX_PACKED;
const MAX_FILES = 10_000;

const BLOCK = 512;
/** Type of a plain file in a header. */
const PLAIN = 0x30;
/** Relative, of letters, digits and `.@+_-`. What has no part `.` or `..` is a path inside on every system. */
const PATH = /^(?!(?:.*\/)?\.{1,2}(?:\/|$))[\w.@+-]+(?:\/[\w.@+-]+)*$/;

/** What is wrong with a release, in one sentence. */
export function refusal(message: string): BitnetError {
  return new BitnetError("acceptance", message);
}

export interface Unpacked {
  readonly files: Files;
  /** Of the first file, seconds since 1970. */
  readonly time: number;
  /** Bytes after decompression. */
  readonly bytes: Uint8Array;
}

/**
 * Reads a tar.gz in memory. Only plain files under safe names are taken: no link, folder, device or extended header, nothing twice (also if capitals
 * are ignored), and nothing behind the end.
 * @param what its name, for messages
 * @throws BitnetError acceptance
 */
export async function unpack(data: Uint8Array, what: string): Promise<Unpacked> {
  const bytes = decompress(data, what);
  let entries: Awaited<ReturnType<typeof unpackTar>>;
  let count = 0;
  try {
    const limited = (): boolean => {
      if (++count > MAX_FILES) throw new Error(`it has more than ${MAX_FILES} files`);
      return true;
    };
    entries = await unpackTar(bytes, { strict: true, filter: limited });
  } catch (error) {
    throw refusal(`${what} is not a readable archive: ${(error as Error).message}`);
  }
  const files = new Map<string, Uint8Array>();
  const seen = new Set<string>();
  let at = 0;
  for (const { header, data: content = new Uint8Array() } of entries) {
    // What a reader skips or merges would not be at the place that the sizes give.
    if (bytes[at + 156] !== PLAIN || header.type !== "file")
      throw refusal(`${what} contains ${header.name} as ${header.type ?? "another kind"}: only plain files are allowed`);
    if (!PATH.test(header.name)) throw refusal(`${what} contains a file with an unsafe name: ${JSON.stringify(header.name)}`);
    if (seen.has(header.name.toLowerCase())) throw refusal(`${what} contains ${header.name} twice`);
    seen.add(header.name.toLowerCase());
    files.set(header.name, content);
    at += BLOCK + Math.ceil(content.length / BLOCK) * BLOCK;
  }
  const end = bytes.subarray(at);
  if (files.size === 0) throw refusal(`${what} contains no files`);
  if (end.length < 2 * BLOCK || end.some((byte) => byte !== 0))
    throw refusal(`${what} contains something besides its ${files.size} files, or is cut off`);
  return { files, time: Math.floor((entries[0]!.header.mtime?.getTime() ?? 0) / 1000), bytes };
}

function decompress(data: Uint8Array, what: string): Uint8Array {
  if (data.length > MAX_PACKED) throw refusal(`${what} has ${data.length} bytes, but at most ${MAX_PACKED} are read`);
  try {
    // With `info`, it also says how much it read: what follows the last block is ignored else.
    const options = { maxOutputLength: MAX_UNPACKED, info: true } as const;
    const { buffer, engine } = gunzipSync(data, options) as unknown as { buffer: Buffer; engine: { bytesWritten: number } };
    if (engine.bytesWritten === data.length) return buffer;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ERR_BUFFER_TOO_LARGE") throw refusal(`${what} has more than ${MAX_UNPACKED} bytes when unpacked`);
    throw refusal(`${what} is not a gzip file, or is damaged: ${message}`);
  }
  throw refusal(`${what} has bytes after its end`);
}

/**
 * There is one way to pack artifacts of a time, so every byte is checked, headers and padding too.
 * @throws BitnetError acceptance: it was not packed in this way
 */
export async function requirePackedHere({ files, time, bytes }: Unpacked, data: Uint8Array, what: string): Promise<void> {
  const list = [...files].map(([path, content]) => ({ path, data: content }));
  const own = Buffer.from(await tar(list, time));
  if (!own.equals(bytes)) {
    const at = own.findIndex((byte, i) => byte !== bytes[i]);
    const path = at < 0 ? "its end" : fileAt(list, at);
    throw refusal(`${what} was not packed by bitnet release prepare: its tar header or padding near ${path} is different`);
  }
  if (!Buffer.from(gzip(own)).equals(data)) throw refusal(`${what} was not packed by bitnet release prepare: its gzip format is different`);
}

/** The file that a byte of a tar belongs to. */
function fileAt(files: readonly ArchiveFile[], at: number): string {
  let end = 0;
  const file = files.find(({ data }) => {
    end += BLOCK + Math.ceil(data.length / BLOCK) * BLOCK;
    return at < end;
  });
  return file?.path ?? "its end";
}

/** The folder that npm puts everything into. */
const PACKAGE_FOLDER = "package/";

/** Whether an archive is an npm package, by where its files are. */
export function isPackage({ files }: Unpacked): boolean {
  return [...files.keys()].every((path) => path.startsWith(PACKAGE_FOLDER));
}

/**
 * Files of an npm package, by path from its root. npm's compressor has many outputs, so only its contents are checked, not every byte.
 * @throws BitnetError acceptance
 */
export async function unpackPackage(data: Uint8Array, what: string): Promise<Files> {
  const unpacked = await unpack(data, what);
  if (!isPackage(unpacked)) throw refusal(`${what} is not an npm package: it has files outside ${PACKAGE_FOLDER}`);
  return new Map([...unpacked.files].map(([path, content]) => [path.slice(PACKAGE_FOLDER.length), content]));
}

/** Hashes of contents that were asked for before: they are many bytes. */
const known = new WeakMap<Files, readonly FileDigest[]>();

/** Sorted by path. */
export function digestsOf(files: Files): readonly FileDigest[] {
  const digests = known.get(files) ?? [...files].map(([path, data]) => digestOf(path, data)).sort((a, b) => (a.path < b.path ? -1 : 1));
  known.set(files, digests);
  return digests;
}
