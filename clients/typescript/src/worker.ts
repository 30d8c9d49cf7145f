/** The worker: claims tasks, runs their handlers, writes what became of them. */

import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { Attempt } from "./attempt.js";
import type { Handler } from "./context.js";
import { Unavailable } from "./errors.js";
import { Finisher } from "./finisher.js";
import { messageOf } from "./json.js";
import { CANCEL, Listener, QUEUES, WORK, WORKERS } from "./listener.js";
import { jsonLines, Logger, type LogSink } from "./log.js";
import * as protocol from "./protocol.js";
import { type ConnectionOptions, Session } from "./session.js";
import { Backoff, pause, settled, Wakeup, within } from "./waiting.js";

export const VERSION = "0.1.0";
const MOST_CLAIMED = 1000;
/** Milliseconds to the next looks after falling asleep: a row whose transaction was open then notified nobody. */
const SECOND_LOOKS = [0, 50, 250, 1000];
/** Milliseconds until a worker that found less than it has room for looks again. */
const BUSY_PAUSE = 5;
/** Milliseconds that a stopping worker waits for handlers that it has aborted, and for a database that is silent. */
const ABORT_GRACE = 2_000;
const FLUSH_GRACE = 8_000;
const UPKEEP_EVERY = 60_000;
/** Milliseconds until a task that can neither be claimed nor ended is tried again. */
const SET_ASIDE = 60_000;

export interface WorkerOptions<P extends object> {
  /** Where PostgreSQL is. The worker opens four connections. */
  connection: ConnectionOptions;
  /** A connection of its own for LISTEN, where `connection` leads to a pooler. */
  listenConnection?: ConnectionOptions;
  /** The handlers, by the type of their tasks. */
  handlers: { readonly [Type in keyof P]: Handler<P[Type]> };
  /** Which queues to serve. */
  queues?: readonly string[];
  /** How many tasks run at once. */
  concurrency?: number;
  /** Seconds that a claim is good for without a heartbeat: after so long the tasks of a dead worker run elsewhere. */
  lease?: number;
  /** Seconds between looks for work when nothing is heard. */
  pollInterval?: number;
  /** Seconds that a stopping worker waits for its handlers before it aborts them. */
  shutdownTimeout?: number;
  /** Stop at SIGTERM and SIGINT. */
  signals?: boolean;
  /** Whether statements are prepared; false behind a pooler that does not know them. */
  prepare?: boolean;
  /** The version of the application, for people. */
  codeVersion?: string;
  log?: LogSink;
}

type Request = "pause" | "drain" | null;

export class Worker<P extends object = Record<string, protocol.Payload>> {
  readonly id = randomUUID();
  private readonly who: protocol.Identity;
  private readonly handlers: ReadonlyMap<string, Handler<never>>;
  private readonly log: Logger;
  private readonly claims: Session;
  private readonly finishes: Session;
  private readonly beats: Session;
  private readonly finisher: Finisher;
  private readonly listener: Listener;
  private readonly held = new Map<string, Attempt>();
  private readonly passedOver = new Map<string, number>();
  private readonly wakeup = new Wakeup();
  private readonly beatNow = new Wakeup();
  private readonly stopped = new Wakeup();
  private readonly pollInterval: number;
  private readonly shutdownTimeout: number;
  private readonly signals: boolean;
  private occupied = 0;
  private request: Request = null;
  private stopping = false;
  private over = false;
  private asleepUntil = 0;
  private looks = 0;
  private turn = 0;

