export { startSha256 } from "../web/digest.js";
