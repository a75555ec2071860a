// The upcoming invoice and the latest ones, with Stripe's own pages of them.

import { byId, element, quiet, Slot, table } from './dom.js';
import { money, units } from './format.js';

const STATUSES = {
  draft: 'Draft',
  open: 'To be paid',
  paid: 'Paid',
  uncollectible: 'Given up',
  void: 'Void',
};

// Nothing that a browser would run.
const isWebAddress = (url) => /^https?:\/\//.test(url ?? '');

export class Invoices {
  #list = new Slot(byId('invoices'));
  #upcoming = new Slot(byId('upcoming'));

  draw({ invoices, upcoming }, zone) {
    this.#upcoming.draw([upcoming, zone.key], () => upcomingText(upcoming, zone.times));
    this.#list.draw([invoices, zone.key], () => list(invoices, zone.times));
  }

  // What is there already stays.
  drawFailure() {
    if (byId('invoices').querySelector('table') === null) {
      this.#list.draw('failure', () => quiet('Invoices cannot be shown right now.'));
    }
  }
}

function upcomingText(upcoming, times) {
  if (upcoming === null) return 'No further invoice is to come.';
  const { currency, lines, total, period_end: end } = upcoming;
  const head = `The next one, after ${times.day(end)}, comes to ${money(total, currency)} so far.`;
  const items = lines.map((line) =>
    element('li', {}, `${lineText(line)}: ${money(line.amount, currency)}`));
  return items.length === 0 ? head : [head, element('ul', {}, items)];
}

const lineText = (line) => line.description ?? `${units(String(line.quantity ?? 0))} units`;

function list(invoices, times) {
  if (invoices.length === 0) return quiet('No invoices yet.');
  const columns = [
    { title: 'Number' },
    { title: 'Date' },
    { title: 'Status' },
    { title: 'Total', isNumber: true },
    { title: 'Documents' },
  ];
  return table('invoices-heading', columns, invoices.map((invoice) => [
    invoice.number ?? '–',
    times.day(invoice.created_at),
    statusText(invoice, times),
    money(invoice.total, invoice.currency),
    documents(invoice),
  ]));
}

function statusText({ status, next_payment_attempt_at: next, amount_remaining: left, currency }, times) {
  const word = STATUSES[status] ?? status ?? '–';
  if (status !== 'open') return word;
  const owed = `${word}: ${money(left, currency)}`;
  return next === null ? owed : `${owed}, tried again on ${times.day(next)}`;
}

function documents(invoice) {
  const of = element('span', { class: 'unseen' }, ` of invoice ${invoice.number ?? ''}`);
  const links = [
    [invoice.status === 'open' ? 'Pay' : 'View', invoice.hosted_invoice_url],
    ['PDF', invoice.invoice_pdf],
  ].filter(([, url]) => isWebAddress(url)).map(([word, url]) =>
    element('a', { href: url, target: '_blank', rel: 'noopener noreferrer' }, word, of.cloneNode(true)));
  return links.length === 0 ? '–' : links.flatMap((link, index) => (index === 0 ? [link] : [' ', link]));
}
