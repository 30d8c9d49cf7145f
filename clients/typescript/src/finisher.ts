/** Writes outcomes in batches: what ends while one batch is written goes out with the next one. */

import type { Attempt } from "./attempt.js";
import { Unavailable } from "./errors.js";
import { messageOf } from "./json.js";
import type { Logger } from "./log.js";
import { finish, type Outcome } from "./protocol.js";
import type { Session } from "./session.js";
import { Backoff, settled, Wakeup } from "./waiting.js";

const MOST_OUTCOMES = 1000;
const MOST_CHARACTERS = 8 * 2 ** 20;
/** Milliseconds until a row that another session has locked is tried again. */
const LOCKED_PAUSE = 250;

interface Ended {
  readonly attempt: Attempt;
  readonly outcome: Outcome;
}

export class Finisher {
  private queue: Ended[] = [];
  private writing: Promise<void> | undefined;
  private waitingSince = 0;
  private readonly ending = new Wakeup();
  private stopped = false;
  /** Outcomes that the fence kept out. */
  fenced = 0;

  constructor(
    private readonly session: Session,
    private readonly worker: string,
    private readonly log: Logger,
    /** Called when a task is out of hand. */
    private readonly onDone: (attempt: Attempt) => void,
  ) {}

  put(attempt: Attempt, outcome: Outcome): void {
    this.queue.push({ attempt, outcome });
    if (this.writing === undefined) {
      this.waitingSince = performance.now();
      // Outcomes of the same turn of the event loop share a batch.
      this.writing = new Promise<void>((resolve) => setImmediate(resolve)).then(() => this.writeAll());
    }
  }

  get unwritten(): number {
    return this.queue.length;
  }

  /** Whether handlers must not go on, because their outcomes cannot be written. */
  get behind(): boolean {
    return this.queue.length > 10_000 || (this.queue.length > 0 && performance.now() - this.waitingSince > 5_000);
  }

  /** Wait until everything is written, and give up when that takes longer. */
  async stop(milliseconds: number): Promise<void> {
    const until = performance.now() + milliseconds;
    while (this.writing !== undefined && performance.now() < until) {
      await settled(this.writing, until - performance.now());
    }
    this.stopped = true;
    this.ending.wake();
  }

  private async writeAll(): Promise<void> {
    const backoff = new Backoff(5_000);
    while (this.queue.length > 0 && !this.stopped) {
      const batch = this.next();
      try {
        await this.write(batch);
        this.queue.splice(0, batch.length);
        this.waitingSince = performance.now();
        backoff.reset();
      } catch (error) {
        this.log.warning("finish_failed", { unwritten: this.queue.length, error: messageOf(error) });
        await this.ending.wait(backoff.next());
      }
    }
    this.writing = undefined;
  }

  private next(): Ended[] {
    let characters = 0;
    let number = 0;
    for (const { outcome } of this.queue) {
      characters += (outcome.result?.length ?? 0) + (outcome.error?.length ?? 0);
      if (number === MOST_OUTCOMES || (number > 0 && characters > MOST_CHARACTERS)) {
        break;
      }
      number += 1;
    }
    return this.queue.slice(0, number);
  }

  /** Write a batch; when the database refuses it, halves of it, down to the row. Rejects with `Unavailable`. */
  private async write(batch: readonly Ended[]): Promise<void> {
    const wanted = batch.filter(({ attempt }) => attempt.state !== "dropped");
    if (wanted.length === 0) {
      return;
    }
    try {
      await this.send(wanted);
    } catch (error) {
      if (error instanceof Unavailable) {
        throw error;
      }
      if (wanted.length > 1) {
        const middle = Math.ceil(wanted.length / 2);
        await this.write(wanted.slice(0, middle));
        await this.write(wanted.slice(middle));
      } else {
        for (const one of wanted) {
          await this.refused(one, messageOf(error));
        }
      }
    }
  }

  /** An outcome that cannot be stored: the task is dead, with the database's message. */
  private async refused({ attempt, outcome }: Ended, message: string): Promise<void> {
    const { id, fencing_token, seconds } = outcome;
    const error = `the outcome cannot be stored: ${message}`;
    this.log.error("outcome_refused", { task_id: id, error: message });
    try {
      await this.send([{ attempt, outcome: { id, fencing_token, seconds, outcome: "discarded", error } }]);
    } catch (again) {
      if (again instanceof Unavailable) {
        throw again;
      }
      // Its lease runs out, and the attempt is counted as lost.
      this.log.error("finish_refused", { task_id: id, error: messageOf(again) });
      this.done(attempt);
    }
  }

  private async send(batch: readonly Ended[]): Promise<void> {
    const outcomes = batch.map(({ outcome }) => outcome);
    const { fenced, locked } = await finish(this.session, this.worker, outcomes);
    if (fenced.length > 0) {
      this.fenced += fenced.length;
      this.log.warning("finish_fenced", { task_ids: fenced.slice(0, 10), count: fenced.length });
    }
    const left = new Set(locked);
    for (const ended of batch) {
      if (left.has(ended.outcome.id)) {
        setTimeout(() => this.put(ended.attempt, ended.outcome), LOCKED_PAUSE);
      } else {
        this.done(ended.attempt);
      }
    }
  }

  private done(attempt: Attempt): void {
    attempt.drop();
    this.onDone(attempt);
  }
}
