// Says to a screen reader what has changed, but not all the time: a busy customer's
// figures change every second, and nobody could use the page for the talking.

import { byId } from './dom.js';

const APART_MS = 60_000;

export class Announcer {
  #node = byId('announcements');
  #next = null;
  #timer = null;

  // Says the latest of what is given here, once a minute at most.
  say(text) {
    if (text === this.#node.textContent) return;
    this.#next = text;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#node.textContent = this.#next;
    }, APART_MS);
  }

  stop() {
    clearTimeout(this.#timer);
  }
}
