// The page that stands alone: a comparison in one file, with no server and no network.

import { render } from "preact";
import { type Comparison, NOTHING } from "./core/results";
import { theme, toggleTheme } from "./core/theme";
import { ComparisonView } from "./parts/comparison";
import { Button } from "./parts/ui";

function read(): { data: Comparison; error: string } {
  try {
    const found = JSON.parse(document.getElementById("fathom-data")?.textContent ?? "") as Partial<Comparison>;
    return { data: { ...NOTHING, ...found }, error: "" };
  } catch (error) {
    return { data: NOTHING, error: `The data in this file cannot be read: ${(error as Error).message}` };
  }
}

const { data, error } = read();

function Page() {
  return (
    <>
      <header class="masthead">
        <span class="brand">Fathom</span>
        <div class="right">
          <Button look="plain" icon={theme.value === "dark" ? "sun" : "moon"} title={theme.value === "dark" ? "Light theme" : "Dark theme"} onClick={toggleTheme} />
        </div>
      </header>
      <main id="main">
        <div class="page-title spaced-below">
          <h1>Results</h1>
        </div>
        {error ? (
          <p class="notice bad" role="alert">
            {error}
          </p>
        ) : (
          <ComparisonView data={data} />
        )}
      </main>
    </>
  );
}

let root = document.getElementById("app");
if (!root) {
  root = document.createElement("div");
  document.body.append(root);
}
render(<Page />, root);
