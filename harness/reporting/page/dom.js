// Creation of elements. Strings become text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  return added(element, children);
}

function added(element, children) {
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const h = (name, attributes, ...children) => filled(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) => filled(document.createElementNS(SVG, name), attributes, children);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function choice(label, options, change) {
  const select = h("select", { change: () => change(select.value) }, options.map(([value, text]) => h("option", { value }, text)));
  return h("label", {}, h("span", {}, label), select);
}

function tick(label, checked, change, attributes) {
  const box = h("input", { type: "checkbox", change: () => change(box.checked), ...attributes });
  box.checked = checked;
  return h("label", { class: "tick" }, box, label);
}
