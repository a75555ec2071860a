// The few ways in which this page changes. Text goes in as text: nothing that a customer,
// an agent or Stripe wrote is ever read as HTML.

export const byId = (id) => document.getElementById(id);

// An element with attributes and children. An attribute that is null is left out, and a
// child that is a text becomes a text node.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(attribute, value === true ? '' : value);
  }
  made.append(...children.flat().filter((child) => child !== null));
  return made;
}

// Sets a text only where it is another: a screen reader reads what is set, and a selection
// is lost by it.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function show(node, isShown) {
  if (node.hidden === isShown) node.hidden = !isShown;
}

// Draws into a node only when what is drawn changes: keyboard focus and scroll position
// inside of it live through everything else.
export class Slot {
  #node;
  #drawn = null;

  constructor(node) {
    this.#node = node;
  }

  draw(key, make) {
    const drawn = JSON.stringify(key);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    this.#node.replaceChildren(...[make()].flat().filter((child) => child !== null));
  }
}

// A table that scrolls by itself on a narrow screen. The first cell of a row heads it.
export function table(labelledBy, columns, rows) {
  const heads = columns.map(({ title, isNumber }) =>
    element('th', { scope: 'col', class: isNumber ? 'number' : null }, title));
  const body = rows.map((cells) => element('tr', {}, cells.map((cell, index) => {
    const isNumber = columns[index].isNumber ? 'number' : null;
    const content = Array.isArray(cell) ? cell : [cell];
    return index === 0
      ? element('th', { scope: 'row', class: isNumber }, ...content)
      : element('td', { class: isNumber }, ...content);
  })));
  return element('div', { class: 'wide', tabindex: '0', role: 'region', 'aria-labelledby': labelledBy },
    element('table', {}, element('thead', {}, element('tr', {}, heads)), element('tbody', {}, body)));
}

export const quiet = (text) => element('p', { class: 'quiet' }, text);

// Buttons of which one is pressed.
export function choice(node, options, chosen, onChoose) {
  const buttons = options.map(({ value, label }) => {
    const button = element('button', { type: 'button', 'aria-pressed': String(value === chosen) }, label);
    button.addEventListener('click', () => {
      for (const other of buttons) other.setAttribute('aria-pressed', String(other === button));
      onChoose(value);
    });
    return button;
  });
  node.replaceChildren(...buttons);
  show(node, true);
}
