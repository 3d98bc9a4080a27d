// The page: connects, then shows what the address asks for.

import { effect, signal } from "@preact/signals";
import { render } from "preact";
import { loadCatalogue } from "./core/catalogue";
import { enable, enabled, listen, shortcuts } from "./core/keys";
import { begin, linkState, meter, notice, open, run } from "./core/session";
import { sharing } from "./core/recipe";
import { theme, toggleTheme } from "./core/theme";
import { Compare } from "./pages/compare";
import { DeepLab } from "./pages/deep";
import { Home } from "./pages/home";
import { TabularLab } from "./pages/tabular";
import { Button, Dialog } from "./parts/ui";

const PAGES = [
  { hash: "#/", name: "Home", title: "Fathom" },
  { hash: "#/tabular", name: "Learn", title: "Tabular lab · Fathom" },
  { hash: "#/deep", name: "Play", title: "Deep lab · Fathom" },
  { hash: "#/compare", name: "Compare", title: "Compare · Fathom" },
] as const;

const page = signal<string>("#/");
const helping = signal(false);

/** The page of an address; a share link belongs to the lab of its run. */
function route(): void {
  const { hash } = location;
  if (hash.startsWith("#share=")) {
    void openShared(hash.slice("#share=".length));
    return;
  }
  page.value = PAGES.find((p) => p.hash === hash)?.hash ?? "#/";
}

async function openShared(share: string): Promise<void> {
  sharing.value = true;
  page.value = "#/tabular";
  const worked = await open({ share });
  if (worked) page.value = run.peek()?.kind === "deep" ? "#/deep" : "#/tabular";
  // A link that leads nowhere is not tried again by reloading.
  else history.replaceState(null, "", `${location.pathname}${location.search}#/tabular`);
  sharing.value = false;
}

effect(() => {
  document.title = PAGES.find((p) => p.hash === page.value)?.title ?? "Fathom";
});

// A run that is there without being asked for (`fathom train --watch`) is what the user wants to see.
let asked = false;
effect(() => {
  const now = run.value;
  if (now && !asked && page.peek() === "#/" && !now.can.includes("open")) location.hash = now.kind === "deep" ? "#/deep" : "#/tabular";
  if (now) asked = true;
});

function App() {
  const here = page.value;
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => (e.preventDefault(), document.getElementById("main")?.focus())}>
        Skip to the page
      </a>
      <header class="masthead">
        <a class="brand" href="#/">
          <svg viewBox="0 0 32 32" aria-hidden="true">
            <rect width="32" height="32" rx="8" fill="#1E2733" />
            <g fill="none" stroke-linecap="round" stroke-width="2.6">
              <path d="M6 11c3.3 0 3.3 3 6.7 3s3.3-3 6.6-3 3.4 3 6.7 3" stroke="#9CC6EC" />
              <path d="M6 18c3.3 0 3.3 3 6.7 3s3.3-3 6.6-3 3.4 3 6.7 3" stroke="#5B93C9" />
            </g>
            <circle cx="16" cy="25.4" r="2.6" fill="#F0894F" />
          </svg>
          Fathom
        </a>
        <nav aria-label="Main">
          {PAGES.slice(1).map((p) => (
            <a key={p.hash} href={p.hash} aria-current={p.hash === here ? "page" : undefined}>
              {p.name}
            </a>
          ))}
        </nav>
        <div class="right">
          <span class="link-state" data-state={linkState.value} data-testid="link">
            {{ open: "live", waiting: "connecting", lost: "connection lost" }[linkState.value]}
          </span>
          <Button look="plain" icon={theme.value === "dark" ? "sun" : "moon"} hint="T" title={theme.value === "dark" ? "Light theme" : "Dark theme"} onClick={toggleTheme} />
          <Button look="plain" icon="help" hint="?" title="Keyboard and help" onClick={() => (helping.value = true)} />
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        {here === "#/tabular" ? <TabularLab /> : here === "#/deep" ? <DeepLab /> : here === "#/compare" ? <Compare /> : <Home />}
      </main>
      {helping.value && <Help onClose={() => (helping.value = false)} />}
    </>
  );
}

const GENERAL = [
  { key: "t", shown: "T", what: "Light or dark", run: toggleTheme },
  { key: "?", what: "This list", run: () => (helping.value = true) },
];

function Help({ onClose }: { onClose: () => void }) {
  const grid = [
    { shown: "Arrows", what: "On the grid: from cell to cell" },
    { shown: "Enter", what: "On the grid: ask the cell, or paint it" },
    { shown: "Home End", what: "On the grid: ends of a row" },
  ];
  return (
    <Dialog title="Keyboard" onClose={onClose}>
      <div class="keys">
        {[...shortcuts.value, ...(page.value === "#/tabular" ? grid : [])].map((s) => (
          <div key={s.what}>
            <span>{s.what}</span>
            <kbd>{s.shown ?? ("key" in s ? s.key : "")}</kbd>
          </div>
        ))}
      </div>
      <label class="check spaced">
        <input type="checkbox" checked={enabled.value} onChange={(e) => enable(e.currentTarget.checked)} />
        Single keys do things
      </label>
      <div class="foot">
        <Button look="primary" onClick={onClose}>
          Close
        </Button>
      </div>
    </Dialog>
  );
}

// The general shortcuts are there on every page.
effect(() => {
  const mine = shortcuts.value;
  if (!mine.some((s) => s.key === "?")) shortcuts.value = [...mine, ...GENERAL];
});

addEventListener("hashchange", route);
listen();
begin((resumed) => {
  if (!resumed) {
    route();
    void loadCatalogue().catch((error: Error) => (notice.value = { text: `The list of algorithms could not be read: ${error.message}`, bad: true }));
  }
});
if (location.hash.startsWith("#share=")) sharing.value = true;
else route();
(globalThis as { fathomMeter?: unknown }).fathomMeter = meter;
const root = document.getElementById("app");
if (root) render(<App />, root);
