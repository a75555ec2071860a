// The spending limit of the period: how much of it is used, and whether it stops.

import { byId, element, setText, show, Slot } from './dom.js';
import { money, units, wholePercent } from './format.js';

const WARN_PERCENT = 80;
const BAR_PERCENT_MAX = 100;
const REACHED = 'The spending limit of this period is reached. New actions are refused until it is '
  + 'raised or the next period begins.';
const RULES = {
  hard: 'Nothing more can be used beyond it.',
  soft: 'For information: nothing stops there.',
};

export class Limit {
  #alerts = new Slot(byId('limit-alerts'));

  draw(limit, zone) {
    drawBanner(limit?.stops === true);
    show(byId('limit-section'), limit !== null);
    if (limit === null) return;
    setText(byId('limit-rule'), RULES[limit.enforcement] ?? limit.enforcement);
    setText(byId('limit-used'), usedText(limit));
    setText(byId('limit-note'), noteText(limit));
    drawBar(limit);
    this.#alerts.draw([limit.alerts, zone.key], () => limit.alerts.map((alert) => {
      const reached = `${wholePercent(alert.threshold_percent)} reached on`;
      return element('li', {}, `${reached} ${zone.times.moment(alert.raised_at)}`);
    }));
  }
}

// What a screen reader is told of it; nothing without a limit that applies.
export function limitInOneSentence(limit) {
  if (limit?.stops) return REACHED;
  const percent = limit?.used_percent ?? null;
  return percent === null ? '' : `${wholePercent(percent)} of the spending limit used.`;
}

function drawBanner(stops) {
  const banner = byId('limit-reached');
  setText(banner, stops ? REACHED : '');
  show(banner, stops);
}

function drawBar({ used_percent: percent, stops }) {
  const bar = byId('limit-bar');
  show(bar, percent !== null);
  if (percent === null) return;
  const kind = percent >= WARN_PERCENT ? 'warn' : 'good';
  bar.className = `whole ${stops ? 'bad' : kind}`;
  bar.value = Math.min(percent, BAR_PERCENT_MAX);
  setText(bar, wholePercent(percent));
}

function usedText({ units: most, amount, currency, used_units: used, used_amount: cost, used_percent: percent }) {
  if (most !== null) return `${units(used)} of ${units(most)} units`;
  return percent === null ? money(amount, currency) : `${money(cost, currency)} of ${money(amount, currency)}`;
}

function noteText({ used_percent: percent, left_units: left, left_amount: amount, held_units: held, currency }) {
  if (percent === null) return 'It is in another currency than you pay in now, and is not applied.';
  const parts = [`${wholePercent(percent)} used`];
  if (left !== null) parts.push(`${units(left)} units left`);
  if (amount !== null) parts.push(`${money(amount, currency)} left`);
  if (held !== '0') parts.push(`${units(held)} units held for what has begun`);
  return parts.join(', ');
}
