// The leaderboard: sorting by column headers, filters, and links from scores to runs.

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
  heads.forEach((head, column) => {
    const first = column > 2 ? "descending" : "ascending"; // scores start with the highest, rank and names with the first
    const next = { none: first, [first]: first === "ascending" ? "descending" : "ascending" };
    const press = () => sort(column, next[head.getAttribute("aria-sort")] ?? "none");
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
  const filter = { text: "", student: "", teacher: true, constant: true, published: true };
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
  const set = (name) => (value) => {
    filter[name] = value;
    apply();
  };
  const search = h("input", { type: "search", placeholder: "method or student", input: () => set("text")(search.value.trim().toLowerCase()) });
  const students = [...new Set(DATA.rows.map((row) => row.student).filter(Boolean))];
  const has = (role) => table.querySelector(`tbody.${role}`);
  added(place, [
    h("label", {}, h("span", {}, "Filter"), search),
    students.length > 1 && choice("Student", [["", "all"], ...students.map((name) => [name, name])], set("student")),
    has("teacher") && tick("teachers", true, set("teacher")),
    has("published") && tick("published", true, set("published")),
    columns(table),
    counter,
  ]);
  apply();
}

function columns(table) {
  const heads = all("thead th", table);
  const show = (index) => (shown) => {
    for (const row of table.rows) row.cells[index].hidden = !shown;
  };
  const boxes = heads.map((head, index) => head.dataset.task && tick(head.dataset.task, true, show(index))).filter(Boolean);
  return boxes.length > 1 && h("details", { class: "menu" }, h("summary", {}, "Tasks"), h("div", {}, boxes));
}
