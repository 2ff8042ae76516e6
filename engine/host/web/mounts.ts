/** What a page gave to be opened, by name: the engine knows files by their paths. */

type Handle = FileSystemFileHandle | FileSystemDirectoryHandle;
/** What a page may give. */
type Given = Blob | Handle | readonly Blob[];
/** The same, as it is looked into: Files of a directory by their paths in it. */
export type Mounted = Blob | Handle | ReadonlyMap<string, Blob>;

/** By name. Blobs may hold gigabytes of memory: once they were opened and closed, they are kept only as long as the page keeps what it gave. */
const mounted = new Map<string, Mounted | WeakRef<Blob | readonly Blob[]>>();
/** The names of what was given, and what they mean. */
const names = new WeakMap<object, string>();
const origins = new Map<string, WeakRef<Blob | readonly Blob[]>>();

/** Not `instanceof`: a file may be of another window. */
const classOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);
export const isBlob = (value: unknown): value is Blob => ["Blob", "File"].includes(classOf(value));
export const isHandle = (value: unknown): value is Handle => ["FileSystemFileHandle", "FileSystemDirectoryHandle"].includes(classOf(value));
const isFiles = (value: Given): value is readonly Blob[] => Array.isArray(value);

/** Where a File was in the directory that the user chose, that directory first; undefined: it was chosen alone. */
const placeOf = (file: Blob): string | undefined => (file as Partial<File>).webkitRelativePath || undefined;
const nameOf = (file: Blob): string => (file as Partial<File>).name ?? "";

function lookedInto(given: Blob | readonly Blob[]): Mounted {
  if (!isFiles(given)) return given;
  return new Map(given.map((file) => [placeOf(file)?.replace(/^[^/]*\//, "") ?? nameOf(file), file]));
}

/** The path of what was given: its name, with a number where something else has that name. The same thing has the same path. */
export function mount(given: Given): string {
  const known = names.get(given);
  if (known !== undefined && isMounted(known)) return known;
  const wanted = isHandle(given) ? given.name : isFiles(given) ? placeOf(given[0]!)?.split("/")[0] : nameOf(given);
  const plain = (wanted || "model").replace(/[/:]/g, "_");
  let name = plain;
  for (let i = 2; isMounted(name); i++) name = `${plain} (${i})`;
  mounted.set(name, isHandle(given) ? given : lookedInto(given));
  if (!isHandle(given)) origins.set(name, new WeakRef(given));
  names.set(given, name);
  return name;
}

/** What is mounted at a path, or above it, and the rest of the path; undefined: nothing. */
export function mountedAt(path: string): { readonly mounted: Mounted; readonly rest: readonly string[] } | undefined {
  const [name = "", ...rest] = path.split("/");
  const found = mounted.get(name);
  if (found instanceof WeakRef) {
    const given = found.deref();
    if (given !== undefined) return { mounted: lookedInto(given), rest };
    mounted.delete(name);
    origins.delete(name);
    return undefined;
  }
  return found && { mounted: found, rest };
}

export function isMounted(path: string): boolean {
  return mountedAt(path) !== undefined;
}

/** Nothing that is mounted under the first part of this path is open any more. */
export function release(path: string): void {
  const [name = ""] = path.split("/");
  const given = origins.get(name);
  if (given !== undefined) mounted.set(name, given);
}
