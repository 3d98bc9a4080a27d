// Numbers as people read them: as many digits as carry meaning, a real minus sign, tabular widths.

const MINUS = "\u2212";

/** A number with `places` after the point; a rounded nothing has no sign. */
export function fixed(x: number, places: number): string {
  if (Number.isNaN(x)) return "–";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : `${MINUS}∞`;
  const text = Math.abs(x).toFixed(places);
  return x < 0 && Number(text) !== 0 ? MINUS + text : text;
}

/** A number with about `digits` significant digits, for any size. */
export function short(x: number, digits = 3): string {
  if (!Number.isFinite(x)) return fixed(x, 0);
  const size = Math.abs(x);
  if (size === 0) return "0";
  if (size >= 1e6 || size < 1e-3) {
    const [mantissa, power] = size.toExponential(Math.max(0, digits - 2)).split("e");
    return `${x < 0 ? MINUS : ""}${mantissa}e${Number(power) < 0 ? MINUS : ""}${Math.abs(Number(power))}`;
  }
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  const text = fixed(x, Math.min(places, 6));
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}

/** Places after the point with which all values of a grid can be told apart in a cell. */
export function placesFor(largest: number): number {
  if (!(largest > 0)) return 2;
  return largest >= 100 ? 0 : largest >= 10 ? 1 : 2;
}

/** A whole number with thin spaces between thousands. */
export function count(n: number): string {
  if (!Number.isFinite(n)) return "–";
  return Math.round(n)
    .toString()
    .replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f")
    .replace("-", MINUS);
}

/** A large number with k or M: 2.4k. */
export function compact(n: number): string {
  const size = Math.abs(n);
  if (size >= 1e6) return `${short(n / 1e6, 3)}M`;
  if (size >= 1e4) return `${short(n / 1e3, 3)}k`;
  return count(n);
}

/** What a user typed as a number, or NaN; takes a comma and a real minus sign. */
export function parse(text: string): number {
  const clean = text.trim().replace(MINUS, "-").replace(",", ".").replace(/\s/g, "");
  return clean === "" ? NaN : Number(clean);
}
