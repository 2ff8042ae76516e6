export { addsProducts, canRevectorize, relaxedSimdFlag, revectorizeFlag, setFlag } from "../web/v8-flags.js";
