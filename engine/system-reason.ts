/** Causes of a failed system call, in words; others are shown by their code. */
const SYSTEM_REASONS: Readonly<Record<string, string>> = {
  ENOENT: "no such file or directory",
  ENOTDIR: "a part of its path is not a directory",
  EACCES: "permission denied",
  EPERM: "not permitted",
  EISDIR: "it is a directory",
  ENOSPC: "no space left on the device",
  EDQUOT: "the disk quota is used up",
  EFBIG: "it would be larger than a file may be",
  EROFS: "the file system is read-only",
  EADDRINUSE: "the port is in use",
  EADDRNOTAVAIL: "this machine does not have that address",
  EMFILE: "too many open files",
  ENFILE: "too many open files",
  ELOOP: "its symbolic links lead in a circle",
  ERR_ACCESS_DENIED:
    "Node's permission model does not allow it; start Node with --allow-fs-read=*, and --allow-fs-write for what is to be written",
  EIO: "the device reports an input/output error",
};

/** Why the system refused, in words: of whatever a call of it threw. */
export function systemReason(error: unknown): string {
  // Not asked whether it is an Error: in a test runner's realm, Node's errors are of another class.
  const { code, message } = Object(error) as { readonly code?: unknown; readonly message?: unknown };
  if (typeof code === "string" && code !== "") return SYSTEM_REASONS[code] ?? code;
  return String(message ?? error);
}
