const DAY = /\d{4}-\d\d-\d\d/;
const CLOCK = /(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?/;
const OFFSET = /[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d/;
const RFC_3339 = new RegExp(`^(${DAY.source})[Tt ](${CLOCK.source})(${OFFSET.source})$`);

/**
 * A time in unix milliseconds, of RFC 3339 or whole unix seconds; undefined where it is none. As the
 * API reads it: `Date.parse` takes other texts, too, which mean one thing here and another there.
 */
export function unixMs(at: unknown): number | undefined {
  if (typeof at === "number") return Number.isSafeInteger(at) ? at * 1000 : undefined;
  const [, day, clock, offset] = (typeof at === "string" && RFC_3339.exec(at)) || [];
  if (day === undefined || !isDay(day)) return undefined;
  return Date.parse(`${day}T${clock}${offset?.toUpperCase()}`);
}

/** Whether the calendar has it: the 30th of February would be taken for the 2nd of March. */
function isDay(day: string): boolean {
  const ms = Date.parse(day);
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(day);
}
