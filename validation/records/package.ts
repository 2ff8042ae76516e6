import { fileURLToPath } from "node:url";

/** The folder of this package, with its package.json, schemas and kernels: the same from tsc's modules and from the bundle, in a clone or installed. */
export const PACKAGE_FILE = fileURLToPath(new URL("../../../package.json", import.meta.url));
