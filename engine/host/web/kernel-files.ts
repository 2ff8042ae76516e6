import { BitnetError } from "../../errors.js";

/** The compiled kernels, as bytes. */
export type KernelBytes = Readonly<Record<"plain" | "relaxed" | "products", Uint8Array<ArrayBuffer>>>;

let own: KernelBytes | undefined;
let fetching: Promise<KernelBytes> | undefined;

/** Fetches the modules; `readModule` has them then. @throws BitnetError io */
export async function prepareKernels(): Promise<void> {
  await fetchKernels();
}

/** What `prepareKernels` fetches, for workers: a bundler moves their program away from the files beside it. @throws BitnetError io */
export function fetchKernels(): Promise<KernelBytes> {
  fetching ??= fetchAll().catch((error: unknown) => {
    fetching = undefined; // the next model may find them
    throw error;
  });
  return fetching;
}

async function fetchAll(): Promise<KernelBytes> {
  // Written out, each a literal: bundlers find files so.
  const urls = [
    new URL("../../../kernels/plain.wasm", import.meta.url),
    new URL("../../../kernels/relaxed.wasm", import.meta.url),
    new URL("../../../kernels/products.wasm", import.meta.url),
  ] as const;
  const [plain, relaxed, products] = await Promise.all(urls.map(({ href }) => fetchBytes(href)));
  own = { plain: plain!, relaxed: relaxed!, products: products! };
  return own;
}

async function fetchBytes(url: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  } catch (cause) {
    const reason = (cause as Error).message;
    throw new BitnetError("io", `bitnet-ts can't load its kernels from ${url}: ${reason}; serve the folder dist/ of the package whole`, {}, { cause });
  }
}

/** In a worker: what the page fetched. */
export function useKernels(bytes: KernelBytes): void {
  own = bytes;
}

/** A compiled module, as bytes. */
export function readModule(name: keyof KernelBytes): Uint8Array<ArrayBuffer> {
  if (own === undefined) throw new BitnetError("internal", "the kernels were not fetched");
  return own[name];
}
