/** A threshold of a limit that was crossed in the current period. */
export interface SpendingLimitAlert {
  /** In percent of the limit. */
  readonly thresholdPercent: number;
  /** When it was seen: RFC 3339. */
  readonly raisedAt: string;
}

/**
 * A customer's limit, and how much of it is used in the current period. One in units has `units` and
 * `leftUnits`, one in money `amount` and `leftAmount`; the others are null, as is what an earlier
 * version of the API does not tell. Amounts are decimal texts in major units, `"20.10"`.
 */
export interface SpendingLimit {
  /** The most units of a period. */
  readonly units: number | null;
  /** The most that a period may cost. */
  readonly amount: string | null;
  /** Of the limit's amounts; of one in units, what the customer pays in. */
  readonly currency: string | null;
  /** A `hard` one stops, a `soft` one stops nobody. */
  readonly enforcement: "hard" | "soft" | null;
  /** At how much of it the operator is told. */
  readonly thresholdsPercent: readonly number[];
  /** When it was set: RFC 3339. */
  readonly setAt: string | null;
  /** Units of the period so far. */
  readonly usedUnits: number | null;
  /** What they cost. */
  readonly usedAmount: string | null;
  /** What the customer pays in now. */
  readonly usedCurrency: string | null;
  /** Units that reservations hold besides. */
  readonly heldUnits: number | null;
  /** Rounded down; null where the limit is in another currency than the customer pays in now. */
  readonly usedPercent: number | null;
  /** Units that are left beside what is held, never less than none. */
  readonly leftUnits: number | null;
  /** The amount that is left so, never less than nothing. */
  readonly leftAmount: string | null;
  /** Thresholds that were crossed in this period, and the operator was told of. */
  readonly alerts: readonly SpendingLimitAlert[];
}

/** Reads the API's `SpendingLimit`, also of a version that says more or less of it; null where there is none. */
export function readSpendingLimit(given: unknown): SpendingLimit | null {
  if (typeof given !== "object" || given === null) return null;
  const members = given as Record<string, unknown>;
  const text = (name: string) => (typeof members[name] === "string" ? members[name] : null);
  const number = (name: string) => (typeof members[name] === "number" ? members[name] : null);
  const list = (name: string) => (Array.isArray(members[name]) ? members[name] : []);
  return {
    units: number("units"),
    amount: text("amount"),
    currency: text("currency"),
    enforcement: text("enforcement") as SpendingLimit["enforcement"],
    thresholdsPercent: list("thresholds_percent"),
    setAt: text("set_at"),
    usedUnits: number("used_units"),
    usedAmount: text("used_amount"),
    usedCurrency: text("used_currency"),
    heldUnits: number("held_units"),
    usedPercent: number("used_percent"),
    leftUnits: number("left_units"),
    leftAmount: text("left_amount"),
    alerts: list("alerts").map(readAlert),
  };
}

function readAlert(given: unknown): SpendingLimitAlert {
  const { threshold_percent, raised_at } = (given ?? {}) as Record<string, unknown>;
  return { thresholdPercent: Number(threshold_percent), raisedAt: String(raised_at) };
}
