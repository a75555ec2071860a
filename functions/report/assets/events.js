// The latest events, each with where it stands on its way to the invoice.

import { byId, quiet, Slot, table } from './dom.js';
import { units } from './format.js';

const STATUSES = {
  pending: 'On its way',
  delivered: 'Billed',
  rejected: 'Not billed',
  quarantined: 'Being looked into',
  held: 'Not billed yet',
  voiding: 'Being taken back',
  voided: 'Taken back',
};

export class Events {
  #list = new Slot(byId('events'));

  draw(events, zone) {
    this.#list.draw([events, zone.key], () => {
      if (events.length === 0) return quiet('None yet.');
      const columns = [
        { title: 'Event' },
        { title: 'Action' },
        { title: 'Time' },
        { title: 'Status' },
        { title: 'Units', isNumber: true },
      ];
      return table('events-heading', columns, events.map((event) => [
        event.event_id,
        event.action_type,
        zone.times.second(event.occurred_at),
        STATUSES[event.status] ?? event.status,
        units(event.units),
      ]));
    });
  }
}
