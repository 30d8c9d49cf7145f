/** The worker protocol, version 1: one function of the database for each call. See docs/worker_protocol.md. */

import type { Queryable } from "./schedule.js";
import type { Session, Statement } from "./session.js";

export const PROTOCOL = 1;

/** A task as a claim returned it. */
export interface Claimed {
  readonly id: string;
  readonly fencing_token: string;
  readonly task_type: string;
  readonly queue: string;
  readonly payload: Payload;
  readonly attempt: number;
  readonly max_attempts: number;
  /** Seconds. */
  readonly timeout: number | null;
  /** Milliseconds: a session may show dates in any style. */
  readonly scheduled_for: number | null;
  readonly details: Details | null;
}

export type Payload = Record<string, unknown>;

/** What else a task says; what it does not say is left out. */
export interface Details {
  readonly task_name?: string;
  readonly tags?: string[];
  readonly metadata?: Record<string, unknown>;
  readonly tenant_id?: string;
  readonly user_id?: string;
  readonly created_by?: string;
  readonly idempotency_key?: string;
  readonly parent_id?: number;
  readonly depends_on?: number[];
  readonly schedule_type?: "recurring" | "repeating";
  readonly priority?: number;
}

export interface Claim {
  readonly id: string;
  readonly fencing_token: string;
}

export type OutcomeKind = "completed" | "failed" | "timed_out" | "discarded" | "snoozed" | "ended";

/** What became of an attempt. */
export interface Outcome extends Claim {
  readonly outcome: OutcomeKind;
  /** JSON text. */
  readonly result?: string;
  readonly error?: string;
  /** How long the handler ran. */
  readonly seconds: number;
  readonly retry_in?: number;
}

export interface Written {
  readonly written: number;
  readonly fenced: string[];
  readonly locked: string[];
}

export interface Beat {
  readonly registered: boolean;
  readonly request: "pause" | "drain" | null;
  readonly cancelled: string[];
  readonly lost: string[];
}

export interface Identity {
  readonly id: string;
  readonly queues: readonly string[];
  readonly taskTypes: readonly string[];
  readonly concurrency: number;
  /** Seconds. */
  readonly lease: number;
  readonly client: string;
  readonly codeVersion: string | null;
  readonly hostname: string;
  readonly pid: number;
  /** How many of its slots are occupied. */
  running(): number;
}

const call = (name: string, text: string): Statement => ({ name: `pgsched_${name}`, text });

const REGISTER = call(
  "register",
  `select pgsched.register_worker(worker => $1, queues => $2, task_types => $3, concurrency => $4,
    lease => make_interval(secs => $5), client => $6, code_version => $7, hostname => $8, pid => $9, protocol => $10)`,
);
const CLAIM = call(
  "claim",
  `select id, fencing_token, task_type, queue, payload, attempt, max_attempts, timeout, details,
    (extract(epoch from scheduled_for) * 1000)::float8 as scheduled_for
  from pgsched.claim($1, $2, $3, $4, make_interval(secs => $5), $6)`,
);
const LOOK = call("look_at_refused", "select * from pgsched.look_at_refused($1, $2, $3, $4, $5)");
const FINISH = call("finish", "select * from pgsched.finish($1, $2)");
const BEAT = call(
  "beat",
  "select * from pgsched.beat($1, $2, $3, running => $4, lease => make_interval(secs => $5), state => $6)",
);
const RELEASE = call("release", "select pgsched.release($1, $2, $3)");
const SLEEP = call("sleep", "select pgsched.sleep($1) as seconds");
const PROGRESS = call("progress", "select pgsched.report_progress($1, $2, $3, $4)");
const UPKEEP = call("upkeep", "select pgsched.upkeep()");
const LEAVE = call("leave", "select pgsched.unregister_worker($1)");

export async function register(session: Session, who: Identity): Promise<void> {
  const { id, queues, taskTypes, concurrency, lease, client, codeVersion, hostname, pid } = who;
  const values = [id, queues, taskTypes, concurrency, lease, client, codeVersion, hostname, pid, PROTOCOL];
  await session.query(REGISTER, values);
}

/** What a claim looks at. */
export interface Wanted {
  readonly queues: readonly string[];
  readonly most: number;
  readonly passedOver: readonly string[];
}

export async function claim(session: Session, who: Identity, { queues, most, passedOver }: Wanted): Promise<Claimed[]> {
  return session.query<Claimed>(CLAIM, [who.id, queues, who.taskTypes, most, who.lease, passedOver]);
}

/** A task that the database lets nobody claim. */
export interface RefusedTask {
  readonly id: string;
  readonly task_type: string;
  readonly message: string;
  readonly dead: boolean;
}

/** After a claim that was refused: find the tasks that are the reason. */
export async function lookAtRefused(session: Session, who: Identity, wanted: Wanted): Promise<RefusedTask[]> {
  return session.query<RefusedTask>(LOOK, [who.id, wanted.queues, who.taskTypes, wanted.most, wanted.passedOver]);
}

/** Write outcomes in one transaction. */
export async function finish(session: Session, worker: string, outcomes: readonly Outcome[]): Promise<Written> {
  const [row] = await session.query<Written>(FINISH, [worker, `[${outcomes.map(outcomeText).join(",")}]`]);
  return row ?? { written: 0, fenced: [], locked: [] };
}

/** Write one outcome in a transaction of somebody else's; resolves to whether the task was still the worker's. */
export async function finishIn(transaction: Queryable, worker: string, outcome: Outcome): Promise<boolean> {
  const { rows } = await transaction.query<Written>(FINISH.text, [worker, `[${outcomeText(outcome)}]`]);
  return rows[0]?.written === 1;
}

/** The result is JSON text already: it is not encoded twice. */
function outcomeText({ result, ...rest }: Outcome): string {
  const text = JSON.stringify(rest);
  return result === undefined ? text : `${text.slice(0, -1)},"result":${result}}`;
}

export async function beat(session: Session, who: Identity, held: readonly Claim[], state: string): Promise<Beat> {
  const [row] = await session.query<Beat>(BEAT, [who.id, ...columns(held), who.running(), who.lease, state]);
  return row ?? { registered: false, request: null, cancelled: [], lost: [] };
}

export async function release(session: Session, worker: string, held: readonly Claim[]): Promise<void> {
  await session.query(RELEASE, [worker, ...columns(held)]);
}

/** Say that this worker sleeps; returns the seconds until something is due, null when it is not on the list. */
export async function sleep(session: Session, worker: string): Promise<number | null> {
  const [row] = await session.query<{ seconds: number | null }>(SLEEP, [worker]);
  return row?.seconds ?? null;
}

export async function progress(session: Session, worker: string, claim: Claim, value: string): Promise<void> {
  await session.query(PROGRESS, [worker, claim.id, claim.fencing_token, value]);
}

export async function upkeep(session: Session): Promise<void> {
  await session.query(UPKEEP, []);
}

export async function unregister(session: Session, worker: string): Promise<void> {
  await session.query(LEAVE, [worker]);
}

function columns(held: readonly Claim[]): [string[], string[]] {
  return [held.map((one) => one.id), held.map((one) => one.fencing_token)];
}
