// Loss curves of the selected rows, one line for each seed.

const COLOURS = 8;

const colour = (index) => `c${index % COLOURS} d${Math.floor(index / COLOURS) % 3}`;

function series(run, term, extra) {
  const { steps, terms } = run.curve;
  const seed = run.seed === null ? "" : `, seed ${run.seed}`;
  return { name: `${rowName(run.cell.row)}${seed}`, steps, values: terms[term], ...extra };
}

function curves(section) {
  const cells = DATA.cells.filter((cell) => cell.logged);
  if (!cells.length) {
    section.append(h("p", { class: "note" }, "No run has logged losses."));
    return;
  }
  const tasks = [...new Set(cells.map((cell) => cell.task))];
  const isTeacher = (place) => DATA.rows[place].role === "teacher";
  const places = [...new Set(cells.map((cell) => cell.row))].sort((a, b) => isTeacher(a) - isTeacher(b) || a - b);
  const students = places.filter((place) => !isTeacher(place));
  const selected = { task: tasks[0], term: "loss", log: false, rows: new Set((students.length ? students : places).slice(0, COLOURS)) };
  const plot = h("div", { class: "plot" });
  const terms = h("select", { change: () => ((selected.term = terms.value), draw()) });
  let runs = []; // of the selected rows and task
  let wanted = 0;
  const draw = () => {
    const names = [...new Set(runs.flatMap((run) => Object.keys(run.curve.terms)))];
    if (runs.length && !names.includes(selected.term)) selected.term = names[0] ?? "loss";
    terms.replaceChildren(...names.map((name) => h("option", { value: name, selected: name === selected.term }, name)));
    const shown = runs.filter((run) => selected.term in run.curve.terms);
    const lines = shown.map((run) => series(run, selected.term, { colour: colour(places.indexOf(run.cell.row)) }));
    const title = `${selected.term} on ${selected.task}`;
    plot.replaceChildren(lines.length ? linePlot({ series: lines, title, width: Math.max(300, plot.clientWidth), height: 320, log: selected.log })
      : h("p", { class: "note" }, "Choose a method below."));
  };
  const update = async () => {
    const turn = ++wanted;
    const chosen = cells.filter((cell) => cell.task === selected.task && selected.rows.has(cell.row));
    plot.setAttribute("aria-busy", "true");
    try {
      const loaded = (await Promise.all(chosen.map(detailsOf))).flat().filter((run) => run.curve.steps.length);
      if (turn === wanted) (runs = loaded), draw();
    } catch (error) {
      if (turn === wanted) plot.replaceChildren(notLoaded(error));
    }
    if (turn === wanted) plot.removeAttribute("aria-busy");
  };
  const legend = places.map((place, index) => tick([h("i", { class: `swatch ${colour(index)}` }), rowName(place)], selected.rows.has(place), (on) => {
    selected.rows[on ? "add" : "delete"](place);
    update();
  }));
  section.append(
    h("p", { class: "note" }, "Unweighted terms as each run logged them, and its total, ", h("code", {}, "loss"),
      "; a line for each seed. Terms of different methods are different quantities: compare their course, not their values."),
    h("div", { class: "controls" },
      choice("Task", tasks.map((name) => [name, name]), (name) => ((selected.task = name), update())),
      h("label", {}, h("span", {}, "Term"), terms),
      tick("logarithmic", false, (on) => ((selected.log = on), draw()))),
    plot,
    h("fieldset", { class: "legend" }, h("legend", {}, "Methods"), legend),
  );
  // Nothing is loaded until the section is about to be visible.
  const approach = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    approach.disconnect();
    update().then(() => new ResizeObserver(() => runs.length && draw()).observe(section));
  }, { rootMargin: "600px" });
  approach.observe(section);
}
