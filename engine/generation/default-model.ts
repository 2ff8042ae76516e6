import { pathOfUrl } from "../container/source.js";

/** The model in the package: small, trained to tell short stories. */
const EMBEDDED = new URL("../../../models/bitnet-stories-4m/ggml-model-i2_s.gguf", import.meta.url);

/** The path, or without one that of the model in the package. */
export function pathOf(path: string | undefined): string {
  return path ?? pathOfUrl(EMBEDDED);
}
