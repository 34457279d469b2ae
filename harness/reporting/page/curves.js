// Loss curves of several rows, all of their seeds over each other.

const COLOURS = 8;

const colour = (index) => `c${index % COLOURS} d${Math.floor(index / COLOURS) % 3}`;

function series(run, term, extra) {
  const { steps, terms } = run.curve;
  const seed = run.seed === null ? "" : `, seed ${run.seed}`;
  return { name: `${rowName(run.row)}${seed}`, steps, values: terms[term], ...extra };
}

function curves(section) {
  const runs = Object.values(DATA.runs).filter((run) => run.curve.steps.length);
  if (!runs.length) {
    section.append(h("p", { class: "note" }, "No run has losses."));
    return;
  }
  const tasks = [...new Set(runs.map((run) => run.task))];
  const teaches = (place) => DATA.rows[place].role === "teacher";
  const places = [...new Set(runs.map((run) => run.row))].sort((a, b) => teaches(a) - teaches(b) || a - b);
  const students = places.filter((place) => !teaches(place));
  const asked = { task: tasks[0], term: "loss", log: false, rows: new Set((students.length ? students : places).slice(0, COLOURS)) };
  const plot = h("div", { class: "plot" });
  const terms = h("select", { change: () => ((asked.term = terms.value), draw()) });
  const draw = () => {
    const of = runs.filter((run) => run.task === asked.task && asked.rows.has(run.row));
    const names = [...new Set(of.flatMap((run) => Object.keys(run.curve.terms)))];
    if (!names.includes(asked.term)) asked.term = names[0] ?? "loss";
    terms.replaceChildren(...names.map((name) => h("option", { value: name, selected: name === asked.term }, name)));
    const shown = of.filter((run) => asked.term in run.curve.terms);
    const lines = shown.map((run) => series(run, asked.term, { colour: colour(places.indexOf(run.row)) }));
    const title = `${asked.term} on ${asked.task}`;
    plot.replaceChildren(lines.length ? linePlot({ series: lines, title, width: Math.max(300, plot.clientWidth), height: 320, log: asked.log })
      : h("p", { class: "note" }, "Choose a method below."));
  };
  const legend = places.map((place, index) => tick([h("i", { class: `swatch ${colour(index)}` }), rowName(place)], asked.rows.has(place), (on) => {
    asked.rows[on ? "add" : "delete"](place);
    draw();
  }));
  section.append(
    h("p", { class: "note" }, "Unweighted terms as each run logged them, and its total, ", h("code", {}, "loss"),
      "; a line for each seed. Terms of different methods are different things: compare their course, not their height."),
    h("div", { class: "controls" },
      choice("Task", tasks.map((name) => [name, name]), (name) => ((asked.task = name), draw())),
      h("label", {}, h("span", {}, "Term"), terms),
      tick("logarithmic", false, (on) => ((asked.log = on), draw()))),
    plot,
    h("fieldset", { class: "legend" }, h("legend", {}, "Methods"), legend),
  );
  new ResizeObserver(draw).observe(section);
}
