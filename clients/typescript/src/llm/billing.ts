import type { EmitMany, Meterline } from "../client.js";
import { AccessDenied, MeterlineError } from "../errors.js";
import type { UsageEvent } from "../event.js";
import type { OnBackgroundError } from "../hook.js";
import { UnreportedUsage, UsageNotRecorded } from "./errors.js";
import { type ActionOf, type Report, tokenEvents } from "./tokens.js";

/** Whom to bill, for what, and how. */
export interface Billing {
  readonly meterline: Meterline;
  readonly customer: string;
  readonly action: ActionOf;
  readonly checkAccess: boolean;
  readonly onBackgroundError: OnBackgroundError;
}

/** What is left to be billed: what was reported, and the answer where there is one to hand out. */
export interface Unbilled {
  readonly report: Report | undefined;
  readonly response?: unknown;
}

/**
 * @throws {MeterlineError} where the client is closed; or where the customer may not act, or nobody
 * says whether, and it was asked for.
 */
export async function requireAccess({ meterline, customer, checkAccess }: Billing): Promise<void> {
  meterline.requireOpen();
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
  { report, response }: Unbilled,
  billing: Billing,
  emitMany: EmitMany = (events) => billing.meterline.emitMany(events),
): Promise<void> {
  // Without an id, the events of all such answers would be one.
  if (report !== undefined && report.responseId !== "") {
    const { events, unnamed } = tokenEvents(report, billing.customer, billing.action);
    const outcomes = await outcomesOf(events, emitMany);
    const failed: [UsageEvent, MeterlineError][] = [];
    events.forEach((event, index) => {
      const outcome = outcomes[index];
      if (outcome instanceof MeterlineError) failed.push([event, outcome]);
    });
    if (failed.length + unnamed.length > 0) throw new UsageNotRecorded(failed, unnamed, response);
  }
  if (!report?.isFinal || report.responseId === "") {
    throw new UnreportedUsage(unreported(report), response);
  }
}

/** As {@link bill}, where nobody can be told by an exception. */
export async function billInBackground(
  unbilled: Unbilled,
  billing: Billing,
  emitMany?: EmitMany,
): Promise<void> {
  await bill(unbilled, billing, emitMany).catch(billing.onBackgroundError);
}

/** What became of each event; the same of all where none was taken, as by a client that is closed. */
async function outcomesOf(events: readonly UsageEvent[], emitMany: EmitMany) {
  if (events.length === 0) return [];
  try {
    return await emitMany(events);
  } catch (error) {
    if (error instanceof MeterlineError) return events.map(() => error);
    throw error;
  }
}

function unreported(report: Report | undefined): string {
  if (report === undefined) return "a model answered without saying what it used";
  const { input, output } = report.tokens;
  if (report.responseId === "") {
    return (
      `an answer of ${report.model} has no id to record its usage under: ` +
      `nothing is billed of ${input} tokens of input and ${output} of output`
    );
  }
  return (
    `the answer ${report.responseId} of ${report.model} did not say to the end what it used: ` +
    `billed are ${input} tokens of input and ${output} of output, what came after is not known`
  );
}