  constructor(options: WorkerOptions<P>) {
    const { connection, handlers, queues = ["default"], concurrency = 10, lease = 30 } = options;
    const { pollInterval = 1, shutdownTimeout = 30, prepare = true } = options;
    inRange("concurrency", concurrency, 1, 10_000);
    inRange("lease", lease, 1, 86_400);
    inRange("pollInterval", pollInterval, 0.05, 3_600);
    inRange("shutdownTimeout", shutdownTimeout, 0, 86_400);
    if (queues.length === 0) {
      throw new RangeError("queues must name at least one queue");
    }
    this.handlers = new Map(Object.entries<Handler<never>>(handlers));
    this.who = {
      id: this.id,
      queues: [...queues],
      taskTypes: [...this.handlers.keys()],
      concurrency,
      lease,
      client: `typescript ${VERSION} (node ${process.versions.node})`,
      codeVersion: options.codeVersion ?? null,
      hostname: hostname(),
      pid: process.pid,
      running: () => this.occupied,
    };
    this.pollInterval = pollInterval * 1000;
    this.shutdownTimeout = shutdownTimeout * 1000;
    this.signals = options.signals ?? true;
    this.log = new Logger(options.log ?? jsonLines());
    const answer = Math.min(Math.max(lease * 1000, 5_000), 30_000);
    this.claims = new Session(connection, "claim", answer, prepare);
    this.finishes = new Session(connection, "finish", answer, prepare);
    this.beats = new Session(connection, "heartbeat", Math.min(Math.max(lease * 500, 1_000), 30_000), prepare);
    this.finisher = new Finisher(this.finishes, this.id, this.log, (attempt) => this.forget(attempt));
    this.listener = new Listener(
      options.listenConnection ?? connection,
      this.log,
      (channel, payload) => this.hear(channel, payload),
      () => this.look(),
    );
  }

  /** What it does at the moment. */
  get state(): "active" | "paused" | "draining" {
    return this.request === "drain" ? "draining" : this.request === "pause" ? "paused" : "active";
  }

  /** The number of tasks that it runs. */
  get running(): number {
    return this.occupied;
  }

  /** Work until stopped. Rejects when the database does not speak this protocol or refuses the worker. */
  async run(): Promise<void> {
    const stop = (): void => this.stop();
    if (this.signals) {
      process.on("SIGTERM", stop).on("SIGINT", stop);
    }
    try {
      await this.register();
      this.log.info("worker_started", { worker_id: this.id, queues: this.who.queues, task_types: this.who.taskTypes });
      const loops = [this.beatLoop(), this.listener.run(), this.upkeepLoop()];
      await this.claimLoop();
      await this.windDown();
      await settled(Promise.all(loops), ABORT_GRACE);
    } finally {
      this.over = true;
      process.off("SIGTERM", stop).off("SIGINT", stop);
      await settled(Promise.all([this.claims, this.finishes, this.beats].map((one) => one.close())), ABORT_GRACE);
      this.log.info("worker_stopped", { unwritten: this.finisher.unwritten });
    }
  }

  /** Let the worker end: it claims nothing more, lets handlers end, writes everything, gives the rest back. */
  stop(): void {
    this.stopping = true;
    this.wakeup.wake();
  }

  private async register(): Promise<void> {
    const backoff = new Backoff();
    for (;;) {
      try {
        return await protocol.register(this.claims, this.who);
      } catch (error) {
        if (!(error instanceof Unavailable) || this.stopping) {
          throw error;
        }
        this.log.warning("register_failed", { error: messageOf(error) });
        await pause(backoff.next());
      }
    }
  }

  // Claiming.

  private async claimLoop(): Promise<void> {
    const backoff = new Backoff();
    while (!this.stopping) {
      const free = this.who.concurrency - this.occupied;
      if (this.request === "drain" && this.held.size === 0) {
        this.log.info("worker_drained");
        return;
      }
      if (free <= 0 || this.request !== null || this.finisher.behind) {
        await this.wakeup.wait(1_000);
        continue;
      }
      try {
        const wanted = Math.min(free, MOST_CLAIMED);
        const claimed = await this.claim(wanted);
        backoff.reset();
        if (claimed > 0) {
          this.looks = 0;
          this.asleepUntil = 0;
        }
        if (claimed === 0) {
          await this.idle();
        } else if (claimed < wanted) {
          await this.wakeup.wait(BUSY_PAUSE); // more may come: no insert need notify it
        }
      } catch (error) {
        this.log.warning("claim_failed", { error: messageOf(error) });
        await this.wakeup.wait(backoff.next());
      }
    }
  }

  private async claim(wanted: number): Promise<number> {
    const sent = performance.now();
    const tasks = await this.claimPassable(this.queuesInTurn(), wanted);
    const leasedUntil = sent + this.who.lease * 1000;
    if (performance.now() >= leasedUntil) {
      // The process or the machine stood still: these are no longer ours.
      this.log.warning("lease_lost", { count: tasks.length, state: "waiting" });
      return tasks.length;
    }
    for (const task of tasks) {
      this.begin(task, leasedUntil);
    }
    return tasks.length;
  }

