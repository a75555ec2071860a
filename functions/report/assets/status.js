// Whether the customer may act and pays, and whether the page is up to date.

import { byId, element, setText, show } from './dom.js';

const STANDINGS = {
  active: ['good', 'Active'],
  past_due: ['warn', 'Payment due'],
  suspended: ['bad', 'Suspended'],
  canceled: ['bad', 'Ended'],
};

const ENDS = {
  expired: ['This link has expired', 'Dashboard links work for a day. Ask for a new one where you got it.'],
  invalid: ['This link does not work', 'It does not open this dashboard any more. Ask for a new one where you got it.'],
  gone: ['There is nothing to show', 'This customer is not there any more.'],
};

export function drawStanding(data, times) {
  const [kind, word] = STANDINGS[data.status] ?? ['bad', data.status];
  const badge = byId('badge');
  badge.className = `badge ${kind}`;
  setText(badge, word);
  const text = standingText(data, times);
  const standing = byId('standing');
  setText(standing, text);
  standing.className = `banner ${kind}`;
  show(standing, text !== '');
}

function standingText({ status, subscription_ends_at: endsAt }, times) {
  if (status === 'past_due') {
    return 'A payment has failed. It will be tried again; please check how you pay.';
  }
  if (status === 'suspended') {
    return 'Payments have failed for too long. New actions are refused until the open invoice is paid.';
  }
  if (status === 'canceled') return 'The subscription has ended. What was used before is shown.';
  return endsAt === null ? '' : `The subscription ends on ${times.moment(endsAt)}.`;
}

// The page goes on showing what it has, and says since when that is all it has.
export class Connection {
  #node = byId('connection');
  #onRetry;

  constructor(onRetry) {
    this.#onRetry = onRetry;
  }

  draw(state, times) {
    const isFailing = state.kind === 'failing';
    document.body.classList.toggle('outdated', isFailing);
    if (isFailing) {
      const text = `Not up to date since ${times.clock(state.since)}. Trying again by itself. `;
      // Said once, not at each attempt.
      if (this.#node.firstChild?.textContent !== text) {
        const retry = element('button', { type: 'button' }, 'Try now');
        retry.addEventListener('click', this.#onRetry);
        this.#node.replaceChildren(text, retry);
      }
    } else if (this.#node.hasChildNodes()) {
      this.#node.replaceChildren();
    }
    show(this.#node, isFailing);
  }
}

// Nothing of the customer stays on the page once its link opens nothing.
export function drawEnd(reason) {
  const [title, text] = ENDS[reason] ?? ENDS.invalid;
  const heading = element('h1', { tabindex: '-1' }, title);
  const notice = element('section', { role: 'alert' }, heading, element('p', {}, text));
  document.title = title;
  document.body.className = '';
  document.body.replaceChildren(element('main', {}, notice));
  heading.focus();
}
