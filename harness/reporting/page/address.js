// The state of the board in the URL fragment: filters, sort order, hidden tasks. A copied URL shows the same.

// The fragment as parameters; null if it is the name of a part of the page, such as #intervals.
function parameters() {
  const text = location.hash.slice(1);
  return text.includes("=") ? new URLSearchParams(text) : null;
}

const controls = new Map(); // name of a parameter -> function that sets the control; "" is its default
const state = new URLSearchParams(); // of the controls that do not have their default

// Called by a control when the user changes it.
function remember(name, value) {
  keep(name, value);
  history.replaceState(null, "", boardAddress());
}

function keep(name, value) {
  if (value) state.set(name, value);
  else state.delete(name);
}

// The parameters in a fixed order, so that equal boards have equal URLs.
function boardAddress() {
  const names = [...controls.keys()].filter((name) => state.has(name));
  return `#${names.length ? new URLSearchParams(names.map((name) => [name, state.get(name)])) : "scores"}`;
}

// Set all controls as the URL says.
function restore(given) {
  for (const [name, set] of controls) {
    const value = given.get(name) ?? "";
    if (value !== (state.get(name) ?? "")) {
      keep(name, value);
      set(value);
    }
  }
}
