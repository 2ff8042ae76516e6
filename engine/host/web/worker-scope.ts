/** What only workers have of the web's interfaces, as far as it is used here: TypeScript declares either a page or a worker. */
export interface WorkerScope {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(value: unknown, transfer?: ArrayBuffer[]): void;
}

/** This worker. */
export const scope = globalThis as unknown as WorkerScope;

/** A file of the storage of the page's origin, read and written in place. */
export interface SyncAccess {
  read(target: Uint8Array, options: { readonly at: number }): number;
  write(bytes: Uint8Array, options: { readonly at: number }): number;
  truncate(size: number): void;
  getSize(): number;
  flush(): void;
  close(): void;
}

/** Opens such a file. @param mode who else may open it; unknown to some browsers, which let nobody */
export function syncAccess(file: FileSystemFileHandle, mode: "read-only" | "readwrite"): Promise<SyncAccess> {
  const { createSyncAccessHandle } = file as unknown as { createSyncAccessHandle(options: { mode: string }): Promise<SyncAccess> };
  return createSyncAccessHandle.call(file, { mode });
}

/** Reads a file while the worker waits. */
export interface SyncReader {
  readAsArrayBuffer(blob: Blob): ArrayBuffer;
}

export function syncReader(): SyncReader {
  const { FileReaderSync } = globalThis as unknown as { FileReaderSync: new () => SyncReader };
  return new FileReaderSync();
}
