/** From a name to a model in the store. */
import { mkdir, statfs } from "node:fs/promises";
import { BitnetError } from "../engine/errors.js";
import { CALLBACK, checkArgument, type Given, LIVE_SIGNAL, type Rules, readOptions, type Signal, TEXT } from "../engine/options.js";
import { knownModel } from "./catalogue.js";
import { chooseFiles } from "./choose.js";
import { get, PACE, type Pace, persist, readBody, type Session } from "./client.js";
import { download, hashesOf, type SizedFile, sizeOf, wrongHash } from "./download.js";
import { type HubName, nameText, requireName, type UrlName } from "./names.js";
import { partials } from "./partial.js";
import { bytesInWords, inOneLine, isSafePath } from "./paths.js";
import { openRepository, type RemoteFile } from "./repository.js";
import { FILLED, STORE_RULES, type StoreOptions } from "./resolve.js";
import { cacheFolder, checkEndpoint, checkToken, hubEndpoint, hubToken } from "./settings.js";
import {
  dropBlobs,
  hasBlob,
  missingFile,
  modelFolder,
  readStore,
  type StoredFile,
  type StoredModel,
  type StoredRecord,
  storedModel,
  storeError,
  storeModel,
} from "./store.js";

/** How far a pull is. */
export interface PullProgress {
  /** Path of the file that is being downloaded. */
  readonly file: string;
  /** Bytes that are there, of all files together. */
  readonly done: number;
  readonly total: number;
  /** Bytes that came over the network in this pull. */
  readonly received: number;
  /** Another process downloads this file; this one waits for it. */
  readonly waiting: boolean;
}

export interface PullOptions extends StoreOptions {
  /** Address of the hub; default: `HF_ENDPOINT`, or https://huggingface.co. */
  readonly endpoint?: string;
  /** Token for the hub; default: `HF_TOKEN`, or what the hub's own command line stored. */
  readonly token?: string;
  readonly onProgress?: (progress: PullProgress) => void;
  /** Ends the pull; what has been downloaded stays for the next one. */
  readonly signal?: Signal;
}

const RULES: Rules<PullOptions> = { ...STORE_RULES, endpoint: FILLED, token: FILLED, onProgress: CALLBACK, signal: LIVE_SIGNAL };

/** Largest index of shards, in bytes. */
const MAX_INDEX_BYTES = 64 * 2 ** 20;
/** Left free on the disk, in bytes. */
const SPARE_BYTES = 64 * 2 ** 20;
/** A removal may take away what a pull has just found; then it pulls again. */
const MAX_ROUNDS = 3;

/**
 * What tests change.
 * @internal
 */
export interface Surroundings {
  readonly pace: Pace;
  /** Free bytes on the disk of a folder. */
  freeBytes(folder: string): Promise<number>;
}

const SURROUNDINGS: Surroundings = {
  pace: PACE,
  async freeBytes(folder) {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  },
};

/** What is to be stored. */
interface Plan {
  readonly name: string;
  readonly source: string;
  /** undefined: its hash will tell. */
  readonly revision: string | undefined;
  readonly main: string;
  readonly files: readonly SizedFile[];
}

/**
 * Downloads a model and stores it, or says at once that it is there. What was downloaded before an interruption is not downloaded again.
 * @param name `owner/name`, `hf:owner/name[@revision][:file]`, or the URL of a .gguf file
 * @throws BitnetError usage, network, file, io; the signal's reason
 */
export async function pull(name: string, options?: Given<PullOptions>): Promise<StoredModel> {
  return pullWith(SURROUNDINGS, name, options);
}

/**
 * `pull` in other surroundings.
 * @internal
 */
