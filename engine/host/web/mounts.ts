/** What a page gave to be opened, by name: the engine knows files by their paths. */

/** A file or directory as the page gave it. */
export type Mounted = Blob | FileSystemFileHandle | FileSystemDirectoryHandle | ReadonlyMap<string, Blob>;

/**
 * A Blob may hold gigabytes of memory: once it was opened and closed, it is kept only as long as the page keeps it. All else is small.
 */
const mounted = new Map<string, Mounted | WeakRef<Blob>>();
const names = new WeakMap<object, string>();

/** Not `instanceof`: a file may be of another window. */
const classOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);
export const isBlob = (value: unknown): value is Blob => ["Blob", "File"].includes(classOf(value));
export const isHandle = (value: unknown): value is FileSystemFileHandle | FileSystemDirectoryHandle =>
  ["FileSystemFileHandle", "FileSystemDirectoryHandle"].includes(classOf(value));

const nameOf = (file: Blob): string => (file as Partial<File>).name ?? "";
/** Where a File was in a directory that the user chose, without that directory's name. */
const pathIn = (file: Blob): string => ((file as Partial<File>).webkitRelativePath || nameOf(file)).replace(/^[^/]*\/(?=.)/, "");

/** The path of what was given: its name, with a number where something else has that name. The same thing has the same path. */
export function mount(given: Blob | FileSystemFileHandle | FileSystemDirectoryHandle | readonly Blob[]): string {
  const known = names.get(given);
  if (known !== undefined && isMounted(known)) return known;
  const first = Array.isArray(given) ? (given[0] as Blob) : undefined;
  const relative = first && (first as Partial<File>).webkitRelativePath;
  const wanted = (first ? relative?.split("/")[0] : isBlob(given) ? nameOf(given) : (given as FileSystemHandle).name) || "model";
  const plain = wanted.replace(/[/:]/g, "_");
  let name = plain;
  for (let i = 2; mounted.has(name); i++) name = `${plain} (${i})`;
  mounted.set(name, first ? new Map((given as readonly Blob[]).map((file) => [pathIn(file), file])) : (given as Mounted));
  names.set(given, name);
  return name;
}

/** What is mounted at a path, or above it, and the rest of the path; undefined: nothing. */
export function mountedAt(path: string): { readonly mounted: Mounted; readonly rest: readonly string[] } | undefined {
  const [name = "", ...rest] = path.split("/");
  const found = mounted.get(name);
  const what = found instanceof WeakRef ? found.deref() : found;
  if (what !== undefined) return { mounted: what, rest };
  mounted.delete(name);
  return undefined;
}

export function isMounted(path: string): boolean {
  return mountedAt(path) !== undefined;
}

/** A file was closed. */
export function release(path: string): void {
  const what = mounted.get(path);
  if (isBlob(what)) mounted.set(path, new WeakRef(what));
}
