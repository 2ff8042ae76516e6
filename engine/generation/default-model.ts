import { packageFile } from "#host/files.js";
import { pathFrom } from "#host/paths.js";
import type { FilePath } from "../host/files.js";

/** The model in the package: small, trained to tell short stories. */
function embedded(): string {
  return packageFile("its embedded model", () => new URL("../../../models/bitnet-stories-4m/ggml-model-i2_s.gguf", import.meta.url));
}

/** The path, or without one that of the model in the package. @throws BitnetError usage: as `pathFrom` */
export function pathOf(path: FilePath | null | undefined): string {
  return path === undefined || path === null ? embedded() : pathFrom("path", path);
}
