/** OpenAI's API over loaded models. The way of the data: node:http → handler → endpoint → engine, and back as JSON or events. */

export { type AccessOptions, isLoopback } from "./access.js";
export { createHandler, type Handler, type HandlerOptions, type RequestLog } from "./handler.js";
export { LoadedModels, type Models, type ServedModel } from "./models.js";
export { type Listening, type ListenOptions, listen } from "./node.js";
export { ModelPool, type ModelSource, type PooledModel, type PoolLimits } from "./pool.js";
