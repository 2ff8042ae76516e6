import { openSource } from "#host/files.js";
import type { TensorInfo } from "../container/checkpoint.js";
import type { ByteSource } from "../host/files.js";
import { throwIfAborted } from "../options.js";
import type { Read } from "./layer.js";
import type { ConvertOptions } from "./types.js";

/** Reads tensors, and tells how far it has come. */
export class TensorReader {
  private readonly sources = new Map<string, ByteSource>();
  private done = 0;
  /** Bytes that will be read. */
  total = 0;

  constructor(private readonly options: Pick<ConvertOptions, "signal" | "onProgress">) {}

  /** @throws the signal's reason, if it aborts */
  readonly read: Read = async ({ file, offset }: TensorInfo, start, length) => {
    const { signal, onProgress } = this.options;
    throwIfAborted(signal);
    let source = this.sources.get(file);
    if (source === undefined) {
      source = await openSource(file);
      this.sources.set(file, source);
    }
    const bytes = await source.read(offset + start, length);
    this.done += length;
    onProgress?.({ done: Math.min(this.done, this.total), total: this.total });
    return bytes;
  };

  async close(): Promise<void> {
    for (const source of this.sources.values()) await source.close();
  }
}
