/** bitnet-ts where programs have no workers and may compile nothing, such as Cloudflare's: the API of pages, but for downloads. */

import "./generation/worker.js"; // the program of the one thread

export { BitnetError } from "./errors.js";
export { inspectModel } from "./generation/inspect.js";
export { describeModel, loadModel, openTokenizer } from "./generation/model.js";
export { probeModel } from "./generation/probe.js";
export { toolFormat } from "./generation/tool-choice.js";
export type * from "./index.js";
export { NUMERICS_VERSION } from "./numerics.js";
export { encodeChat } from "./text/encode-chat.js";
