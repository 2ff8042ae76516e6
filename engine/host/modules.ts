/** A WebAssembly module of the package: its bytes, or compiled already where the host lets no program compile. */
export type ModuleCode = Uint8Array<ArrayBuffer> | WebAssembly.Module;
