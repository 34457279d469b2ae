// The index of all runs, which the page has, and their details, which files next to the page have.

const DATA = JSON.parse(document.getElementById("data").textContent);

const RUNS = new Map(DATA.cells.flatMap((cell) => cell.runs.map(([id, seed, score, failed]) => [id, { id, seed, score, failed: Boolean(failed), cell }])));

const rowName = (place) => {
  const { label, student } = DATA.rows[place];
  return student ? `${label} · ${student}` : label;
};

const received = new Map(); // file name -> details, until `load` fetches them
const loading = new Map(); // file name -> promise of details

// Each file in details/ calls this function. A page that was opened from disk may load scripts, but no other files.
globalThis.details = (file, text) => received.set(file, JSON.parse(text));

function load(file) {
  if (!loading.has(file)) {
    loading.set(file, new Promise((resolve, reject) => {
      const missing = () => (loading.delete(file), reject(new Error(`details/${file}.js is missing or of another report`)));
      const loaded = () => (received.has(file) ? resolve(received.get(file)) : missing());
      document.head.append(h("script", { src: `details/${file}.js`, load: loaded, error: missing }));
    }));
  }
  return loading.get(file);
}

// The details of the runs of a cell, in order: { id, seed, record, curve, errors, texts }.
async function detailsOf(cell) {
  const { runs, texts } = await load(cell.file);
  return cell.runs.filter(([id]) => Object.hasOwn(runs, id)).map(([id, seed]) => ({ id, seed, cell, texts, ...runs[id] }));
}

const notLoaded = (error) => h("p", { class: "note", role: "alert" }, `The details cannot be shown: ${error.message}. The folder `,
  h("code", {}, "details"), " belongs next to this page; copy both together.");