export async function pullWith(surroundings: Surroundings, name: string, given?: Given<PullOptions>): Promise<StoredModel> {
  checkArgument("name", name, TEXT);
  const options = readOptions<PullOptions>("pull", given, RULES);
  const { signal, onProgress = () => {} } = options;
  const endpoint = options.endpoint === undefined ? hubEndpoint() : checkEndpoint(options.endpoint, "endpoint");
  const wanted = requireName(name, endpoint);
  const token = options.token === undefined ? hubToken() : checkToken(options.token, "token");
  const session: Session = { endpoint, token, signal, pace: surroundings.pace };
  const cache = options.cache ?? cacheFolder();
  try {
    await mkdir(cache, { recursive: true });
  } catch (error) {
    throw storeError("write", cache, error);
  }
  for (let round = 1; ; round++) {
    const plan = await (wanted.kind === "hub" ? planHub(session, wanted) : planUrl(session, wanted));
    const stored = await store(cache, plan, session, surroundings, onProgress);
    if (stored) return stored;
    if (round === MAX_ROUNDS)
      throw new BitnetError("io", `${inOneLine(plan.name)}: its files are removed from the store while they are pulled; pull again`);
  }
}

/** Files of a repository. */
async function planHub(session: Session, name: HubName): Promise<Plan> {
  const { commit, files } = await openRepository(session, name);
  const what = nameText({ ...name, file: undefined });
  const preferred = knownModel(name.repository)?.file ?? null;
  const { main, files: chosen } = await chooseFiles(what, files, name.file, preferred, (index) => readIndex(session, index, what));
  return { name: nameText(name), source: session.endpoint, revision: commit, main, files: await sizes(session, chosen, what) };
}

/** The shards that an index lists. It is downloaded again with the other files. */
async function readIndex(session: Session, index: RemoteFile, what: string): Promise<string[]> {
  const bytes = await persist(session, async () => readBody(await get(session, index.url, what), MAX_INDEX_BYTES, what));
  const bad = (): never => {
    throw new BitnetError("file", `${what}: "${inOneLine(index.path)}" is no index of shards`);
  };
  const fault = wrongHash(index, await hashesOf(bytes));
  if (fault !== undefined)
    throw new BitnetError("file", `${what}: the bytes of "${inOneLine(index.path)}" are not those of the file: ${fault}`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return bad();
  }
  const { weight_map: map } = Object(value) as { readonly weight_map?: unknown };
  if (typeof map !== "object" || map === null || Array.isArray(map)) return bad();
  const shards = [...new Set(Object.values(map) as unknown[])];
  return shards.every((shard): shard is string => typeof shard === "string" && isSafePath(shard) && !shard.includes("/")) ? shards : bad();
}

/** A file of the web, and the other parts if it is one of a split model. */
async function planUrl(session: Session, name: UrlName): Promise<Plan> {
  const file = (path: string): RemoteFile => {
    const url = new URL(name.url);
    url.pathname = url.pathname.replace(/[^/]*$/, () => encodeURIComponent(path));
    return { path, url: path === name.file ? name.url : url.href, size: undefined, sha256: undefined, gitSha1: undefined, ofHub: false };
  };
  const what = inOneLine(nameText(name));
  const { main, files } = await chooseFiles(what, partNames(name.file).map(file), name.file, null, async () => []);
  return { name: nameText(name), source: new URL(name.url).origin, revision: undefined, main, files: await sizes(session, files, what) };
}

/** All parts of a split GGUF, by the name of one. */
function partNames(name: string): string[] {
  const { stem, count } = /^(?<stem>.+)-\d{5}-of-(?<count>\d{5})\.gguf$/i.exec(name)?.groups ?? {};
  if (stem === undefined) return [name];
  const others = Array.from(
    { length: Math.min(Number(count), 512) },
    (_, i) => `${stem}-${String(i + 1).padStart(5, "0")}-of-${count}.gguf`,
  );
  return [...new Set([...others, name])];
}

async function sizes(session: Session, files: readonly RemoteFile[], what: string): Promise<SizedFile[]> {
  const sized: SizedFile[] = [];
  for (const file of files) sized.push(await sizeOf(session, file, `${what}: ${inOneLine(file.path)}`));
  return sized;
}

