/** One attempt: runs a handler and reports one outcome, or that it was interrupted. No database. */

import { contextOf, type Handler } from "./context.js";
import { Aborted, type AbortCause, Discard, Finished, Retry, Snooze } from "./errors.js";
import { describe, encode, messageOf } from "./json.js";
import type { Logger } from "./log.js";
import { type Claimed, finishIn, type Outcome, type OutcomeKind } from "./protocol.js";
import type { Queryable } from "./schedule.js";

/** The longest that setTimeout takes. */
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * | state    | what it is                                                       | what may follow         |
 * |----------|------------------------------------------------------------------|-------------------------|
 * | running  | the handler runs, and what it returns is written                 | reported, dropped       |
 * | reported | there is an outcome; the handler may still run after its timeout | dropped                 |
 * | dropped  | it was cancelled, lost or given back: nothing more is written    |                         |
 */
export type State = "running" | "reported" | "dropped";

export class Attempt {
  state: State = "running";
  /** Whether its handler has not returned yet: it occupies a slot. */
  occupies = true;
  private readonly controller = new AbortController();
  private readonly started = performance.now();
  private timer: NodeJS.Timeout | undefined;
  private shown: NodeJS.Timeout | undefined;
  private value: unknown;
  /** Whether the handler has written the outcome by itself. */
  private written = false;

  constructor(
    readonly task: Claimed,
    private readonly worker: string,
    /** When its lease ends, by `performance.now()`. */
    public leasedUntil: number,
    private readonly log: Logger,
    private readonly hooks: {
      /** An outcome that is to be written. */
      report(attempt: Attempt, outcome: Outcome): void;
      /** The handler has returned. */
      left(attempt: Attempt): void;
      progress(attempt: Attempt, value: string): void;
    },
  ) {}

  /** Run the handler. Never rejects. */
  async run(handler: Handler<never>): Promise<void> {
    const { task } = this;
    if (task.timeout !== null) {
      this.timer = setTimeout(() => this.timeOut(), Math.min(task.timeout * 1000, LONGEST_TIMER));
    }
    try {
      const { signal } = this.controller;
      const context = contextOf(task, signal, this.log, (value) => this.show(value), (tx, result) => this.finish(tx, result));
      const value: unknown = await (handler as Handler<unknown>)(task.payload, context);
      this.complete("completed", value);
    } catch (error) {
      this.fail(error);
    } finally {
      clearTimeout(this.timer);
      this.occupies = false;
      this.hooks.left(this);
    }
  }

  /** Stop the handler; unless the worker stops, nothing that it returns is written. */
  abort(cause: AbortCause, message: string): void {
    if (cause !== "shutdown" && cause !== "timed_out") {
      this.drop();
    }
    this.controller.abort(new Aborted(cause, message));
  }

  /** Write nothing more of it. */
  drop(): void {
    this.state = "dropped";
    clearTimeout(this.timer);
    clearTimeout(this.shown);
  }

  private async finish(transaction: Queryable, value: unknown): Promise<void> {
    if (this.state !== "running") {
      throw new Aborted("lease_lost", "the attempt is over");
    }
    const { id, fencing_token } = this.task;
    const outcome: Outcome = { id, fencing_token, seconds: this.seconds, outcome: "completed", result: encode(value).text };
    if (!(await finishIn(transaction, this.worker, outcome))) {
      throw new Aborted("lease_lost", "another worker may have the task");
    }
    this.written = true;
  }

  private get seconds(): number {
    return (performance.now() - this.started) / 1000;
  }

  private complete(kind: OutcomeKind, value: unknown): void {
    if (this.state !== "running") {
      return;
    }
    if (this.written) {
      this.drop();
      return;
    }
    const { text, warning } = encode(value);
    if (warning !== undefined) {
      this.log.warning("result_stored_as_text", { warning });
    }
    this.report({ outcome: kind, result: text });
  }

  private fail(error: unknown): void {
    if (this.state !== "running") {
      return;
    }
    if (error instanceof Finished) {
      this.complete("ended", error.result);
    } else if (error instanceof Snooze) {
      this.report({ outcome: "snoozed", error: saying(error), retry_in: error.seconds });
    } else if (error instanceof Retry) {
      this.report({ outcome: "failed", error: saying(error), retry_in: error.after });
    } else if (error instanceof Discard) {
      this.report({ outcome: "discarded", error: saying(error) });
    } else if (this.interrupted) {
      this.drop(); // it is given back
    } else {
      this.report({ outcome: "failed", error: describe(error) });
    }
  }

  /** Whether it was stopped because the worker stops. */
  get interrupted(): boolean {
    const reason: unknown = this.controller.signal.reason;
    return reason instanceof Aborted && reason.reason === "shutdown";
  }

  private timeOut(): void {
    if (this.state === "running") {
      const error = `timed out after ${this.task.timeout} s`;
      this.report({ outcome: "timed_out", error });
      this.abort("timed_out", error);
    }
  }

  private report(what: { outcome: OutcomeKind; result?: string; error?: string; retry_in?: number }): void {
    this.state = "reported";
    clearTimeout(this.timer);
    clearTimeout(this.shown);
    const { id, fencing_token } = this.task;
    this.hooks.report(this, { id, fencing_token, seconds: this.seconds, ...what });
  }

  private show(value: unknown): void {
    this.value = value;
    this.shown ??= setTimeout(() => {
      this.shown = undefined;
      if (this.state === "running") {
        this.hooks.progress(this, encode(this.value).text);
      }
    }, 500);
  }
}

function saying(error: Error): string {
  return describe(Object.assign(new Error(messageOf(error)), { name: error.name, stack: undefined }));
}
