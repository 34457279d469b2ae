// The view of one run: score, settings, losses and errors.

const FIRST = 10; // examples shown before "Show more"

const words = (name) => name.replaceAll("_", " ");

function value(content) {
  if (content === null || content === undefined) return h("span", { class: "nothing" }, "–");
  if (typeof content === "boolean") return content ? "yes" : "no";
  if (typeof content === "number") return Number.isInteger(content) ? content.toLocaleString("en") : String(Number(content.toPrecision(6)));
  if (Array.isArray(content) && content.every((item) => typeof item !== "object")) return content.length ? content.join(", ") : value(null);
  return typeof content !== "object" ? content : Object.keys(content).length ? facts(content) : value(null);
}

const nested = (content) => content !== null && typeof content === "object" && value(content).localName === "dl";

const facts = (content) =>
  h("dl", { class: "facts" }, Object.entries(content).map(([name, item]) =>
    [h("dt", {}, words(name)), h("dd", { class: nested(item) ? "nested" : null }, value(item))]));

const card = (title, content) =>
  content && Object.keys(content).length > 0 && h("section", { class: "card" }, h("h3", {}, title), facts(content));

const link = (key, text, current) => h("a", { href: `#run=${encodeURIComponent(key)}`, "aria-current": current && "page" }, text);

function siblings(run) {
  const cells = DATA.cells.filter((cell) => cell.row === run.cell.row);
  const seeds = run.cell.runs;
  const tasks = cells.map((cell) => [cell.task, (cell.runs.find(([, seed]) => seed === run.seed) ?? cell.runs[0])[0]]);
  return h("nav", { class: "siblings", "aria-label": "Other runs of this row" },
    tasks.length > 1 && h("div", {}, h("span", {}, "Task"), tasks.map(([task, id]) => link(id, task, task === run.cell.task))),
    seeds.length > 1 && h("div", {}, h("span", {}, "Seed"), seeds.map(([id, seed]) => link(id, seed, id === run.id))));
}

function losses(run, seeds) {
  if (!run.curve.steps.length) return h("p", { class: "note" }, "This run has no logged losses.");
  return h("div", { class: "panels wide" }, Object.keys(run.curve.terms).map((term) => {
    const others = seeds.filter((other) => other.id !== run.id && term in other.curve.terms).map((other) => series(other, term, { colour: "other", faint: true }));
    const lines = [...others, series(run, term, { colour: "own" })];
    return h("figure", {}, h("figcaption", {}, h("b", {}, term)), linePlot({ series: lines, title: term, width: 320, height: 170, stages: run.curve.stages }));
  }));
}

function confusion({ confusion: counts, classes, many }) {
  if (!counts) return many && h("p", { class: "note" }, many);
  const shade = (count, row) => {
    const cell = h("td", { class: "num" }, value(count));
    cell.style.setProperty("--share", Math.round((100 * count) / Math.max(1, Math.max(...row))) + "%");
    return cell;
  };
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Confusion matrix" },
    h("table", { class: "confusion" },
      h("caption", {}, "Rows: correct class. Columns: predicted class."),
      h("thead", {}, h("tr", {}, h("td", {}), classes.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, counts.map((row, at) => h("tr", {}, h("th", { scope: "row" }, classes[at]), row.map((count) => shade(count, row)))))));
}

function example(item, errors, known) {
  const texts = item.text === null ? null : known[item.text];
  const answer = (name, text, state) => h("div", { class: state }, h("dt", {}, name), h("dd", {}, text));
  return h("li", { class: item.differs ? "differs" : null },
    texts ? Object.entries(texts).map(([name, text]) => h("p", { class: name }, text)) : null,
    h("dl", { class: "said", tabindex: -1 },
      answer("correct", item.gold, "right"),
      answer("this model", item.size ? `${item.predicted} (${item.size})` : item.predicted, "wrong"),
      item.teacher !== null && answer(`${errors.teacher}`, item.teacher, item.differs ? "" : "wrong"),
      h("div", { class: "id" }, h("dt", {}, "example"), h("dd", {}, item.id))));
}

