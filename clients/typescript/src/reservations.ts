import type { Asker, Question, Reply } from "./asker.js";
import { describe, LimitReached, Refused, Unavailable } from "./errors.js";
import {
  type Reservation,
  type ReservationStatus,
  readReservation,
  type WireReservation,
} from "./reservation.js";

/** Where units are held. */
export const RESERVATIONS_PATH = "/v1/usage/reservations";

const LIMIT_REACHED = "urn:meterline:problem:limit-reached";

/** Refusals that speak of the reservation itself: none was made by an earlier attempt that is held now. */
const ABOUT_THE_HOLD = new Set([402, 409, 422]);
/** What has ended is known for a week: what is not known was never there. */
const ABOUT_THE_RELEASE = new Set([404]);

/** For how long an action's own error is kept from its caller. */
const GIVE_BACK_TIMEOUT_MS = 2000;

/** Holds units of customers' limits, and gives them back. */
export class Reservations {
  readonly #asker: Asker;

  constructor(asker: Asker) {
    this.#asker = asker;
  }

  /** Holds what is `wanted`, for the event `eventId` where it is known. */
  async hold(wanted: WireReservation, eventId?: string): Promise<Reservation> {
    const reply = await this.#asker.ask({
      method: "POST",
      path: RESERVATIONS_PATH,
      body: wanted,
      certain: ABOUT_THE_HOLD,
      read: (body) => heldBy(wanted, body),
    });
    if (reply.fate === "answered") return reply.answer;
    const { reservation_id: reservationId } = wanted;
    const { problem } = reply;
    const details = { eventId, reservationId, problem };
    if (reply.fate === "unclear") {
      throw new Unavailable(
        `reservation ${reservationId} is perhaps held: ${reply.reason}`,
        details,
      );
    }
    const reason = describe(reply.problem);
    if (reply.problem.type === LIMIT_REACHED) {
      throw new LimitReached(`reservation ${reservationId} is not held: ${reason}`, details);
    }
    throw new Refused(`reservation ${reservationId} was refused: ${reason}`, details);
  }

  /** Gives a reservation back, and says what it has come to. */
  async release(customer: string, reservationId: string): Promise<ReservationStatus> {
    const reply = await this.#asker.ask(release(customer, reservationId));
    return releasedBy(reply, reservationId);
  }

  /** Gives back what an action did not use, in one attempt. If that fails, it expires. */
  async giveBack({ customer_id, reservation_id }: WireReservation): Promise<void> {
    const question = release(customer_id, reservation_id);
    releasedBy(await this.#asker.askOnce(question, GIVE_BACK_TIMEOUT_MS), reservation_id);
  }
}

function heldBy(wanted: WireReservation, body: unknown): Reservation | undefined {
  const reservation = readReservation(wanted, body);
  return reservation?.status === "held" ? reservation : undefined;
}

function release(customer_id: string, reservation_id: string): Question<ReservationStatus> {
  return {
    method: "DELETE",
    path: `${RESERVATIONS_PATH}/${reservation_id}?customer_id=${customer_id}`,
    certain: ABOUT_THE_RELEASE,
    read: (body) => readReservation({ customer_id, reservation_id }, body)?.status,
  };
}

/** @throws {MeterlineError} where the reply does not say what became of it. */
function releasedBy(reply: Reply<ReservationStatus>, reservationId: string): ReservationStatus {
  if (reply.fate === "answered") return reply.answer;
  const details = { reservationId, problem: reply.problem };
  if (reply.fate === "unclear") {
    const message = `reservation ${reservationId} is perhaps held, still: ${reply.reason}`;
    throw new Unavailable(message, details);
  }
  const reason = describe(reply.problem);
  throw new Refused(`reservation ${reservationId} cannot be released: ${reason}`, details);
}