  private async claimPassable(queues: readonly string[], wanted: number): Promise<protocol.Claimed[]> {
    const now = performance.now();
    const passedOver = [...this.passedOver].filter(([, until]) => until > now).map(([id]) => id);
    const first = { queues, most: wanted, passedOver };
    try {
      return await protocol.claim(this.claims, this.who, first);
    } catch (error) {
      if (error instanceof Unavailable) {
        throw error;
      }
      const refused = await protocol.lookAtRefused(this.claims, this.who, first);
      for (const { id, task_type, message, dead } of refused) {
        this.log.error(dead ? "task_dead" : "task_set_aside", { task_id: id, task_type, error: message });
        if (!dead) {
          this.passedOver.set(id, now + SET_ASIDE);
        }
      }
      if (refused.length === 0) {
        throw error;
      }
      return protocol.claim(this.claims, this.who, { ...first, passedOver: [...this.passedOver.keys()] });
    }
  }

  /** Each claim begins with another queue. */
  private queuesInTurn(): readonly string[] {
    const { queues } = this.who;
    if (queues.length === 1) {
      return queues;
    }
    this.turn = (this.turn + 1) % queues.length;
    return [...queues.slice(this.turn), ...queues.slice(0, this.turn)];
  }

  private begin(task: protocol.Claimed, leasedUntil: number): void {
    const handler = this.handlers.get(task.task_type);
    if (handler === undefined) {
      return; // never claimed
    }
    const log = this.log.with({ task_id: task.id, task_type: task.task_type, attempt: task.attempt });
    const attempt = new Attempt(task, this.id, leasedUntil, log, {
      report: (one, outcome) => this.finisher.put(one, outcome),
      left: (one) => this.left(one),
      progress: (one, value) => void this.showProgress(one, value),
    });
    this.held.get(task.id)?.abort("lease_lost", "the task was claimed again");
    this.held.set(task.id, attempt);
    this.occupied += 1;
    void attempt.run(handler);
  }

  private left(attempt: Attempt): void {
    this.occupied -= 1;
    if (attempt.state === "dropped" && !attempt.interrupted) {
      this.forget(attempt);
    }
    this.wakeup.wake();
  }

  private forget(attempt: Attempt): void {
    if (this.held.get(attempt.task.id) === attempt) {
      this.held.delete(attempt.task.id);
    }
    if (this.request === "drain") {
      this.wakeup.wake();
    }
  }

  /** Sleep until something is due, a slot is free, or somebody wakes it; inserts notify it meanwhile. */
  private async idle(): Promise<void> {
    const now = performance.now();
    if (this.asleepUntil <= now) {
      const seconds = await protocol.sleep(this.claims, this.id);
      this.asleepUntil = performance.now() + (seconds === null ? this.pollInterval : seconds * 1000);
      this.looks = 0;
    }
    const next = SECOND_LOOKS[this.looks] ?? this.pollInterval;
    this.looks += 1;
    await this.wakeup.wait(Math.min(next, Math.max(this.asleepUntil - performance.now(), 0)));
  }

  /** Look for work now. */
  private look(): void {
    this.looks = 0;
    this.wakeup.wake();
  }

  // What others say.

  private hear(channel: string, payload: string): void {
    if (channel === CANCEL) {
      this.lose([payload], "cancelled");
    } else if (channel === WORKERS) {
      if (payload === this.id) {
        this.beatNow.wake();
      }
    } else if (channel === QUEUES || (channel === WORK && this.who.queues.includes(payload))) {
      this.look();
    }
  }

  /** Stop the handlers of tasks that are no longer ours. */
  private lose(ids: readonly string[], cause: "cancelled" | "lease_lost"): void {
    for (const id of ids) {
      const attempt = this.held.get(id);
      if (attempt !== undefined && attempt.state !== "dropped") {
        if (attempt.state === "running") {
          const event = cause === "cancelled" ? "task_cancelled" : "lease_lost";
          this.log.warning(event, { task_id: id, task_type: attempt.task.task_type });
        }
        attempt.abort(cause, cause === "cancelled" ? "the task was cancelled" : "another worker may have the task");
        this.forget(attempt);
      }
    }
  }

