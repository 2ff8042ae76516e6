/** The first that occurs twice. */
export function firstDuplicate(names: Iterable<string>): string | undefined {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return undefined;
}

/** Whether it names a file in a directory and nothing beyond: no separator, no drive, no dots alone, no control character. */
export function isPlainName(name: string): boolean {
  return name.length > 0 && name.length <= 255 && name !== "." && name !== ".." && !/[/\\:\p{Cc}\p{Zl}\p{Zp}]/u.test(name);
}