/** Downloads what is missing and stores the model. @returns undefined: a removal took some of it away meanwhile */
async function store(
  cache: string,
  plan: Plan,
  session: Session,
  { freeBytes }: Surroundings,
  onProgress: (progress: PullProgress) => void,
): Promise<StoredModel | undefined> {
  const before = readStore(cache).entries.find(({ record }) => record.name === plan.name);
  if (before && isSame(before.record, plan) && missingFile(before) === undefined) return storedModel(before);

  const { createHash } = await import("node:crypto");
  const short = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 16);
  const keyOf = ({ sha256, gitSha1, url }: SizedFile): string => sha256 ?? gitSha1 ?? createHash("sha256").update(url).digest("hex");
  await requireSpace(cache, plan, keyOf, freeBytes);

  const total = plan.files.reduce((sum, { size }) => sum + size, 0);
  const files: StoredFile[] = [];
  let whole = 0; // bytes of the files that are done
  let received = 0;
  for (const file of plan.files) {
    const say = (bytes: number, waiting: boolean): void => onProgress({ file: file.path, done: whole + bytes, total, received, waiting });
    const blob = await download(cache, keyOf(file), plan.name, file, session, {
      done: (bytes) => say(bytes, false),
      received(bytes) {
        received += bytes;
      },
      waiting: () => say(0, true),
    });
    files.push({ path: file.path, size: file.size, sha256: blob.sha256, etag: plan.revision === undefined ? blob.etag : null });
    whole += file.size;
  }
  const record: StoredRecord = {
    ...{ kind: "stored-model", schema_version: 1, name: plan.name, source: plan.source },
    revision: plan.revision ?? short(files.map(({ path, sha256 }) => `${sha256}  ${path}\n`).join("")),
    ...{ main: plan.main, files, pulled: new Date().toISOString() },
  };
  // Of the name what any file system takes, for people; the hash makes it unique.
  const folder = `${plan.name
    .replace(/^https?:\/\//, "")
    .replace(/[^\w.-]+/g, "--")
    .slice(0, 100)
    .replace(/[.-]+$/, "")}-${short(plan.name)}`;
  await storeModel(cache, folder, record);
  if (before)
    await dropBlobs(
      cache,
      before.record.files.map(({ sha256 }) => sha256),
    );
  const entry = { record, folder: modelFolder(cache, folder) };
  return missingFile(entry) === undefined ? storedModel(entry) : undefined;
}

/** Whether what is stored is what would be pulled. */
function isSame(record: StoredRecord, plan: Plan): boolean {
  if (record.main !== plan.main || record.files.length !== plan.files.length) return false;
  if (plan.revision !== undefined && record.revision !== plan.revision) return false;
  return plan.files.every((file) => {
    const there = record.files.find(({ path }) => path === file.path);
    if (there === undefined || there.size !== file.size) return false;
    return plan.revision !== undefined || (file.etag !== null && there.etag === file.etag);
  });
}

/** @throws BitnetError io: the disk has no room for what is missing */
async function requireSpace(
  cache: string,
  { name, files }: Plan,
  keyOf: (file: SizedFile) => string,
  freeBytes: (folder: string) => Promise<number>,
): Promise<void> {
  const begun = await partials(cache);
  let missing = 0;
  for (const file of files) {
    if (file.sha256 !== undefined && (await hasBlob(cache, file.sha256, file.size))) continue;
    const there = begun.filter(({ key }) => key === keyOf(file)).map(({ done }) => done);
    missing += file.size - Math.max(0, ...there);
  }
  let free: number;
  try {
    free = await freeBytes(cache);
  } catch (error) {
    throw storeError("read", cache, error);
  }
  if (missing + SPARE_BYTES <= free || missing === 0) return;
  throw new BitnetError(
    "io",
    `${inOneLine(name)}: ${bytesInWords(missing)} are to be downloaded, but the disk of ${inOneLine(cache)} has only ${bytesInWords(free)} left; free some, or name another folder with BITNET_CACHE`,
  );
}
