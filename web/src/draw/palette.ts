// Colours by role, the same as in fathom.envs.render; the page's chrome takes its own from style.css.

export type Theme = "light" | "dark";
export const LEVELS = 9;

type Rgb = readonly [number, number, number];

function rgb(hex: string): Rgb {
  const n = parseInt(hex.slice(1), 16);
  return [n >> 16, (n >> 8) & 255, n & 255];
}

function mix(a: Rgb, b: Rgb, t: number): string {
  const at = (i: number) => Math.round(a[i] + (b[i] - a[i]) * t);
  return `rgb(${at(0)} ${at(1)} ${at(2)})`;
}

interface Palette {
  roles: Record<string, string>;
  low: Rgb;
  high: Rgb;
  less: Rgb;
  more: Rgb;
  even: Rgb;
  ink: string;
  soft: string;
  line: string;
  data: string;
  other: string;
}

const make = (
  roles: Record<string, string>,
  ends: [string, string],
  difference: [string, string, string],
  lines: Pick<Palette, "ink" | "soft" | "line" | "data" | "other">,
): Palette => {
  const [low, high] = ends.map(rgb);
  const [less, even, more] = difference.map(rgb);
  const shades = Array.from({ length: LEVELS }, (_, i) => [`value${i}`, mix(low, high, i / (LEVELS - 1))]);
  return { roles: { ...roles, ...Object.fromEntries(shades) }, low, high, less, more, even, ...lines };
};

export const PALETTES: Record<Theme, Palette> = {
  light: make(
    {
      background: "#FBFAF7",
      ground: "#E3E4E1",
      body: "#2E3B4E",
      accent: "#E2703A",
      goal: "#2F9E6E",
      danger: "#CF4A4A",
      muted: "#9AA3AE",
    },
    ["#EAF1F8", "#79B0E3"],
    ["#EDA97F", "#F3F2EE", "#79B0E3"],
    { ink: "#1E2733", soft: "#5B6675", line: "#E4E2DC", data: "#2C6BA8", other: "#B4521D" },
  ),
  dark: make(
    {
      background: "#12161D",
      ground: "#262E3A",
      body: "#D7DEE8",
      accent: "#F0894F",
      goal: "#46C08A",
      danger: "#EF6B6B",
      muted: "#66717F",
    },
    ["#1C2733", "#2A64A0"],
    ["#8A4A22", "#1C222B", "#2A64A0"],
    { ink: "#E6EBF2", soft: "#9CA8B7", line: "#2A323E", data: "#74AEE6", other: "#F0894F" },
  ),
};

const STOPS = 255;
const scales: Record<Theme, string[]> = { light: [], dark: [] };

/** The shade of a quantity at `part` of its range, 0 to 1: one of 256, which a canvas has parsed before. */
export function shade(theme: Theme, part: number): string {
  const stop = Math.round(STOPS * Math.min(1, Math.max(0, part))) || 0;
  const { low, high } = PALETTES[theme];
  return (scales[theme][stop] ??= mix(low, high, stop / STOPS));
}

/** The colour of a difference from −1 (less) over 0 to 1 (more). */
export function differenceShade(theme: Theme, part: number): string {
  const { less, even, more } = PALETTES[theme];
  const t = Math.min(1, Math.abs(part));
  return mix(even, part < 0 ? less : more, t);
}
