/** What a handler throws to say what is to follow, and why the signal of an attempt is aborted. */
/** The attempt failed and is to be made again after so many seconds, if attempts are left. */
export class Retry extends Error {
  override readonly name = "Retry";
  constructor(
    readonly after: number,
    message = "",
    options?: ErrorOptions,
  ) {
    super(message, options);
    mustBeSeconds("after", after);
  }
}

/** The task is to be run later, in so many seconds; this attempt does not count. */
export class Snooze extends Error {
  override readonly name = "Snooze";
  constructor(
    readonly seconds: number,
    message = "",
  ) {
    super(message);
    mustBeSeconds("seconds", seconds);
  }
}

/** The task is dead at once: another attempt would fail, too. */
export class Discard extends Error {
  override readonly name = "Discard";
}

/** The attempt succeeded and its schedule is over: no further tick. */
export class Finished extends Error {
  override readonly name = "Finished";
  constructor(readonly result: unknown = null) {
    super("finished");
  }
}

/** Why `ctx.signal` was aborted. What the handler returns afterwards is not written, but at a shutdown. */
export type AbortCause = "cancelled" | "lease_lost" | "timed_out" | "shutdown";

/** The reason of an aborted `ctx.signal`. */
export class Aborted extends Error {
  override readonly name = "Aborted";
  constructor(
    readonly reason: AbortCause,
    message: string,
  ) {
    super(message);
  }
}

/** The database refused what it was asked, and would refuse it again. */
export class Refused extends Error {
  override readonly name = "Refused";
}

/** The database cannot be reached, or cannot do it at the moment: to be tried again. */
export class Unavailable extends Error {
  override readonly name = "Unavailable";
}

function mustBeSeconds(name: string, value: number): void {
  if (!Number.isFinite(value) || value < 0) {
    throw new RangeError(`${name} must be a number of seconds from 0 on, got ${value}`);
  }
}
