/** A program that pulls `owner/name` from a hub into a store, to be killed: `node killed.test.helper.js ENDPOINT CACHE`. */
import { SMALL } from "./hub.test.helper.js";
import { pullWith } from "./pull.js";

const [endpoint, cache] = process.argv.slice(2);
if (endpoint !== undefined && cache !== undefined) {
  const { path } = await pullWith(SMALL, "owner/name", { endpoint, cache, token: "none" });
  console.log(path);
}
