import type { Meterline } from "../client.js";
import { AccessDenied, MeterlineError } from "../errors.js";
import type { UsageEvent } from "../event.js";
import { UnreportedUsage, UsageNotRecorded } from "./errors.js";
import { type ActionOf, type Report, tokenEvents } from "./tokens.js";

/** Whom to bill, for what, and how. */
export interface Billing {
  readonly meterline: Meterline;
  readonly customer: string;
  readonly action: ActionOf;
  readonly checkAccess: boolean;
  onBackgroundError(error: Error): void;
}

/** @throws {MeterlineError} where the customer may not act, or nobody says whether, and it was asked for. */
export async function requireAccess({ meterline, customer, checkAccess }: Billing): Promise<void> {
  if (!checkAccess) return;
  const access = await meterline.checkAccess(customer);
  if (!access.allowed) throw new AccessDenied(access);
}

/**
 * Records what is reported.
 *
 * @throws {UsageNotRecorded} where that failed.
 * @throws {UnreportedUsage} where that is not all, or nothing.
 */
export async function bill(
  report: Report | undefined,
  billing: Billing,
  response?: unknown,
): Promise<void> {
  if (report !== undefined) {
    const events = tokenEvents(report, billing.customer, billing.action);
    const outcomes = await billing.meterline.emitMany(events);
    const failed: [UsageEvent, MeterlineError][] = [];
    events.forEach((event, index) => {
      const outcome = outcomes[index];
      if (outcome instanceof MeterlineError) failed.push([event, outcome]);
    });
    if (failed.length > 0) throw new UsageNotRecorded(failed, response);
  }
  if (!report?.isFinal) throw new UnreportedUsage(unreported(report), response);
}

function unreported(report: Report | undefined): string {
  if (report === undefined) return "a model answered without saying what it used";
  const { input, output } = report.tokens;
  return (
    `the answer ${report.responseId} of ${report.model} did not say to the end what it used: ` +
    `billed are ${input} tokens of input and ${output} of output, what came after is not known`
  );
}
