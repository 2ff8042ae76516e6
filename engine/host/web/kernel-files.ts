import { BitnetError } from "../../errors.js";
import type { ModuleCode } from "../modules.js";

type Name = "plain" | "relaxed" | "products";

/** The compiled kernels: where they are, and the bytes of those that are here. */
export interface KernelFiles {
  readonly urls: Readonly<Record<Name, string>>;
  readonly bytes: Partial<Record<Name, Uint8Array<ArrayBuffer>>>;
}

let found: KernelFiles | undefined;

/** A module with one relaxed instruction, i8x16.relaxed_swizzle: what can't compile it needs the plain kernels. */
const RELAXED_PROBE = [
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // magic, version
  ...[1, 5, 1, 0x60, 0, 1, 0x7b], // types: () → v128
  ...[3, 2, 1, 0], // functions: one of it
  ...[10, 15, 1, 13, 0, 0x41, 1, 0xfd, 15, 0x41, 2, 0xfd, 15, 0xfd, 0x80, 2, 0x0b], // code: swizzle(splat(1), splat(2))
];

function ownFiles(): KernelFiles {
  // Written out, each a literal: bundlers find files so.
  found ??= {
    urls: {
      plain: new URL("../../../kernels/plain.wasm", import.meta.url).href,
      relaxed: new URL("../../../kernels/relaxed.wasm", import.meta.url).href,
      products: new URL("../../../kernels/products.wasm", import.meta.url).href,
    },
    bytes: {},
  };
  return found;
}

/** Fetches the kernels that a page most likely needs: workers fetch others when they do. @throws BitnetError io */
export async function usualKernels(): Promise<KernelFiles> {
  await fetchInto(ownFiles(), WebAssembly.validate(Uint8Array.from(RELAXED_PROBE)) ? "relaxed" : "plain");
  return ownFiles();
}

/** Fetches all; `readModule` has them then. @throws BitnetError io */
export async function prepareKernels(): Promise<void> {
  for (const name of ["plain", "relaxed", "products"] as const) await fetchInto(ownFiles(), name);
}

async function fetchInto({ urls, bytes }: KernelFiles, name: Name): Promise<void> {
  if (bytes[name] !== undefined) return;
  try {
    const response = await fetch(urls[name]);
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    bytes[name] = new Uint8Array(await response.arrayBuffer());
  } catch (cause) {
    throw notLoaded(urls[name], cause);
  }
}

function notLoaded(url: string, cause: unknown): BitnetError {
  const message = `bitnet-ts can't load its kernels from ${url}: ${(cause as Error).message}; serve the folder dist/ of the package whole`;
  return new BitnetError("io", message, {}, { cause });
}

/** In a worker: what the page found. */
export function useKernels(files: KernelFiles): void {
  found = files;
}

/** A compiled module, as bytes; a worker fetches what is not here, and waits for it. @throws BitnetError io */
export function readModule(name: Name): ModuleCode {
  const { urls, bytes } = ownFiles();
  bytes[name] ??= fetchNow(urls[name]);
  return bytes[name];
}

function fetchNow(url: string): Uint8Array<ArrayBuffer> {
  try {
    const request = new XMLHttpRequest();
    request.open("GET", url, false);
    request.responseType = "arraybuffer";
    request.send();
    if (request.status !== 200) throw new Error(`the server answers ${request.status}`);
    return new Uint8Array(request.response as ArrayBuffer);
  } catch (cause) {
    throw notLoaded(url, cause);
  }
}