  // The heartbeat.

  private async beatLoop(): Promise<void> {
    const every = (this.who.lease * 1000) / 3;
    let next = every;
    while (!this.over) {
      await this.beatNow.wait(next);
      if (this.over) {
        return;
      }
      try {
        await this.beat();
        next = every;
      } catch (error) {
        this.log.warning("heartbeat_failed", { error: messageOf(error) });
        next = Math.min(every, 1_000);
      }
      // What could not be renewed in time may be another worker's.
      const now = performance.now();
      const late = [...this.held.values()].filter((one) => one.state === "running" && one.leasedUntil <= now);
      this.lose(late.map((one) => one.task.id), "lease_lost");
    }
  }

  private async beat(): Promise<void> {
    const sent = performance.now();
    const held = [...this.held.values()].filter((one) => one.state !== "dropped");
    const answer = await protocol.beat(this.beats, this.who, held.map((one) => one.task), this.state);
    const lost = new Set([...answer.lost, ...answer.cancelled]);
    for (const attempt of held) {
      if (!lost.has(attempt.task.id)) {
        attempt.leasedUntil = sent + this.who.lease * 1000;
      }
    }
    // An outcome that is being written is no longer ours in the moment in which it is; its finish says so itself.
    const running = held.filter((one) => one.state === "running").map((one) => one.task.id);
    this.lose(running.filter((id) => answer.cancelled.includes(id)), "cancelled");
    this.lose(running.filter((id) => answer.lost.includes(id)), "lease_lost");
    if (!answer.registered) {
      await protocol.register(this.beats, this.who);
    }
    if (answer.request !== this.request) {
      this.request = answer.request;
      this.log.info("request_obeyed", { state: this.state });
      this.wakeup.wake();
      this.beatNow.wake(); // so that its row says so
    }
  }

  private async upkeepLoop(): Promise<void> {
    while (!this.over) {
      try {
        await protocol.upkeep(this.beats);
      } catch (error) {
        this.log.warning("upkeep_failed", { error: messageOf(error) });
      }
      await this.stopped.wait(UPKEEP_EVERY);
    }
  }

  private async showProgress(attempt: Attempt, value: string): Promise<void> {
    try {
      await protocol.progress(this.beats, this.id, attempt.task, value);
    } catch (error) {
      this.log.warning("progress_not_written", { task_id: attempt.task.id, error: messageOf(error) });
    }
  }

  // The end.

  private async windDown(): Promise<void> {
    await this.slotsEmpty(this.shutdownTimeout);
    const late = [...this.held.values()].filter((one) => one.state === "running");
    if (late.length > 0) {
      this.log.warning("handing_back", { running: late.length });
      for (const attempt of late) {
        attempt.abort("shutdown", "the worker stops");
      }
      await this.slotsEmpty(ABORT_GRACE);
    }
    await this.finisher.stop(FLUSH_GRACE);
    const rest = [...this.held.values()].filter((one) => one.state === "running" || one.state === "dropped");
    for (const attempt of rest) {
      attempt.drop();
    }
    await this.tell("release", () => protocol.release(this.claims, this.id, rest.map((one) => one.task)));
    this.over = true;
    this.beatNow.wake();
    this.stopped.wake();
    await this.listener.stop();
    await this.tell("unregister", () => protocol.unregister(this.claims, this.id));
  }

  private async slotsEmpty(milliseconds: number): Promise<void> {
    const until = performance.now() + milliseconds;
    while ([...this.held.values()].some((one) => one.state === "running") && performance.now() < until) {
      await this.wakeup.wait(Math.min(until - performance.now(), 100));
    }
  }

  /** If the database does not answer, leases run out by themselves. */
  private async tell(what: string, call: () => Promise<void>): Promise<void> {
    try {
      await within(call(), FLUSH_GRACE);
    } catch (error) {
      this.log.warning(`${what}_failed`, { error: messageOf(error) });
    }
  }
}

function inRange(name: string, value: number, low: number, high: number): void {
  if (!(value >= low && value <= high)) {
    throw new RangeError(`${name} must be between ${low} and ${high}, got ${value}`);
  }
}
