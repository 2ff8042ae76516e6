/** bitnet-ts in a web page: the same API, but for what writes models; and a storage for downloads. */

export { BitnetError } from "./errors.js";
export { inspectModel } from "./generation/inspect.js";
export { describeModel, loadModel, openTokenizer } from "./generation/model.js";
export { probeModel } from "./generation/probe.js";
export { toolFormat } from "./generation/tool-choice.js";
export { type Download, type DownloadOptions, download, listDownloads, removeDownload } from "./host/web/store.js";
export type * from "./index.js";
export { NUMERICS_VERSION } from "./numerics.js";
export { encodeChat } from "./text/encode-chat.js";
