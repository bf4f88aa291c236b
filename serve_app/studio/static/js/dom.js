// Building elements. Data becomes text nodes and attribute values only: nothing in the studio parses HTML, so
// that nothing a user or a server wrote can become markup.

/**
 * Makes an element. Attributes whose value is a function are event listeners ("click"), `true` is an attribute
 * without a value, and `false`, `null` and `undefined` leave the attribute out. Children are nodes or texts.
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(
    ...children.flat().filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** Sets a text only where it differs, so that screen readers and layout are not disturbed by the same text. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let lastId = 0;

/** Returns an id that no other element of the page has. */
export function newId(prefix = "id") {
  lastId += 1;
  return `${prefix}-${lastId}`;
}

/** A line drawing of 20 by 20 units, which takes the colour of its text. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", DRAWINGS[name]);
  svg.append(path);
  return svg;
}

const DRAWINGS = {
  play: "M6 4l10 6-10 6z",
  pause: "M6 4h3v12H6zM12 4h3v12h-3z",
  back: "M9 5l-5 5 5 5M16 5l-5 5 5 5",
  forward: "M11 5l5 5-5 5M4 5l5 5-5 5",
  loop: "M5 8h9l-3-3M15 12H6l3 3",
  close: "M5 5l10 10M15 5L5 15",
  lock: "M5 9h10v7H5zM7 9V6a3 3 0 016 0v3",
  unlock: "M5 9h10v7H5zM7 9V6a3 3 0 015.6-1.5",
  download: "M10 3v9M6 9l4 4 4-4M4 16h12",
  keyboard: "M2 5h16v10H2zM5 8h1M8.5 8h1M12 8h1M15 8h0M5 11.5h1M8 11.5h4M14.5 11.5h.5",
  zoomIn: "M9 4a5 5 0 110 10A5 5 0 019 4zM13 13l4 4M9 7v4M7 9h4",
  zoomOut: "M9 4a5 5 0 110 10A5 5 0 019 4zM13 13l4 4M7 9h4",
};
