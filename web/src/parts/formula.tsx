// Formulas, set at build time as MathML: no fonts, no scripts, no styles of their own.

import formulas from "../equations.json";

// The build replaces each equation by its markup.
const known = formulas as unknown as Record<string, string>;

export function Formula({ name, plain }: { name: string; plain: string }) {
  const markup = known[name];
  // Written by our own build, never by a message.
  return markup ? <div class="formula" dangerouslySetInnerHTML={{ __html: markup }} /> : <p class="formula">{plain}</p>;
}
