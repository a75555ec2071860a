import type { Asker } from "./asker.js";
import { describe, InvalidUsage, Refused, Unavailable } from "./errors.js";
import { readSpendingLimit, type SpendingLimit } from "./spending_limit.js";
import { requireAction, requireCustomer, requireLimitUnits } from "./validation.js";

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
  /** The customer's limit, in units or in money, and what is left of it; null where there is none. */
  readonly spendingLimit: SpendingLimit | null;
}

/** What is about to be used. */
export interface AccessOptions {
  /** Units that must fit into what is left of a hard limit: a whole number, 1 or more. */
  units?: number | undefined;
  /** What they are for. Needed with `units` where the limit is in money, and there are several prices. */
  action?: string | undefined;
}

/**
 * Where access is asked for.
 *
 * @throws {InvalidUsage} for what the API could not answer.
 */
export function accessPath(customer: string, { units, action }: AccessOptions = {}): string {
  requireCustomer(customer);
  const path = `/v1/customers/${customer}/access`;
  if (units === undefined) {
    if (action === undefined) return path;
    throw new InvalidUsage("action has a meaning with units only");
  }
  const query = new URLSearchParams({
    units: String(requireLimitUnits("units", units)),
  });
  if (action !== undefined) {
    requireAction(action);
    query.set("action_type", action);
  }
  return `${path}?${query}`;
}

/** What the API says at `path`. */
export async function askForAccess(asker: Asker, path: string): Promise<Access> {
  const reply = await asker.ask({ method: "GET", path, read: readAccess });
  if (reply.fate === "answered") return reply.answer;
  const { problem } = reply;
  if (reply.fate === "unclear") {
    throw new Unavailable(`access is not known: ${reply.reason}`, { problem });
  }
  throw new Refused(`access cannot be asked for: ${describe(reply.problem)}`, { problem });
}

/** The API's answer (openapi.json, `Access`). */
interface WireAccess extends Omit<Access, "spendingLimit"> {
  spending_limit: unknown;
}

/** Reads it; undefined where it is none. */
function readAccess(body: unknown): Access | undefined {
  const { allowed, reason, status, units, limit, spending_limit } = (body ??
    {}) as Partial<WireAccess>;
  if (typeof allowed !== "boolean" || typeof status !== "string") return undefined;
  return {
    allowed,
    reason: reason ?? null,
    status,
    units: units ?? 0,
    limit: limit ?? null,
    spendingLimit: readSpendingLimit(spending_limit),
  };
}
