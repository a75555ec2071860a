// Usage over time and by action: bars, the same as a table, and a line that reads one bar
// out, by pointer or by arrow keys. uPlot draws the bars; everything else is here.

import { byId, choice, element, quiet, setText, show, Slot, table } from './dom.js';
import { short, units, utc } from './format.js';

const HEIGHT_PX = 240;
const LABEL_PX = 64;
const OTHERS = 'All other actions';

const STEPS = {
  days: { stepS: 86_400, label: 'Days', title: 'Day (UTC)' },
  hours: { stepS: 3_600, label: 'Last 48 hours', title: 'Hour' },
};

export class Chart {
  #zone;
  #step = 'days';
  #data = null;
  #plot = null;
  #drawn = null;
  #picture = element('div', {
    class: 'picture', tabindex: '0', role: 'group',
    'aria-label': 'Chart of units over time. Left and right arrow keys read out one bar after the other.',
  });
  #legend = element('ul', { class: 'legend' });
  #readout = element('output', { class: 'readout' });
  #details = element('details', {}, element('summary', {}, 'The chart as a table'));
  #legendSlot = new Slot(this.#legend);
  #table = element('div');
  #tableSlot = new Slot(this.#table);
  #index = null;

  constructor(zone) {
    this.#zone = zone;
    this.#details.append(this.#table);
    byId('chart').replaceChildren(this.#picture, this.#readout, this.#legend, this.#details);
    const options = Object.entries(STEPS).map(([value, { label }]) => ({ value, label }));
    choice(byId('chart-units'), options, this.#step, (step) => {
      this.#step = step;
      this.#index = null;
      this.#redraw();
    });
    this.#picture.addEventListener('keydown', (event) => this.#move(event));
    this.#details.addEventListener('toggle', () => this.#drawTable());
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(this.#picture);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
      this.#drawn = null;
      this.#redraw();
    });
  }

  draw(data) {
    this.#data = data;
    show(byId('chart-section'), data.action_types.length > 0);
    this.#redraw();
  }

  get #bars() {
    return this.#data[this.#step];
  }

  get #names() {
    const { action_types: names, has_others: hasOthers } = this.#data;
    return hasOthers ? [...names, OTHERS] : names;
  }

  #label(bar) {
    return this.#step === 'days' ? utc.day(bar.start) : this.#zone.times.moment(bar.start);
  }

  #redraw() {
    if (this.#data === null || this.#data.action_types.length === 0) return;
    this.#drawLegend();
    this.#drawTable();
    this.#drawPlot();
    this.#read();
  }

  #drawLegend() {
    this.#legendSlot.draw(this.#names, () => this.#names.map((name, index) =>
      element('li', {}, element('span', { class: `swatch series-${index}`, 'aria-hidden': 'true' }), name)));
  }

  // A closed table costs nothing.
  #drawTable() {
    if (!this.#details.open || this.#data === null) return;
    this.#tableSlot.draw([this.#bars, this.#names, this.#zone.key], () => {
      const columns = [
        { title: STEPS[this.#step].title },
        ...this.#names.map((title) => ({ title, isNumber: true })),
        { title: 'All', isNumber: true },
      ];
      const rows = this.#bars.map((bar) =>
        [this.#label(bar), ...[...bar.units, sum(bar.units)].map((count) => units(String(count)))]);
      return table('chart-heading', columns, rows);
    });
  }

  // A new plot where it would look otherwise, new figures in the same one where not.
  #drawPlot() {
    if (typeof uPlot === 'undefined') {
      this.#picture.replaceChildren(quiet('The chart cannot be drawn; the table has its figures.'));
      this.#details.open = true;
      return;
    }
    const key = JSON.stringify([this.#step, this.#names, this.#zone.key, this.#bars.length]);
    const columns = stacked(this.#bars, this.#names.length);
    if (key === this.#drawn) {
      this.#plot.setData(columns);
      return;
    }
    this.#plot?.destroy();
    this.#plot = new uPlot(this.#options(), columns, this.#picture);
    this.#drawn = key;
  }

  #size() {
    return { width: Math.max(this.#picture.clientWidth, 200), height: HEIGHT_PX };
  }

  #options() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour('--quiet'), grid: { stroke: colour('--line') }, ticks: { show: false } };
    const half = STEPS[this.#step].stepS / 2;
    // The highest stack is drawn first, and each one below it over it.
    const series = this.#names.map((_, index) => ({
      fill: colour(`--series-${index}`),
      width: 0,
      points: { show: false },
      paths: uPlot.paths.bars({ size: [0.75, 56] }),
    })).reverse();
    return {
      ...this.#size(),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: {
        x: { time: false, range: (_, first, last) => [first - half, last + half] },
        y: { range: (_, least, most) => [0, Math.max(most * 1.05, 1)] },
      },
      axes: [
        { ...axis, size: 32, grid: { show: false }, splits: (plot) => this.#splits(plot), values: (_, at) => at.map((s) => this.#tick(s)) },
        { ...axis, size: 56, values: (_, at) => at.map((count) => (Number.isInteger(count) ? short(count) : '')) },
      ],
      series: [{}, ...series],
      hooks: { setCursor: [(plot) => this.#point(plot.cursor.idx)] },
    };
  }

  // As many labels as there is room for.
  #splits(plot) {
    const starts = plot.data[0];
    const room = Math.max(1, Math.floor(this.#picture.clientWidth / LABEL_PX));
    const every = Math.ceil(starts.length / room);
    return starts.filter((_, index) => index % every === 0);
  }

  #tick(unixS) {
    const at = unixS * 1_000;
    return this.#step === 'days' ? utc.shortDay(at) : this.#zone.times.hour(at);
  }

  #point(index) {
    if (index === null || index === undefined || index === this.#index) return;
    this.#index = index;
    this.#read();
  }

  #move(event) {
    const last = this.#bars.length - 1;
    const current = this.#index ?? last;
    const next = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: last }[event.key];
    if (next === undefined || this.#data === null) return;
    event.preventDefault();
    this.#index = Math.min(Math.max(next, 0), last);
    const at = this.#plot?.data[0][this.#index];
    if (at !== undefined) this.#plot.setCursor({ left: this.#plot.valToPos(at, 'x'), top: 0 });
    this.#read();
  }

  // One bar in words; the latest one until the reader chooses.
  #read() {
    const bar = this.#bars[this.#index ?? this.#bars.length - 1];
    if (bar === undefined) return;
    const parts = bar.units
      .map((count, index) => [count, this.#names[index]])
      .filter(([count]) => count > 0)
      .map(([count, name]) => `${name} ${units(String(count))}`);
    const all = `${this.#label(bar)}: ${units(String(sum(bar.units)))} units`;
    setText(this.#readout, parts.length > 1 ? `${all} (${parts.join(', ')})` : all);
  }
}

const sum = (counts) => counts.reduce((all, count) => all + count, 0);

// uPlot's columns: starts in unix seconds, then sums from the bottom up, the highest first.
function stacked(bars, width) {
  const starts = bars.map(({ start }) => Date.parse(start) / 1_000);
  const stacks = Array.from({ length: width }, (_, index) =>
    bars.map(({ units: counts }) => sum(counts.slice(0, index + 1))));
  return [starts, ...stacks.reverse()];
}