const ORDER = {
  regression: "the largest residuals",
  qa: "lowest overlap with a correct answer first",
  token_classification: "the most words with a wrong tag first",
};

function mistakes(run) {
  if (!run.errors) return [h("p", { class: "note" }, run.why)];
  const { errors } = run;
  const regression = errors.wrong === null;
  const list = h("ol", { class: "errors" }, errors.shown.map((item) => example(item, errors, run.texts)));
  const hidden = errors.shown.length - FIRST;
  const more = hidden > 0 && h("button", { type: "button", class: "more", click: () => {
    list.classList.add("whole");
    more.remove();
    list.children[FIRST].querySelector("dl").focus();
  } }, `Show ${hidden} more`);
  const total = regression ? `Scored on ${value(errors.examples)} examples.` : `Wrong on ${value(errors.wrong)} of ${value(errors.examples)} examples.`;
  const order = ORDER[DATA.tasks[run.cell.task].kind] ?? "most confident first";
  const differing = errors.teacher !== null && `The answers of teacher ${errors.teacher}${errors.own ? "" : " (which did not teach this model)"} differ on ${value(errors.differs)} of them.`;
  const without = errors.shown.some((item) => item.text === null) && "The results folder does not have the texts of these examples: an older version scored them without storing texts. The next run of the suite adds them.";
  const only = errors.shown.some((item) => item.differs) && tick("only where the student differs from the teacher", false, (on) => {
    list.classList.toggle("only", on);
    if (more) more.hidden = on;
  });
  return [
    confusion(errors),
    h("p", {}, [total, differing, errors.shown.length ? `Below ${regression ? "are" : `are ${value(errors.shown.length)}`}: ${order}.` : null].filter(Boolean).join(" ")),
    without && h("p", { class: "note" }, without),
    only && h("div", { class: "controls" }, only),
    list,
    more,
  ];
}

// What the index has of a run. The rest follows when its details are loaded.
function runHead(key) {
  const run = RUNS.get(key);
  const back = h("p", { class: "back" }, h("a", { href: "#scores" }, "← Leaderboard"));
  if (!run) return [back, h("h2", { tabindex: -1 }, "No such run"), h("p", {}, "This board has no run with the key ", h("code", {}, key), ".")];
  const { task } = run.cell;
  return [
    back,
    h("h2", { tabindex: -1 }, rowName(run.cell.row)),
    h("p", { class: "lead" }, task, run.score !== null && [" ", h("b", {}, run.score), " ", DATA.tasks[task].score],
      run.seed !== null && `, seed ${run.seed}`, run.failed && h("strong", { class: "failed" }, " failed")),
    siblings(run),
  ];
}

function runBody(run, seeds) {
  const { metrics, cost, size, provenance, parts, notes, error, schema_version: version, ...rest } = run.record;
  const { hardware, ...environment } = provenance;
  const part = (title, ...content) => h("section", {}, h("h3", {}, title), content);
  return [
    error && h("pre", { class: "failure" }, error),
    part("Losses", losses(run, seeds)),
    part(DATA.tasks[run.cell.task].kind === "regression" ? "Residuals" : "Errors", mistakes(run)),
    h("div", { class: "cards" },
      card("Run", rest), card("Metrics", metrics), card("Configuration", parts), card("Notes of the method", notes),
      card("Cost", cost), card("Size", size), card("Hardware", hardware), card("Environment", environment)),
  ];
}

async function showRun(view, key) {
  view.replaceChildren();
  added(view, runHead(key));
  const body = h("div", { "aria-busy": "true" }, h("p", { class: "note", role: "status" }, "Loading …"));
  if (!RUNS.has(key)) return;
  view.append(body);
  try {
    const seeds = await detailsOf(RUNS.get(key).cell);
    const run = seeds.find(({ id }) => id === key);
    if (!run) throw new Error("they are of another report");
    body.replaceChildren();
    added(body, runBody(run, seeds));
  } catch (error) {
    body.replaceChildren(notLoaded(error));
  }
  body.removeAttribute("aria-busy");
}
