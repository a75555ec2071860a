// Starts what keeps the page up to date. All addresses are relative to the page's, and
// bear its query, which is the link's signature.

import { Announcer } from './announcer.js';
import { Chart } from './chart.js';
import { byId, setText } from './dom.js';
import { Events } from './events.js';
import { Figures, inOneSentence } from './figures.js';
import { Invoices } from './invoices.js';
import { Limit, limitInOneSentence } from './limit.js';
import { Pace, Poller } from './poller.js';
import { Connection, drawEnd, drawStanding } from './status.js';
import { Zone } from './zone.js';

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;

const signed = (path) => new URL(`${path}${location.search}`, location.href);

// Usage comes from the tables and is cheap to look for; Stripe has no news by the second.
const usagePace = new Pace([
  [30 * SECOND_MS, SECOND_MS],
  [5 * MINUTE_MS, 2 * SECOND_MS],
  [Infinity, 5 * SECOND_MS],
]);
const invoicesPace = new Pace([[Infinity, MINUTE_MS]]);

let usage = null;
let payments = null;
const zone = new Zone(draw);
const announcer = new Announcer();
const figures = new Figures();
const limit = new Limit();
const chart = new Chart(zone);
const events = new Events();
const invoices = new Invoices();
const connection = new Connection(() => usagePoller.askNow());
const expiresAt = byId('expires-at').textContent;

const usagePoller = new Poller(signed('dashboard/data'), usagePace, (data) => {
  // A payment that went through, or did not, has changed the invoices as well.
  const hasOtherStatus = usage !== null && usage.status !== data.status;
  usage = data;
  draw();
  announcer.say(`${inOneSentence(data)} ${limitInOneSentence(data.spending_limit)}`.trimEnd());
  if (hasOtherStatus) invoicesPoller.askNow();
}, (state) => {
  if (state.kind === 'ended') end(state.reason);
  else connection.draw(state, zone.times);
});

const invoicesPoller = new Poller(signed('dashboard/invoices'), invoicesPace, (data) => {
  payments = data;
  draw();
}, (state) => {
  if (state.kind === 'ended') end(state.reason);
  if (state.kind === 'failing') invoices.drawFailure();
});

function draw() {
  const { times } = zone;
  setText(byId('expires-at'), times.moment(expiresAt));
  if (usage !== null) {
    drawStanding(usage, times);
    figures.draw(usage);
    limit.draw(usage.spending_limit, zone);
    chart.draw(usage.chart);
    events.draw(usage.events, zone);
    setText(byId('as-of'), times.second(usage.as_of));
  }
  if (payments !== null) invoices.draw(payments, zone);
}

function end(reason) {
  usagePoller.stop();
  invoicesPoller.stop();
  announcer.stop();
  drawEnd(reason);
}

for (const sign of ['pointerdown', 'keydown', 'focus']) {
  window.addEventListener(sign, () => usagePace.noteReader() && usagePoller.askNow(), { passive: true });
}
setText(byId('renewal'), 'New usage shows here within seconds.');
draw();
usagePoller.start();
invoicesPoller.start();
