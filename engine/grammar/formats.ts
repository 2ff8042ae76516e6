const leapYear = "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)";
const date = `(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))|${leapYear}-02-29)`;
const hour = "(?:[01]\\d|2[0-3])";
const time = `${hour}:[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-]${hour}:[0-5]\\d)`;
/** Shorter than the 63 that are allowed, so that four of them stay below the 253 of a name. */
const label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?";
const byte = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const ipv4 = `(?:${byte}\\.){3}${byte}`;
const group = "[0-9A-Fa-f]{1,4}";
/** The forms of RFC 4291: all eight groups, or "::" for a stretch of zeros. */
const ipv6 = [
  `(?:${group}:){7}${group}`,
  `::(?:${group}(?::${group}){0,6})?`,
  ...[1, 2, 3, 4, 5, 6].map((before) => `${group}(?::${group}){${before - 1}}::(?:${group}(?::${group}){0,${6 - before}})?`),
  `${group}(?::${group}){6}::`,
].join("|");
const duration = (() => {
  const count = "\\d{1,9}";
  const time = `T(?:${count}H(?:${count}M)?(?:${count}S)?|${count}M(?:${count}S)?|${count}S)`;
  const days = `(?:${count}Y(?:${count}M)?(?:${count}D)?|${count}M(?:${count}D)?|${count}D)`;
  return `P(?:${count}W|${days}(?:${time})?|${time})`;
})();
const escapedByte = "%[0-9A-Fa-f]{2}";
const segment = `(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|${escapedByte})`;

/**
 * The formats that can be held to, as patterns: RFC 3339 (without leap seconds, ISO 8601 durations), RFC 9562, RFC 5321 (plain addresses), RFC 1123,
 * RFC 4291, RFC 3986 (with a host). Each is a part of what its standard allows, so that any validator takes it.
 */
export const formatPatterns: Readonly<Record<string, string>> = {
  date,
  time,
  "date-time": `${date}T${time}`,
  duration,
  uuid: "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}",
  email: `[A-Za-z0-9_%+-]{1,30}(?:\\.[A-Za-z0-9_%+-]{1,15}){0,2}@(?:${label}\\.){1,4}[A-Za-z]{2,24}`,
  hostname: `${label}(?:\\.${label}){0,3}`,
  ipv4,
  ipv6,
  uri: `[A-Za-z][A-Za-z0-9+.-]{0,15}://(?:${label}\\.){0,4}${label}(?::\\d{1,4})?(?:/${segment}*)*(?:\\?(?:${segment}|[/?])*)?(?:#(?:${segment}|[/?])*)?`,
};
