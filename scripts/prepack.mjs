// Runs before npm packs: refuses a tree that is not built, or whose dist/ was not built from the current sources.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const unbuilt = () => ({ buildFault: () => "dist is not built: run npm run build" });
const { buildFault } = await import("../dist/validation/records/build.js").catch(unbuilt);
const fault = await buildFault(root, true);
if (fault !== undefined) {
  process.stderr.write(`bitnet: not packed: ${fault}\n`);
  process.exitCode = 1;
}
