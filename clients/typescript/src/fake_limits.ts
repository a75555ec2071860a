import type { ReservationOutcome } from "./recorded.js";
import type { ReservationStatus, WireReservation } from "./reservation.js";
import { requireLimitUnits } from "./validation.js";

/** What is held when nothing is said of it, in seconds. */
const EXPIRES_IN_S = 300;

interface Reserved {
  readonly wanted: WireReservation;
  readonly expires_at: string;
  status: ReservationStatus;
}

/** Hard limits in units, and what is held of them, as the API has them where there is one meter. */
export class FakeLimits {
  readonly #usedUnits: (customer: string) => number;
  readonly #limits = new Map<string, number>();
  readonly #reserved = new Map<string, Reserved>();

  constructor(usedUnits: (customer: string) => number) {
    this.#usedUnits = usedUnits;
  }

  /** Sets a customer's limit; null for none. */
  set(customer: string, units: number | null): void {
    if (units === null) this.#limits.delete(customer);
    else this.#limits.set(customer, requireLimitUnits("units", units));
  }

  /** A customer's limit; null where there is none. */
  units(customer: string): number | null {
    return this.#limits.get(customer) ?? null;
  }

  heldUnits(customer: string): number {
    return [...this.#reserved.values()]
      .filter(({ wanted, status }) => wanted.customer_id === customer && status === "held")
      .reduce((units, { wanted }) => units + wanted.quantity, 0);
  }

  /** `POST /v1/usage/reservations`. */
  reserve(wanted: WireReservation): [number, object] {
    const key = keyOf(wanted.customer_id, wanted.reservation_id);
    const known = this.#reserved.get(key);
    if (known !== undefined) {
      const { quantity, action_type } = known.wanted;
      const isSame = quantity === wanted.quantity && action_type === wanted.action_type;
      if (isSame && known.status === "held") return [200, shown(known)];
      return [409, problemDocument("conflict", 409, { reservation_status: known.status })];
    }
    const left_units = this.#leftUnits(wanted.customer_id);
    if (wanted.quantity > left_units) {
      return [402, problemDocument("limit-reached", 402, { left_units })];
    }
    const expiresMs = Date.now() + (wanted.expires_in_s ?? EXPIRES_IN_S) * 1000;
    const expires_at = new Date(expiresMs).toISOString();
    const reserved: Reserved = { wanted, expires_at, status: "held" };
    this.#reserved.set(key, reserved);
    return [201, shown(reserved)];
  }

  /** `DELETE /v1/usage/reservations/{reservation_id}`, and what else ends one. */
  end(customer: string, reservationId: string, as: "released" | "expired"): [number, object] {
    const reserved = this.#reserved.get(keyOf(customer, reservationId));
    if (reserved === undefined) return [404, problemDocument("not-found", 404)];
    if (reserved.status === "held") reserved.status = as;
    return [200, shown(reserved)];
  }

  /** What becomes of the reservation that a new event names. */
  settle(customer: string, reservationId: string): ReservationOutcome {
    const reserved = this.#reserved.get(keyOf(customer, reservationId));
    if (reserved === undefined) return "unknown";
    const { status } = reserved;
    if (status === "settled") return "settled_before";
    if (status === "held") reserved.status = "settled";
    return status === "held" ? "settled" : status;
  }

  /** Why a customer may not use `more` units; null where it may. */
  refusal(customer: string, more: number): string | null {
    const left = this.#leftUnits(customer);
    if (left === 0) return "the spending limit of the period is reached";
    if (more <= left) return null;
    return "so many units are more than what is left of the spending limit";
  }

  /** The limit as access has it, without money: nothing here has a price. */
  shown(customer: string): object | null {
    const units = this.units(customer);
    if (units === null) return null;
    const used_units = this.#usedUnits(customer);
    return {
      units,
      amount: null,
      enforcement: "hard",
      thresholds_percent: [],
      used_units,
      held_units: this.heldUnits(customer),
      used_percent: Math.floor((used_units * 100) / units),
      left_units: this.#leftUnits(customer),
      left_amount: null,
      alerts: [],
    };
  }

  #leftUnits(customer: string): number {
    const units = this.units(customer) ?? Number.POSITIVE_INFINITY;
    return Math.max(0, units - this.#usedUnits(customer) - this.heldUnits(customer));
  }
}

/** A problem as the API writes it. */
export function problemDocument(problem: string, status: number, members: object = {}): object {
  const type = `urn:meterline:problem:${problem}`;
  return { type, title: problem, status, detail: "", ...members };
}

function keyOf(customer: string, id: string): string {
  return `${customer}\n${id}`;
}

function shown({ wanted, status, expires_at }: Reserved): object {
  const { reservation_id, customer_id, quantity, action_type } = wanted;
  return { reservation_id, customer_id, status, quantity, action_type, expires_at };
}
