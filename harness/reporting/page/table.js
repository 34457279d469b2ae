// The leaderboard: sorting by column headers, filters, links from scores to runs, and columns that do not fit.

function sortable(table) {
  const bodies = all("tbody", table).map((body) => [body, [...body.rows]]);
  const heads = all("thead th", table);
  const key = (row, column) => {
    const cell = row.cells[column].dataset.v;
    return cell === undefined ? null : cell !== "" && !Number.isNaN(Number(cell)) ? Number(cell) : cell;
  };
  const compare = (column, sign) => (a, b) => {
    const [one, other] = [key(a, column), key(b, column)];
    if (one === null || other === null) return (one === null) - (other === null);
    if (typeof one === "number" && typeof other === "number") return sign * (one - other);
    return sign * String(one).localeCompare(String(other), "en", { numeric: true });
  };
  const sort = (column, order) => {
    table.classList.toggle("sorted", order !== "none");
    for (const [body, rows] of bodies) {
      body.append(...(order === "none" ? rows : [...rows].sort(compare(column, order === "ascending" ? 1 : -1))));
    }
    heads.forEach((head, index) => head.setAttribute("aria-sort", index === column ? order : "none"));
  };
  controls.set("sort", (value) => {
    const [, name, order] = value.match(/^(.*):(ascending|descending)$/) ?? [];
    const column = heads.findIndex((head) => head.dataset.column === name);
    sort(column, column < 0 ? "none" : order);
  });
  heads.forEach((head, column) => {
    const first = column > 2 ? "descending" : "ascending"; // scores start with the highest, rank and names with the first
    const next = { none: first, [first]: first === "ascending" ? "descending" : "ascending" };
    const press = () => {
      const order = next[head.getAttribute("aria-sort")] ?? "none";
      sort(column, order);
      remember("sort", order === "none" ? "" : `${head.dataset.column}:${order}`);
    };
    head.querySelector(".title").append(h("span", { class: "arrow", "aria-hidden": "true" }));
    head.append(h("button", { type: "button", click: press }, ...head.childNodes));
    head.setAttribute("aria-sort", "none");
  });
}

function linked(table) {
  for (const cell of all("[data-run]", table)) {
    cell.append(h("a", { href: `#run=${encodeURIComponent(cell.dataset.run)}` }, ...cell.childNodes));
  }
}

function filters(table, place) {
  const rows = all("tbody tr", table);
  const filter = { text: "", student: "", teacher: true, constant: true, published: true }; // `constant` has no control
  const counter = h("span", { role: "status" });
  const matches = (row) => {
    const role = row.parentNode.className;
    const student = row.dataset.student;
    if (role !== "student" && !filter[role]) return false;
    if (filter.student && student !== filter.student && role !== "teacher" && role !== "constant") return false;
    return row.textContent.toLowerCase().includes(filter.text);
  };
  const apply = () => {
    for (const row of rows) {
      row.hidden = !matches(row);
      const same = all(`[data-row="${row.id.slice("row-".length)}"]`);
      for (const mark of same) mark.classList.toggle("out", row.hidden);
    }
    const visible = rows.filter((row) => !row.hidden).length;
    counter.textContent = visible === rows.length ? `${rows.length} rows` : `${visible} of ${rows.length} rows`;
  };
  // Returns the handler of a control, which the URL remembers, too. `read` and `write` convert its value to text.
  const control = (name, { read, write, show }) => {
    const set = (text) => {
      filter[name] = read(text);
      apply();
    };
    controls.set(name, (text) => (show(text), set(text)));
    return (value) => {
      const text = write(value);
      set(text);
      remember(name, text);
    };
  };
  const same = (text) => text;
  const search = h("input", { type: "search", placeholder: "method or student", input: () => searched(search.value) });
  const searched = control("text", { read: (text) => text.trim().toLowerCase(), write: same, show: (text) => (search.value = text) });
  const students = [...new Set(DATA.rows.map((row) => row.student).filter(Boolean))];
  const chosen = control("student", { read: same, write: same, show: (text) => (student.querySelector("select").value = text) });
  const student = choice("Student", [["", "all"], ...students.map((name) => [name, name])], (name) => chosen(name));
  const shown = (role, label) => {
    if (!table.querySelector(`tbody.${role}`)) return null;
    const change = control(role, { read: (text) => text !== "hidden", write: (on) => (on ? "" : "hidden"), show: (text) => (box.firstChild.checked = text !== "hidden") });
    const box = tick(label, true, (on) => change(on));
    return box;
  };
  added(place, [
    h("label", {}, h("span", {}, "Filter"), search),
    students.length > 1 && student,
    shown("teacher", "teachers"),
    shown("published", "published"),
    columns(table),
    counter,
  ]);
  apply();
}

function columns(table) {
  const heads = all("thead th", table);
  const tasks = heads.filter((head) => head.dataset.task).map((head) => head.dataset.task);
  const hidden = new Set();
  const show = (task, shown) => {
    hidden[shown ? "delete" : "add"](task);
    const index = heads.findIndex((head) => head.dataset.task === task);
    for (const row of table.rows) row.cells[index].hidden = !shown;
    table.dispatchEvent(new Event("resized"));
  };
  const boxes = tasks.map((task) => tick(task, true, (on) => {
    show(task, on);
    remember("hidden", [...hidden].join(" "));
  }));
  controls.set("hidden", (text) => tasks.forEach((task, index) => {
    const on = !text.split(" ").includes(task);
    boxes[index].firstChild.checked = on;
    show(task, on);
  }));
  return [
    boxes.length > 1 && h("details", { class: "menu" }, h("summary", {}, "Tasks"), h("div", {}, boxes)),
    h("label", { class: "tick narrow" }, h("input", { type: "checkbox", change: (event) => {
      table.classList.toggle("brief", !event.target.checked);
      table.dispatchEvent(new Event("resized"));
    } }), "all columns"),
  ];
}

// Mark the edges at which columns are cut off, and say so.
function cutColumns(table, note) {
  const box = table.parentNode;
  const mark = () => {
    const right = box.scrollWidth - box.clientWidth - box.scrollLeft;
    box.classList.toggle("cut-left", box.scrollLeft > 1);
    box.classList.toggle("cut-right", right > 1);
    note.hidden = box.scrollWidth <= box.clientWidth + 1;
  };
  new ResizeObserver(mark).observe(box);
  box.addEventListener("scroll", mark, { passive: true });
  table.addEventListener("resized", mark);
  mark();
}
