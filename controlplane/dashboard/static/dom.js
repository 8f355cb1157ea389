/* Elements. Text enters the page as text nodes alone, so nothing that a user wrote can become markup. */

const SVG = "http://www.w3.org/2000/svg";

/** Makes an HTML element; `attributes.on` holds listeners, children are elements or text. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Replaces what is shown only when it differs: keeps focus, selection and scroll position elsewhere. */
export function show(element, ...children) {
  const wanted = el("div", {}, ...children);
  if (element.innerHTML !== wanted.innerHTML) element.replaceChildren(...wanted.childNodes);
}

export function badge(word) {
  return el("span", { class: `badge is-${word}` }, word);
}

export function link(target, text, attributes = {}) {
  return el("a", { href: target, ...attributes }, text);
}

/** A table whose rows are kept while their key stays, so that focus survives an update. */
export class Rows {
  constructor(caption, columns) {
    this.body = el("tbody");
    this.rows = new Map();
    const titles = columns.map(([title, kind]) => el("th", { scope: "col", class: kind ?? null }, title));
    const table = el("table", {}, el("caption", { class: "unseen" }, caption), el("thead", {}, el("tr", {}, titles)));
    table.append(this.body);
    this.kinds = columns.map(([, kind]) => kind ?? null);
    this.element = el("div", { class: "scroll" }, table);
  }

  /** `entries` are [key, cells]; a cell is an element or text. */
  update(entries) {
    const kept = new Map();
    entries.forEach(([key, cells], at) => {
      const row = this.rows.get(key) ?? el("tr", {}, cells.map((_, column) => el("td", { class: this.kinds[column] })));
      cells.forEach((cell, column) => show(row.children[column], cell));
      if (this.body.children[at] !== row) this.body.insertBefore(row, this.body.children[at] ?? null);
      kept.set(key, row);
    });
    for (const [key, row] of this.rows) if (!kept.has(key)) row.remove();
    this.rows = kept;
  }
}
