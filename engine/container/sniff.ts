/** What a file is by its first bytes, and what is often taken for a model. */
import { BitnetError } from "../errors.js";
import type { ByteSource } from "../host/files.js";
import { GGUF_MAGIC } from "./gguf.js";

/** Enough of a file to tell what it is. A tar archive says so at byte 257. */
const SNIFF_BYTES = 512;

/** Ends the name of an index of shards. */
export const INDEX_SUFFIX = ".index.json";

/** What to do with weights of another library. */
export const SAVE_ANEW = "save the model as SafeTensors first (save_pretrained), or get a .safetensors or .gguf file of it";

const UNPACK = "unpack it, and give the path of the model inside";

/** Names of files with weights that are not read. */
export const OTHER_FORMATS: readonly (readonly [name: RegExp, what: string])[] = [
  [/\.(?:bin|pt|pth|ckpt)$/i, "PyTorch"],
  [/\.onnx$/i, "ONNX"],
  [/\.npz$/i, "NumPy"],
  [/\.(?:h5|keras)$/i, "Keras"],
  [/\.msgpack$/i, "Flax"],
];

/** By the first bytes, as Latin-1; the second text, where there is one, must come somewhere behind. */
const MAGICS: readonly (readonly [begin: string, inside: string, what: string])[] = [
  ["version https://git-lfs", "", "is a git-lfs pointer, not the model itself; fetch the file with `git lfs pull`"],
  ["FUGG", "", "is a big-endian GGUF file; convert it to little-endian"],
  ...["lmgg", "ggml", "fmgg", "ggmf", "tjgg", "ggjt", "algg", "ggla"].map(
    (magic) => [magic, "", "is a GGML file, the predecessor of GGUF, which is not supported; get the model as GGUF"] as const,
  ),
  ["PK\x03\x04", ".npy", "is a NumPy archive (.npz), which is not supported; get a .safetensors or .gguf file of the model"],
  ["PK\x03\x04", ".pkl", `is a PyTorch file, which is not supported; ${SAVE_ANEW}`],
  ["PK\x03\x04", "", `is a ZIP archive, not a model; ${UNPACK}`],
  ...["\x80\x02", "\x80\x03", "\x80\x04", "\x80\x05"].map(
    (begin) => [begin, "", `is a Python pickle, such as an old PyTorch file, which is not supported; ${SAVE_ANEW}`] as const,
  ),
  ["\x93NUMPY", "", "is a NumPy file, not a model"],
  ["\x89HDF", "", `is an HDF5 file, such as Keras writes, which is not supported; ${SAVE_ANEW}`],
  ["\x08", "pytorch", `is an ONNX file, which is not supported; ${SAVE_ANEW}`],
  ["\x08", "onnx", `is an ONNX file, which is not supported; ${SAVE_ANEW}`],
  ...["\x1f\x8b", "\xfd7zXZ", "\x28\xb5\x2f\xfd", "BZh", "7z\xbc\xaf", "Rar!"].map(
    (begin) => [begin, "", `is a compressed file or archive, not a model; ${UNPACK}`] as const,
  ),
];

/** Where a tar archive says that it is one. */
const TAR_AT = 257;

/** What is often found where a model should be. @param head the first bytes as Latin-1 */
function instead(head: string, path: string): string | undefined {
  if (head === "") return "is empty; the download may have failed";
  const isPage = /^(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|\?xml|!--)/i.test(head);
  if (isPage) return "is a web page, not a model; the download returned an error page or requires a login";
  if (head.startsWith("ustar", TAR_AT)) return `is a tar archive, not a model; ${UNPACK}`;
  const other = OTHER_FORMATS.find(([name]) => name.test(path))?.[1];
  // What is in PyTorch's ZIP archives need not be named near their begin.
  if (other !== undefined && ["PK\x03\x04", "\x80", "\x08"].some((begin) => head.startsWith(begin)))
    return `is in ${other} format, which is not supported; ${SAVE_ANEW}`;
  return MAGICS.find(([begin, inside]) => head.startsWith(begin) && head.includes(inside))?.[2];
}

/** What a text file is, that is none of these. */
function textKind(head: string): string {
  if (/^\s*\{\s*"error"/.test(head)) return "is an error message in JSON, not a model; the download failed";
  if (/^\s*[[{]/.test(head)) return "is a JSON file, not a model; give the path of the model's directory or of the file with its weights";
  return "is a text file, not a model";
}

/** What a text that should be JSON is instead, by its beginning; undefined if that is not known. */
export function insteadOfJson(text: string): string | undefined {
  const what = text === "" ? undefined : instead(text.slice(0, SNIFF_BYTES), "");
  return what?.replace(/, not (?:a model|the model itself);/, ", not the file itself;");
}

/** The format of a file. @throws BitnetError file: it is not a model, and what it is instead */
export async function sniff(source: ByteSource): Promise<"gguf" | "safetensors" | "index"> {
  const { path, size } = source;
  const head = String.fromCharCode(...(await source.read(0, Math.min(SNIFF_BYTES, size)))); // bytes as Latin-1
  if (head.startsWith(GGUF_MAGIC)) return "gguf";
  // SafeTensors begin with a 64-bit length, whose high bytes are zero; its low ones may be anybody's magic number.
  if (head.slice(5, 9) === "\0\0\0{") return "safetensors";
  const what = instead(head, path);
  const isText = !/[^\t\n\r\x20-\xff]/.test(head);
  if (what === undefined) {
    if (path.endsWith(INDEX_SUFFIX)) return "index";
    if (!isText && (head[8] === "{" || path.toLowerCase().endsWith(".safetensors"))) return "safetensors"; // damaged
  }
  const otherwise = isText ? textKind(head) : "is neither a GGUF nor a SafeTensors file";
  throw new BitnetError("file", `${path} ${what ?? otherwise}`, { file: path });
}
