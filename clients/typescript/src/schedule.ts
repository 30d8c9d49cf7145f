/** Inserts tasks through the SQL function pgsched.schedule, on a connection of the caller's: in its transaction. */

import type { QueryResult, QueryResultRow } from "pg";

/** What `schedule` needs of a `pg.Client`, `pg.Pool` or `pg.PoolClient`. */
export interface Queryable {
  query<Row extends QueryResultRow>(text: string, values: unknown[]): Promise<QueryResult<Row>>;
}

/** The arguments of pgsched.schedule. Intervals are PostgreSQL's: `"90 seconds"`, `"1 day"`. */
export interface ScheduleOptions {
  run_at?: Date | string;
  delay?: string;
  cron_expression?: string;
  timezone?: string;
  repeat_interval?: string;
  repeat_count?: number;
  start_date?: Date | string;
  end_date?: Date | string;
  queue?: string;
  priority?: number;
  idempotency_key?: string;
  task_name?: string;
  tags?: string[];
  metadata?: Record<string, unknown>;
  tenant_id?: string;
  user_id?: string;
  created_by?: string;
  max_attempts?: number;
  backoff?: "exponential" | "linear" | "fixed";
  backoff_delay?: string;
  backoff_max?: string;
  timeout?: string;
  on_missed?: "once" | "skip" | "all";
  catchup_window?: string;
  overlap?: "skip" | "allow";
  jitter?: string;
  depends_on?: string[];
  concurrency_key?: string;
  expires_at?: Date | string;
}

/** Schedule a task; resolves to its id, or to that of the task that has its idempotency_key. */
export async function schedule(
  connection: Queryable,
  taskType: string,
  payload: object = {},
  options: ScheduleOptions = {},
): Promise<string> {
  const values: unknown[] = [taskType, JSON.stringify(payload)];
  const given = ["task_type => $1", "payload => $2"];
  for (const [name, value] of Object.entries(options)) {
    if (!/^[a-z_]+$/.test(name)) {
      throw new TypeError(`option must be an argument of pgsched.schedule, got ${name}`);
    }
    if (value !== undefined) {
      values.push(name === "metadata" ? JSON.stringify(value) : value);
      given.push(`${name} => $${values.length}`);
    }
  }
  const { rows } = await connection.query<{ id: string }>(`select pgsched.schedule(${given.join(", ")}) as id`, values);
  const id = rows[0]?.id;
  if (id === undefined) {
    throw new Error("pgsched.schedule returned no id");
  }
  return id;
}
