// Entry point: shows the parts that need a script; the URL fragment selects the view.

const board = document.getElementById("board");
const view = document.getElementById("run");
const table = document.getElementById("leaderboard");
let boardState = { scroll: 0, focus: null };

function route() {
  const key = location.hash.startsWith("#run=") ? decodeURIComponent(location.hash.slice("#run=".length)) : null;
  const wasOpen = !view.hidden;
  if (key !== null && !wasOpen) boardState = { scroll: scrollY, focus: document.activeElement };
  board.hidden = key !== null;
  view.hidden = key === null;
  if (key !== null) {
    showRun(view, key);
    scrollTo(0, 0);
    view.querySelector("h2").focus({ preventScroll: true });
  } else if (wasOpen) {
    view.replaceChildren();
    const target = document.getElementById(location.hash.slice(1));
    if (target && target.id !== "scores") target.scrollIntoView();
    else {
      boardState.focus?.focus({ preventScroll: true });
      scrollTo(0, boardState.scroll);
    }
  }
}

function themes() {
  const dark = () => document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const button = h("button", { type: "button", id: "theme", click: () => ((document.documentElement.dataset.theme = dark() === "dark" ? "light" : "dark"), name()) });
  const name = () => (button.textContent = dark() === "dark" ? "Light" : "Dark");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
  document.getElementById("parts").append(button);
}

for (const part of all("[data-script]")) part.hidden = false;
themes();
sortable(table);
linked(table);
filters(table, document.getElementById("filters"));
tooltips();
curves(document.getElementById("curves"));
addEventListener("hashchange", route);
addEventListener("keydown", (event) => event.key === "Escape" && !view.hidden && (location.hash = "scores"));
route();
