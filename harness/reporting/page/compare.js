// Two rows side by side: differences on each task, and the examples on which their answers differ in quality.

const picked = []; // at most two places of rows, in the order in which they were ticked

const rowAddress = (place) => `${DATA.rows[place].label}/${DATA.rows[place].student}`;
const rowPlace = (address) => DATA.rows.findIndex((row, place) => row.compare && rowAddress(place) === address);
const comparison = (one, other) => `#${new URLSearchParams({ compare: rowAddress(one), with: rowAddress(other) })}`;

// Boxes in the first column. A third row replaces the first of the two.
function pickable(table) {
  const boxes = new Map();
  const change = (place, on) => {
    if (!on) picked.splice(picked.indexOf(place), 1);
    else if (picked.push(place) > 2) boxes.get(picked.shift()).checked = false;
    showPicked();
  };
  DATA.rows.forEach((row, place) => {
    if (!row.compare) return;
    const box = h("input", { type: "checkbox", class: "pick", "aria-label": `Compare ${rowName(place)}`, change: () => change(place, box.checked) });
    boxes.set(place, box);
    document.getElementById(`row-${place}`).cells[0].prepend(box);
  });
  document.getElementById("picked").addEventListener("click", (event) => {
    if (!event.target.matches("button")) return;
    for (const place of picked.splice(0)) boxes.get(place).checked = false;
    showPicked();
    table.parentNode.focus({ preventScroll: true });
  });
}

function showPicked() {
  const place = document.getElementById("picked");
  place.hidden = !picked.length || board.hidden;
  const [one, other] = picked;
  if (one === undefined) return;
  place.replaceChildren(
    other === undefined ? h("span", {}, h("b", {}, rowName(one)), ": tick a second row to compare it with.")
      : h("a", { href: comparison(one, other) }, `Compare ${rowName(one)} with ${rowName(other)}`),
    h("button", { type: "button" }, "Clear"));
}

const boardCell = (place, title) => {
  const column = all("#leaderboard thead th").findIndex((head) => title === null ? head.dataset.column === "average" : head.dataset.task === title);
  return document.getElementById(`row-${place}`).cells[column].textContent;
};

function chooser(label, selected, change) {
  const rows = DATA.rows.map((row, place) => [place, row]).filter(([, row]) => row.compare);
  const select = h("select", { change: () => change(Number(select.value)) },
    rows.map(([place]) => h("option", { value: place, selected: place === selected }, rowName(place))));
  return h("label", {}, h("span", {}, label), select);
}

// Draws an interval on the scale that all rows of the table share; the vertical line is 0.
function intervalDrawing([, mean, low, high], widest) {
  const x = (value) => 80 + (value / widest) * 74;
  return svg("svg", { width: 160, height: 18, viewBox: "0 0 160 18", "aria-hidden": "true", class: "interval" },
    svg("line", { class: "zero", x1: x(0), x2: x(0), y1: 0, y2: 18 }),
    low !== null && svg("line", { class: "whisker", x1: x(low), x2: x(high), y1: 9, y2: 9 }),
    svg("circle", { class: "dot", cx: x(mean), cy: 9, r: 4 }));
}

function differencesTable(one, other, details) {
  const scopes = [...Object.keys(DATA.tasks), ""].map((task) => [task, details.differences[task]?.[other]]);
  const known = scopes.filter(([, difference]) => difference);
  const widest = Math.max(1e-9, ...known.flatMap(([, [, ...numbers]]) => numbers.slice(0, 3).map((value) => Math.abs(value ?? 0))));
  const line = ([task, difference]) => {
    if (task === "" && !difference) return null;
    const { score, higher } = DATA.tasks[task] ?? {};
    const [better, worse] = details.contrasts[task]?.[other] ?? [];
    const clear = difference && difference[2] !== null && (difference[2] > 0 || difference[3] < 0);
    return h("tr", { class: task === "" ? "average" : null },
      h("th", { scope: "row" }, task || "average", task && h("small", {}, ` ${words(score)}${higher ? "" : ", lower is better"}`)),
      h("td", { class: clear ? "num best" : "num" }, difference ? difference[0] : "–", difference?.[4] && h("small", {}, ` p ${difference[4].replace(/^(\d)/, "= $1")}`)),
      h("td", { class: "drawn" }, difference && intervalDrawing(difference, widest), difference?.[5] && h("small", {}, ` ${difference[5]}`)),
      [one, other].map((place) => h("td", { class: "num" }, boardCell(place, task || null))),
      h("td", { class: "num" }, better === undefined ? "–" : `${value(better)} / ${value(worse)}`));
  };
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Differences" },
    h("table", { class: "differences" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "task"), h("th", { scope: "col", class: "num" }, "difference"),
        h("th", { scope: "col" }, h("small", {}, "95 % interval")), [one, other].map((place) => h("th", { scope: "col", class: "num" }, rowName(place))), h("th", { scope: "col", class: "num" }, "examples", h("small", {}, "better / worse")))),
      h("tbody", {}, scopes.map(line))));
}

