import { BitnetError } from "../../errors.js";
import type { FileUrl } from "../../options.js";
import { type ByteSource, changed, type FileStamp, requireRange, type SyncSource } from "../files.js";
import { openSource as openWebSource } from "../web/files.js";

export {
  directoryName,
  directoryOf,
  fileName,
  inDirectory,
  isSame,
  isUtf8,
  listDirectory,
  pathKind,
  pathOfUrl,
  requireReplaceable,
  writeAtomic,
  writeDirectory,
} from "../web/files.js";

/** What stands for a file of the package, of which only kernels are here. */
const PACKAGE = "package:";

/** A file of this package: none can be read. */
export function packageFile(what: string, _url: () => FileUrl): string {
  return `${PACKAGE}${what}`;
}

/** Opens a file for reading. Throws `usage` if there is none, `io` if it can't be opened. */
export async function openSource(path: string, lasting?: boolean): Promise<ByteSource> {
  if (!path.startsWith(PACKAGE)) return openWebSource(path, lasting);
  throw new BitnetError(
    "usage",
    `${path.slice(PACKAGE.length)} can't be read here: give loadModel a URL, or a Blob with the model's bytes`,
  );
}

/** Files that steps read, whole in memory: nothing else can be read while a step computes. */
const contents = new Map<string, Uint8Array>();

/** Keeps a file's bytes for `openSourceSync`, until they are dropped. */
export function keepBytes(path: string, bytes: Uint8Array): void {
  contents.set(path, bytes);
}

export function dropBytes(path: string): void {
  contents.delete(path);
}

/** `openSource` while a step computes: of files whose bytes were kept. */
export function openSourceSync(path: string, stamp?: FileStamp): SyncSource {
  const bytes = contents.get(path);
  if (bytes === undefined) throw new BitnetError("internal", `${path} was not read for this model`, { file: path });
  if (stamp !== undefined && stamp.size !== bytes.length) throw changed(path, "");
  let isOpen = true;
  return {
    path,
    size: bytes.length,
    readInto(target, offset) {
      requireRange(path, bytes.length, offset, target.length, isOpen);
      target.set(bytes.subarray(offset, offset + target.length));
    },
    check() {},
    close() {
      isOpen = false;
    },
  };
}
