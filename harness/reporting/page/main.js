// Entry point: shows the parts that need a script; the URL fragment selects the view.

const board = document.getElementById("board");
const views = { run: document.getElementById("run"), compare: document.getElementById("compare") };
const table = document.getElementById("leaderboard");
let boardState = { scroll: 0, focus: null };

function route() {
  const given = parameters();
  const name = Object.keys(views).find((key) => given?.has(key)) ?? null;
  const wasOpen = board.hidden;
  if (name && !wasOpen) boardState = { scroll: scrollY, focus: document.activeElement };
  board.hidden = name !== null;
  for (const [other, view] of Object.entries(views)) {
    view.hidden = other !== name;
    if (view.hidden) view.replaceChildren();
  }
  showPicked();
  if (name) {
    if (name === "run") showRun(views.run, given.get("run"));
    else showComparison(views.compare, given.get("compare"), given.get("with"));
    scrollTo(0, 0);
    views[name].querySelector("h2").focus({ preventScroll: true });
    return;
  }
  if (given) restore(given);
  if (!wasOpen) return;
  const target = given ? null : document.getElementById(location.hash.slice(1));
  if (target && target.id !== "scores") return target.scrollIntoView();
  history.replaceState(null, "", boardAddress());
  boardState.focus?.focus({ preventScroll: true });
  scrollTo(0, boardState.scroll);
}

function themes() {
  const dark = () => document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const button = h("button", { type: "button", id: "theme", click: () => ((document.documentElement.dataset.theme = dark() === "dark" ? "light" : "dark"), name()) });
  const name = () => (button.textContent = dark() === "dark" ? "Light" : "Dark");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
  document.getElementById("parts").append(button);
}

const narrow = matchMedia("(max-width: 40rem)");

for (const part of all("[data-script]")) part.hidden = false;
table.classList.add("brief"); // on a phone
if (narrow.matches) document.querySelector(".marks")?.removeAttribute("open");
themes();
sortable(table);
linked(table);
pickable(table);
filters(table, document.getElementById("filters"));
cutColumns(table, document.getElementById("cut"));
tooltips();
curves(document.getElementById("curves"));
addEventListener("hashchange", route);
addEventListener("keydown", (event) => event.key === "Escape" && board.hidden && (location.hash = "scores"));
route();
