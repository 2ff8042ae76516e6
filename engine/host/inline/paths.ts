export { PATH, pathFrom } from "../web/paths.js";
