// In which zone times are shown: the reader's, or UTC, as the invoice has them.

import { byId, choice } from './dom.js';
import { Times, utc } from './format.js';

const own = new Times(undefined);

function ownName() {
  return Intl.DateTimeFormat().resolvedOptions().timeZone ?? 'Local time';
}

export class Zone {
  times = own;

  // Calls `onChange` when the reader chooses another one.
  constructor(onChange) {
    const options = [{ value: own, label: ownName() }, { value: utc, label: 'UTC' }];
    // Who lives by UTC has nothing to choose.
    if (['UTC', 'Etc/UTC', 'Etc/GMT'].includes(ownName())) {
      this.times = utc;
      return;
    }
    choice(byId('zone'), options, this.times, (times) => {
      this.times = times;
      onChange();
    });
  }

  // What a drawing depends on.
  get key() {
    return this.times.timeZone ?? '';
  }
}
