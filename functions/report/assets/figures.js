// The figures of the period, and the tables by action and by meter.

import { byId, element, quiet, setText, show, Slot, table } from './dom.js';
import { money, percent, units, utc } from './format.js';

export class Figures {
  #actions = new Slot(byId('actions'));
  #meters = new Slot(byId('meters'));

  draw(data) {
    const price = (amount) => money(amount, data.currency);
    setText(byId('period'), `${utc.day(data.period_start)} – ${utc.day(data.period_end)} (UTC)`);
    figure('units', units(data.units), pendingText(data.pending_units));
    figure('cost', price(data.cost), costNote(data.trial_ends_at));
    figure('today', units(data.today.units), `${price(data.today.cost)} added to the invoice`);
    drawProjection(data.projection, price);
    this.#drawActions(data);
    this.#drawMeters(data, price);
  }

  #drawActions({ by_action_type: actions, other_actions: others }) {
    this.#actions.draw([actions, others], () => {
      if (actions.length === 0) return quiet('No usage in this period yet. It shows here a second after it happens.');
      const rows = actions.map((action) => [
        action.action_type,
        share(action),
        units(action.units),
      ]);
      if (others !== null) {
        rows.push([`${units(String(others.count))} more actions`, '', units(others.units)]);
      }
      const columns = [{ title: 'Action' }, { title: 'Share' }, { title: 'Units', isNumber: true }];
      return table('actions-heading', columns, rows);
    });
  }

  #drawMeters({ by_meter: meters }, price) {
    show(byId('meters-section'), meters.length > 1);
    this.#meters.draw(meters, () => {
      const rows = meters.map((meter) => [
        meter.meter_event_name ?? '–',
        units(meter.units),
        meter.cost === null ? 'not billed' : price(meter.cost),
      ]);
      const columns = [
        { title: 'Meter' },
        { title: 'Units', isNumber: true },
        { title: 'Cost', isNumber: true },
      ];
      return table('meters-heading', columns, rows);
    });
  }
}

// What a screen reader is told of it all.
export const inOneSentence = (data) =>
  `${units(data.units)} units this period, ${money(data.cost, data.currency)} so far.`;

function figure(id, value, note) {
  const node = byId(id);
  const isNew = node.textContent !== value;
  setText(node, value);
  setText(byId(`${id}-note`), note);
  // Seen for a moment; the style does nothing for readers who want no motion.
  if (isNew && node.dataset.isLive) {
    node.classList.remove('changed');
    requestAnimationFrame(() => node.classList.add('changed'));
  }
  node.dataset.isLive = 'true';
}

function drawProjection(projection, price) {
  if (projection === null) {
    figure('projection', '–', 'from three complete days on, until the last hour');
    return;
  }
  const { low, middle, high, days } = projection;
  const range = low.cost === high.cost ? price(low.cost) : `${price(low.cost)} – ${price(high.cost)}`;
  figure('projection', price(middle.cost), `${range}, by ${days} days so far`);
}

function costNote(trialEndsAt) {
  return trialEndsAt === null ? 'before tax and credit' : `a free trial until ${utc.day(trialEndsAt)} (UTC)`;
}

function pendingText(pending) {
  return pending === '0' ? 'all of them with Stripe' : `${units(pending)} of them on their way to the invoice`;
}

function share({ action_type: action, share_per_mille: perMille }) {
  const text = percent(perMille);
  return [
    element('progress', { max: '1000', value: String(perMille), 'aria-label': `Share of ${action}` }, text),
    element('span', { class: 'share' }, text),
  ];
}
