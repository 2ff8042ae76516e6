import { directoryOf, fileName, inDirectory, openSource } from "#host/files.js";
import { BitnetError } from "../errors.js";
import type { ByteSource } from "../host/files.js";
import { type GgufEntry, type GgufFile, readGguf } from "./gguf.js";
import { quote, show } from "./quote.js";
import { sniff } from "./sniff.js";
import type { MetadataValue, TensorInfo } from "./tensor.js";

/** All parts are open at once, and systems allow a process some 1,000 files. */
const MAX_PARTS = 512;

/** `name-00001-of-00003.gguf`: gguf-split's form, from which each part knows the names of the others. */
const PART_NAME = /^(?<stem>.+)-(?<number>\d{5})-of-(?<count>\d{5})\.gguf$/i;

/** Keys whose values only people read; a description in Latin-1 is one that is found. */
const FOR_PEOPLE = /^general\.(?!architecture$|alignment$)/;

/** Metadata by key. An invalid value is an error only when it is used: unused metadata never prevents loading. */
class Metadata extends Map<string, MetadataValue> {
  readonly #faults: ReadonlyMap<string, BitnetError>;

  constructor(entries: readonly GgufEntry[]) {
    super(entries.map(({ key, value }) => [key, value]));
    this.#faults = new Map(entries.flatMap(({ key, fault }) => (fault && !FOR_PEOPLE.test(key) ? [[key, fault] as const] : [])));
  }

  /** @throws BitnetError file or unsupported: the value's fault */
  override get(key: string): MetadataValue | undefined {
    const fault = this.#faults.get(key);
    if (fault) throw fault;
    return super.get(key);
  }
}

/** The metadata of a file by its keys. */
export function metadataOf({ entries }: GgufFile): ReadonlyMap<string, MetadataValue> {
  return new Metadata(entries);
}

/** Of the names of the parts of one split model the first, if `names` are nothing else: opening any part opens all. */
export function firstPart(names: readonly string[]): string | undefined {
  const models = new Set(
    names.map((name) => {
      const { stem, count } = PART_NAME.exec(name)?.groups ?? {};
      return count === undefined ? undefined : `${stem}/${count}`;
    }),
  );
  return models.size === 1 && !models.has(undefined) ? names.toSorted()[0] : undefined;
}

/**
 * Opens the other parts of a split GGUF of which one is open, and puts all their tensors together. The metadata is the first part's.
 * @param opened the part that the user named
 * @param sources out: all parts in their order, `opened` among them; the caller closes them, after an error too
 * @throws BitnetError file: a part is missing, of another model or out of place, or tensors are missing or twice
 */
export async function openParts(
  opened: ByteSource,
  openedGguf: GgufFile,
  sources: ByteSource[],
): Promise<{ readonly tensors: readonly TensorInfo[]; readonly metadata: ReadonlyMap<string, MetadataValue> }> {
  const fail = (path: string, message: string, tensor?: string, options?: ErrorOptions): never => {
    throw new BitnetError("file", `${path}: ${message}`, { file: path, tensor }, options);
  };
  const count = countOf(metadataOf(openedGguf))!;
  if (typeof count !== "number" || !Number.isInteger(count) || count < 0 || count > MAX_PARTS)
    fail(opened.path, `split.count is ${show(count)}, but a model can have at most ${MAX_PARTS} parts`);
  const { stem, number, count: named } = PART_NAME.exec(fileName(opened.path))?.groups ?? {};
  if (stem === undefined || Number(named) !== count) {
    fail(
      opened.path,
      `the file is one of ${count} parts, but its name does not have the form name-00001-of-${digits(Number(count))}.gguf, which is needed to find the other parts`,
    );
  }

  const tensors: TensorInfo[] = [];
  const partOf = new Map<string, string>(); // tensor → path
  let metadata: ReadonlyMap<string, MetadataValue> = new Map();
  for (let part = 1; part <= Number(count); part++) {
    const name = `${stem}-${digits(part)}-of-${named}${fileName(opened.path).slice(-".gguf".length)}`;
    const path = inDirectory(directoryOf(opened.path), name);
    const isOpen = part === Number(number);
    const source = isOpen
      ? opened
      : await openSource(path, true).catch((error: unknown) => {
          if (!(error instanceof BitnetError) || error.code !== "usage") throw error;
          return fail(path, `the file is missing: ${opened.path} is one of ${count} parts, all of which are needed`, undefined, {
            cause: error,
          });
        });
    sources.push(source);
    if (!isOpen && (await sniff(source)) !== "gguf") fail(path, `is not a GGUF file, but has the name of a part of ${opened.path}`);
    const gguf = isOpen ? openedGguf : await readGguf(source);
    const own = metadataOf(gguf);
    if (countOf(own) !== count)
      fail(path, `split.count is ${show(countOf(own))}, but ${show(count)} in ${opened.path}; the files don't belong together`);
    if (own.get("split.no") !== part - 1) fail(path, `split.no is ${show(own.get("split.no"))}, but the file's name says ${part - 1}`);
    if (part === 1) metadata = own;
    for (const tensor of gguf.tensors) {
      const before = partOf.get(tensor.name);
      if (before !== undefined) fail(path, `the file contains the tensor ${quote(tensor.name)}, which is also in ${before}`, tensor.name);
      partOf.set(tensor.name, path);
      tensors.push(tensor);
    }
  }
  const total = metadata.get("split.tensors.count");
  if (total !== tensors.length)
    fail(sources[0]!.path, `split.tensors.count is ${show(total)}, but the ${count} parts contain ${tensors.length} tensors`);
  return { tensors, metadata };
}

/** How many parts a file says its model has; undefined: it is whole. gguf-split leaves a 0 in what it has joined. */
export function countOf(metadata: ReadonlyMap<string, MetadataValue>): MetadataValue | undefined {
  const count = metadata.get("split.count");
  return count === 0 || count === 1 ? undefined : count;
}

function digits(part: number): string {
  return String(part).padStart(5, "0");
}
