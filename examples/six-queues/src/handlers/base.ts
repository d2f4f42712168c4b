import type { Context, Job } from "lessor";
import type { Pool, PoolClient } from "pg";

/** What the work of a job has besides its payload. */
export interface Step {
  /** The transaction of the job: everything it writes here is kept together, or not at all. */
  readonly sql: PoolClient;
  readonly context: Context;
}

/**
 * Does jobs at least once and has their effect exactly once: the rows of a job and the note that it is
 * done are one transaction. An attempt that comes after the effect, because the worker died before its
 * ack, finds the note and returns what the first one returned. One that comes while an earlier one
 * still writes waits for it at the note.
 */
export abstract class BaseHandler<Data, Result> {
  constructor(private readonly database: Pool) {}

  protected abstract work(data: Data, step: Step): Promise<Result>;

  /** The handler of a worker. */
  readonly run = async (job: Job<Data>, context: Context): Promise<Result> => {
    const sql = await this.database.connect();
    try {
      await sql.query("begin");
      const { rowCount } = await sql.query(
        "insert into effects (job) values ($1) on conflict do nothing",
        [job.name],
      );
      if (rowCount === 0) return await this.#earlier(job, sql);
      const result = await this.work(job.data, { sql, context });
      await sql.query("update effects set result = $2 where job = $1", [
        job.name,
        JSON.stringify(result),
      ]);
      // The job may have been cancelled, or somebody else may have it by now.
      context.signal.throwIfAborted();
      await sql.query("commit");
      return result;
    } catch (error) {
      await sql.query("rollback").catch(() => {});
      throw error;
    } finally {
      sql.release();
    }
  };

  async #earlier(job: Job<Data>, sql: PoolClient): Promise<Result> {
    await sql.query("rollback");
    const { rows } = await sql.query("select result from effects where job = $1", [job.name]);
    return rows[0].result;
  }
}
