/** A length of time: milliseconds, or a number with its unit, such as `"1.5s"`, `"30m"` or `"7d"`. */
export type Span = number | `${number}${"ms" | "s" | "m" | "h" | "d"}`;

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const WRITTEN = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

/** Milliseconds of a span. `field` names it in the error when it is none. */
export function toMs(span: Span, field = "duration"): number {
  const [, digits, unit] = typeof span === "string" ? (WRITTEN.exec(span) ?? []) : [];
  const ms = typeof span === "number" ? span : Number(digits) * (UNITS[unit ?? ""] ?? Number.NaN);
  if (!Number.isFinite(ms) || ms < 0) {
    throw new TypeError(
      `${field}: ${JSON.stringify(span)} is no duration: write milliseconds or a text such as "30s"`,
    );
  }
  return ms;
}
