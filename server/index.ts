/** OpenAI's API over loaded models. The way of the data: node:http → handler → endpoint → engine, and back as JSON or events. */

export { type AccessOptions, isLoopback } from "./access.js";
export { createHandler, type Handler, type HandlerOptions } from "./handler.js";
export type { Models, ServedModel } from "./models.js";
export { type Listening, type ListenOptions, listen } from "./node.js";
