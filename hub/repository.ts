/** What a repository of the hub has. */
import { get, networkError, persist, readBody, type Session } from "./client.js";
import type { HubName } from "./names.js";
import { nameText } from "./names.js";
import { inOneLine, isSafePath } from "./paths.js";
import { MAX_FILE_BYTES } from "./store.js";

/** A file that can be downloaded, and what must come of it. */
export interface RemoteFile {
  /** Where it goes under the model's folder. */
  readonly path: string;
  readonly url: string;
  /** undefined: it has to be asked for. */
  readonly size: number | undefined;
  /** undefined: not known beforehand. */
  readonly sha256: string | undefined;
  /** Git's hash of it, for small files of a repository: SHA-1 of "blob SIZE\0" and the bytes. */
  readonly gitSha1: string | undefined;
  /** It is a hub's, which has a hash for each of its files; one without is refused. */
  readonly ofHub: boolean;
}

export interface Repository {
  /** The commit that the revision means now, 40 hex digits. */
  readonly commit: string;
  readonly files: readonly RemoteFile[];
}

/** Longest list of files, in bytes. */
const MAX_LIST_BYTES = 16 * 2 ** 20;
/** Most files of a repository that are looked at. */
const MAX_LISTED = 20_000;

/**
 * Asks the hub for the files of a revision. Names that are no safe paths are left out: no model that can be run has any.
 * @throws BitnetError usage: there is no such model; network
 */
export async function openRepository(session: Session, name: HubName): Promise<Repository> {
  const what = nameText({ ...name, file: undefined });
  const url = `${session.endpoint}/api/models/${name.repository}/revision/${encodeURIComponent(name.revision)}?blobs=true`;
  const bytes = await persist(session, async () => readBody(await get(session, url, what), MAX_LIST_BYTES, what));
  const strange = (reason: string): Error =>
    networkError(`${what}: ${new URL(session.endpoint).host} does not answer as a hub does: ${reason}; check HF_ENDPOINT`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw strange("its list of files is no JSON");
  }
  const { sha, siblings } = Object(value) as { readonly sha?: unknown; readonly siblings?: unknown };
  if (typeof sha !== "string" || !/^[\da-f]{40}$/.test(sha)) throw strange("it names no commit");
  if (!Array.isArray(siblings) || siblings.length > MAX_LISTED) throw strange("it has no list of files");
  const files = siblings.flatMap((sibling: unknown) => {
    const { rfilename: path, size, blobId, lfs } = Object(sibling) as Record<string, unknown>;
    const { sha256 } = Object(lfs) as { readonly sha256?: unknown };
    if (typeof path !== "string" || !isSafePath(path)) return [];
    if (size !== undefined && !(Number.isSafeInteger(size) && (size as number) >= 0 && (size as number) <= MAX_FILE_BYTES))
      throw strange(`it gives "${inOneLine(path)}" a size that can't be`);
    const encoded = path.split("/").map(encodeURIComponent).join("/");
    const file: RemoteFile = {
      path,
      url: `${session.endpoint}/${name.repository}/resolve/${sha}/${encoded}`,
      size: size as number | undefined,
      sha256: typeof sha256 === "string" && /^[\da-f]{64}$/.test(sha256) ? sha256 : undefined,
      gitSha1: typeof blobId === "string" && /^[\da-f]{40}$/.test(blobId) && !lfs ? blobId : undefined,
      ofHub: true,
    };
    return [file];
  });
  return { commit: sha, files };
}
