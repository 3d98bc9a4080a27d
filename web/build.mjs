// Builds the page into src/fathom/hub/static/, byte for byte the same from the same sources.
import { build } from "esbuild";
import katex from "katex";
import { mkdirSync, readFileSync, writeFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "..", "src", "fathom", "hub", "static");
const budget = 120 * 1024;

// Formulas become MathML here, so that the page needs neither KaTeX nor fonts nor inline styles.
const formulas = {
  name: "formulas",
  setup(b) {
    b.onLoad({ filter: /equations\.json$/ }, ({ path }) => {
      const equations = JSON.parse(readFileSync(path, "utf8"));
      const set = ({ latex }) =>
        katex
          .renderToString(latex, { output: "mathml", displayMode: true, throwOnError: true })
          .replace(/^<span class="katex">/, "")
          .replace(/<\/span>$/, "");
      const made = Object.fromEntries(Object.entries(equations).map(([name, e]) => [name, set(e)]));
      const text = JSON.stringify(made);
      if (text.includes("style=")) throw new Error("a formula has a style of its own, which the page's policy forbids.");
      return { contents: text, loader: "json" };
    });
  },
};

async function bundle(entry, format) {
  const { outputFiles } = await build({
    absWorkingDir: here,
    entryPoints: [entry],
    bundle: true,
    minify: true,
    write: false,
    format,
    target: ["es2022"],
    charset: "utf8",
    legalComments: "none",
    jsx: "automatic",
    jsxImportSource: "preact",
    define: { "process.env.NODE_ENV": '"production"' },
    plugins: [formulas],
  });
  return outputFiles[0].text;
}

const files = {
  "app.js": await bundle("src/main.tsx", "esm"),
  "app.css": await bundle("src/style.css"),
  "index.html": readFileSync(join(here, "src", "index.html"), "utf8"),
  "icon.svg": readFileSync(join(here, "src", "icon.svg"), "utf8"),
};
files["dashboard.js"] = (await bundle("src/dashboard.tsx", "iife"))
  // It is put into a page, where a closing tag within a string would end the script.
  .replaceAll("</script", "<\\/script")
  .replaceAll("<!--", "<\\!--");
files["dashboard.css"] = files["app.css"];
files["licenses.txt"] = ["preact", "@preact/signals", "@preact/signals-core", "uplot", "@msgpack/msgpack"]
  .map((name) => {
    const folder = join(here, "node_modules", name);
    const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    return `${name} ${version}\n\n${readFileSync(join(folder, "LICENSE"), "utf8").trim()}\n`;
  })
  .join("\n----\n\n");

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
for (const [name, text] of Object.entries(files)) writeFileSync(join(out, name), text);

const size = gzipSync(files["app.js"], { level: 9 }).length;
console.log(`app.js: ${(size / 1024).toFixed(1)} KB gzipped of ${budget / 1024}`);
if (size > budget) {
  console.error("The page's script is over its budget.");
  process.exit(1);
}
