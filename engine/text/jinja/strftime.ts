import { fail } from "./fault.js";

const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const months = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

/** Python's `date.strftime(format)` in the C locale. The date's own time is the one that its UTC fields have. */
export function strftime(date: Date, format: string): string {
  const pad = (value: number, width = 2, fill = "0") => String(value).padStart(width, fill);
  const year = date.getUTCFullYear();
  const day = date.getUTCDate();
  const weekday = date.getUTCDay();
  const month = date.getUTCMonth();
  const hour = date.getUTCHours();
  const dayOfYear = Math.round((Date.UTC(year, month, day) - Date.UTC(year, 0, 1)) / 86_400_000) + 1;
  const time = `${pad(hour)}:${pad(date.getUTCMinutes())}:${pad(date.getUTCSeconds())}`;
  const fields: Readonly<Record<string, string>> = {
    a: days[weekday]!.slice(0, 3),
    A: days[weekday]!,
    b: months[month]!.slice(0, 3),
    B: months[month]!,
    c: `${days[weekday]!.slice(0, 3)} ${months[month]!.slice(0, 3)} ${pad(day, 2, " ")} ${time} ${pad(year, 4)}`,
    C: pad(Math.floor(year / 100)),
    d: pad(day),
    D: `${pad(month + 1)}/${pad(day)}/${pad(year % 100)}`,
    e: pad(day, 2, " "),
    f: pad(date.getUTCMilliseconds() * 1000, 6),
    F: `${pad(year, 4)}-${pad(month + 1)}-${pad(day)}`,
    h: months[month]!.slice(0, 3),
    H: pad(hour),
    I: pad(hour % 12 || 12),
    j: pad(dayOfYear, 3),
    k: pad(hour, 2, " "),
    l: pad(hour % 12 || 12, 2, " "),
    m: pad(month + 1),
    M: pad(date.getUTCMinutes()),
    n: "\n",
    p: hour < 12 ? "AM" : "PM",
    R: `${pad(hour)}:${pad(date.getUTCMinutes())}`,
    S: pad(date.getUTCSeconds()),
    t: "\t",
    T: time,
    u: String(weekday || 7),
    U: pad(Math.floor((dayOfYear + 6 - weekday) / 7)),
    w: String(weekday),
    W: pad(Math.floor((dayOfYear + 6 - ((weekday + 6) % 7)) / 7)),
    x: `${pad(month + 1)}/${pad(day)}/${pad(year % 100)}`,
    X: time,
    y: pad(year % 100),
    Y: String(year),
    z: "",
    Z: "",
    "%": "%",
  };
  let text = "";
  for (let i = 0; i < format.length; i++) {
    if (format[i] !== "%") {
      text += format[i];
      continue;
    }
    // GNU's flag for numbers without padding, which templates use: %-d
    const isBare = format[i + 1] === "-";
    if (isBare) i++;
    const letter = format[++i];
    if (letter === undefined || !Object.hasOwn(fields, letter)) fail(`strftime_now does not support %${letter ?? ""}`);
    const field = fields[letter]!;
    text += isBare ? field.replace(/^[0 ]+(?=[0-9])/, "") : field;
  }
  return text;
}
