/** Files of requests: lines → handler, or a queue of workers → lines in the same order. */

export { answerLine } from "./answer.js";
export { openQueue, type QueueClient, workOn } from "./queue.js";
export { undated } from "./reproducible.js";
export { type BatchOptions, type BatchSummary, runBatch } from "./run.js";
