// Bundles each test for Node and runs it with Node's own test runner.
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = mkdtempSync(join(tmpdir(), "fathom-hub-"));
const tests = readdirSync(join(here, "test")).filter((name) => name.endsWith(".test.ts"));
await build({
  absWorkingDir: here,
  entryPoints: tests.map((name) => `test/${name}`),
  bundle: true,
  platform: "node",
  format: "esm",
  outdir: out,
  outExtension: { ".js": ".mjs" },
});
const { status } = spawnSync(
  process.execPath,
  ["--test", ...tests.map((name) => join(out, name.replace(/\.ts$/, ".mjs")))],
  { stdio: "inherit" },
);
rmSync(out, { recursive: true });
process.exit(status ?? 1);
