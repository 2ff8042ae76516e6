/** What XML 1.0 can't hold, not even as an entity: control characters, halves of surrogate pairs, U+FFFE and U+FFFF. */
const ILLEGAL = /[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu;

/** Text for XML or HTML, in an element or in quotes; what can't be there is U+FFFD. */
export function escapeMarkup(text: string): string {
  return text
    .replace(ILLEGAL, "\ufffd")
    .replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
    .replace(/\r/g, "&#13;"); // parsers make a line end of a bare one
}

/** Text with at most `most` characters; what is left out is said. */
export function shorten(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most)} … (${text.length - most} more characters)`;
}
