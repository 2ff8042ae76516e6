/** Names from servers: hostile until looked at. */

/** Characters that no file name of a model has: control, line and direction marks, and what Windows forbids. */
const UNSAFE = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069<>:"|?*\\]/u;
/** Names that mean a device on Windows, whatever follows the dot. */
const DEVICE = /^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)/i;

/** Longest name of a file; file systems allow 255 bytes, and a temporary name is longer. */
const MAX_FILE_NAME = 200;
/** Deepest path in a repository. */
const MAX_DEPTH = 8;

/** Whether a path, with `/`, leads to a file below the folder it is put into, on every system. */
export function isSafePath(path: string): boolean {
  const parts = path.split("/");
  return parts.length <= MAX_DEPTH && parts.every(isSafeName);
}

function isSafeName(name: string): boolean {
  return (
    name !== "" &&
    Buffer.byteLength(name) <= MAX_FILE_NAME &&
    !/^\.{1,2}$/.test(name) &&
    !UNSAFE.test(name) &&
    !/^ |[ .]$/.test(name) &&
    !DEVICE.test(name)
  );
}

/** The folder part of a path, with its `/`; "" of a file at the top. */
export function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/") + 1);
}

/** Letters of a foreign text that a message shows. */
const MOST_SHOWN = 120;

/** What could steer a terminal, change the order of its text, or end the quotes that a message puts around it. */
const STEERING = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"]/gu;

/** A foreign text for a message: on one line, harmless, and cut where it is long. */
export function inOneLine(text: string): string {
  const cut = text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}…` : text;
  return cut.replace(STEERING, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Bytes as people count them: 1187801280 → "1.19 GB". */
export function bytesInWords(bytes: number): string {
  if (bytes < 1000) return `${bytes} bytes`;
  const [unit, name] = bytes < 999.5e3 ? [1e3, "kB"] : bytes < 999.5e6 ? [1e6, "MB"] : [1e9, "GB"];
  const value = bytes / unit;
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${name}`;
}
