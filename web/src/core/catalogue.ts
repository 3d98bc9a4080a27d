// What can be chosen, and what lies in the served folder: the server's JSON addresses.

import { signal } from "@preact/signals";

export interface Catalogue {
  algorithms: { name: string; summary: string; family: "tabular" | "deep" }[];
  environments: { id: string; description: string; kind: "tabular" | "deep"; backend: string }[];
  worlds: { name: string; map: string; config: Record<string, unknown> }[];
}

export const catalogue = signal<Catalogue>({ algorithms: [], environments: [], worlds: [] });

const token = () => new URLSearchParams(location.search).get("token") ?? "";

/** JSON of an address of the server; an Error with its own sentence where it refuses. */
export async function api<T>(path: string, params: Record<string, string> = {}, body?: string): Promise<T> {
  const query = new URLSearchParams({ token: token(), ...params });
  const answer = await fetch(`/api/${path}?${query}`, body === undefined ? {} : { method: "POST", body });
  let said: unknown;
  try {
    said = await answer.json();
  } catch {
    throw new Error(`the server answered ${answer.status} without a reason.`);
  }
  if (!answer.ok) throw new Error((said as { error?: string }).error ?? `the server answered ${answer.status}.`);
  return said as T;
}

export async function loadCatalogue(): Promise<void> {
  catalogue.value = await api<Catalogue>("catalogue");
}
