// Keyboard shortcuts: one list, from which the help is written.

import { signal } from "@preact/signals";
import { keep, recall } from "./theme";

export interface Shortcut {
  key: string;
  /** How the key is called in the help. */
  shown?: string;
  what: string;
  run: () => void;
  when?: () => boolean;
}

const KEY = "fathom.shortcuts";
export const enabled = signal(recall(KEY) !== "off");
export const shortcuts = signal<Shortcut[]>([]);

export function enable(on: boolean): void {
  enabled.value = on;
  keep(KEY, on ? "on" : "off");
}

/** Whether a key pressed there is for the element itself. */
export function takesKey(tag: string, type: string, role: string, key: string): boolean {
  if (tag === "TEXTAREA" || tag === "SELECT") return true;
  if (tag === "INPUT") return type !== "checkbox" && type !== "radio" && type !== "range" ? true : key === " " || key.startsWith("Arrow");
  if (key === " " || key === "Enter") return tag === "BUTTON" || tag === "A" || tag === "SUMMARY" || role === "gridcell" || role === "button";
  return false;
}

export function listen(): void {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = event.target instanceof HTMLElement ? event.target : null;
    if (at && takesKey(at.tagName, (at as HTMLInputElement).type ?? "", at.getAttribute("role") ?? "", event.key)) return;
    if (document.querySelector("dialog[open]")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    // Help can always be asked for.
    const found = shortcuts.value.find((s) => s.key === key && (enabled.value || s.key === "?") && (s.when?.() ?? true));
    if (!found) return;
    event.preventDefault();
    found.run();
  });
}
