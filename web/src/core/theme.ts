// Light or dark: as the system says, until the user says otherwise.

import { computed, effect, signal } from "@preact/signals";
import type { Theme } from "../draw/palette";

const KEY = "fathom.theme";

function kept(name: string): string | null {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // a page opened from disk may have no storage
  }
}

export function keep(name: string, value: string): void {
  try {
    localStorage.setItem(name, value);
  } catch {
    /* then it is forgotten with the page */
  }
}

export const recall = kept;

const system = typeof matchMedia === "function" ? matchMedia("(prefers-color-scheme: dark)") : null;
const systemDark = signal(system?.matches ?? false);
system?.addEventListener("change", (e) => (systemDark.value = e.matches));

const wish = signal<Theme | null>(((): Theme | null => {
  const said = kept(KEY);
  return said === "light" || said === "dark" ? said : null;
})());

export const theme = computed<Theme>(() => wish.value ?? (systemDark.value ? "dark" : "light"));

export function toggleTheme(): void {
  wish.value = theme.value === "dark" ? "light" : "dark";
  keep(KEY, wish.value);
}

effect(() => {
  if (typeof document !== "undefined") document.documentElement.dataset.theme = theme.value;
});

const still = typeof matchMedia === "function" ? matchMedia("(prefers-reduced-motion: reduce)") : null;
export const reducedMotion = () => still?.matches ?? false;