function contrastExample(item, rows) {
  const answer = ([name, [text, right]]) =>
    h("div", { class: right === 1 ? "right" : right === 0 ? "wrong" : "" }, h("dt", {}, name), h("dd", {}, text));
  return h("li", {},
    item.texts && Object.entries(item.texts).map(([name, text]) => h("p", { class: name }, text)),
    h("dl", { class: "said" },
      h("div", {}, h("dt", {}, "correct"), h("dd", {}, item.gold)), rows.map(answer),
      h("div", { class: "id" }, h("dt", {}, "example"), h("dd", {}, item.id))));
}

async function contrastList(one, other, details, task, list) {
  list.replaceChildren(h("p", { class: "note", role: "status" }, "Loading …"));
  try {
    const [better, worse, indices] = details[0].contrasts[task][other];
    const { examples, scored } = await load(DATA.tasks[task].examples);
    const rows = (index) => [[rowName(one), details[0].answers[task][index]], [rowName(other), details[1].answers[task][index]]];
    const first = `${rowName(one)} is better on ${value(better)} and worse on ${value(worse)} of ${value(scored)} examples, by its mean error over the seeds.`;
    list.replaceChildren(
      h("p", {}, indices.length ? `${first} Below: the largest differences, up to 10 each.` : first),
      h("ol", { class: "errors whole" }, indices.map((index) => contrastExample(examples[index], rows(index)))));
  } catch (error) {
    list.replaceChildren(notLoaded(error));
  }
}

function contrastSection(one, other, details) {
  const tasks = Object.keys(DATA.tasks).filter((task) => details[0].contrasts[task]?.[other]);
  const heading = h("h3", {}, "Examples on which they differ");
  if (!tasks.length) return h("section", {}, heading, h("p", { class: "note" }, "The predictions of these rows are not stored, or their labels are hidden."));
  const list = h("div", { "aria-live": "polite" });
  const show = (task) => contrastList(one, other, details, task, list);
  show(tasks[0]);
  return h("section", {}, heading,
    tasks.length > 1 && h("div", { class: "controls" }, choice("Task", tasks.map((name) => [name, name]), show)), list);
}

async function showComparison(view, first, second) {
  const [one, other] = [rowPlace(first), rowPlace(second)];
  const back = h("p", { class: "back" }, h("a", { href: "#scores" }, "← Leaderboard"));
  if (one < 0 || other < 0 || one === other) {
    view.replaceChildren(back, h("h2", { tabindex: -1 }, "No such comparison"), h("p", {}, "This board cannot compare these two rows. Tick two other rows of the leaderboard."));
    return;
  }
  const open = (a, b) => (location.hash = comparison(a, b));
  const body = h("div", { "aria-busy": "true" }, h("p", { class: "note", role: "status" }, "Loading …"));
  view.replaceChildren(back, h("h2", { tabindex: -1 }, `${rowName(one)} compared with ${rowName(other)}`),
    h("div", { class: "controls" },
      chooser("Row", one, (place) => open(place, other)), chooser("with", other, (place) => open(one, place)),
      h("button", { type: "button", class: "swap", click: () => open(other, one) }, "Swap")),
    body);
  try {
    const details = await Promise.all([one, other].map((place) => load(DATA.rows[place].compare)));
    if (!view.contains(body)) return;
    if (!details[0].differences) throw new Error("they are of another report");
    body.replaceChildren(
      h("p", { class: "note" }, `Differences: the score of ${rowName(one)} minus that of ${rowName(other)}, paired by seed and example, with the 95 % interval, which is not corrected for the number of comparisons. Between rows of one student, a variance over seeds that is smaller than the mean of all pairs is moderated towards it. Bold: the interval excludes 0. p: corrected for all pairs of the student.`),
      differencesTable(one, other, details[0]),
      contrastSection(one, other, details));
  } catch (error) {
    body.replaceChildren(notLoaded(error));
  }
  body.removeAttribute("aria-busy");
}
