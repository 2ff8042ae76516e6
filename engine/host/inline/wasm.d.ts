/** Where a host compiles modules itself, it gives them as imports. */
declare module "*.wasm" {
  const module: WebAssembly.Module;

  export { module as default };
}
