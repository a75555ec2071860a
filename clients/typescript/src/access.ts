/** Where a customer stands, by its Stripe subscription. */
export type CustomerStatus = "active" | "past_due" | "suspended" | "canceled";

/** Whether a customer may act. */
export interface Access {
  readonly allowed: boolean;
  /** Why not, in words; null where it may. */
  readonly reason: string | null;
  readonly status: CustomerStatus;
  /** Units of the current period so far, of every meter. */
  readonly units: number;
  /** The most units of a period; null where there is no limit. */
  readonly limit: number | null;
}

/** Reads the answer of `GET /v1/customers/{id}/access`; undefined where it is none. */
export function readAccess(body: unknown): Access | undefined {
  const { allowed, reason, status, units, limit } = (body ?? {}) as Partial<Access>;
  if (typeof allowed !== "boolean" || typeof status !== "string") return undefined;
  return { allowed, reason: reason ?? null, status, units: units ?? 0, limit: limit ?? null };
}
