import { BaseHandler, type Step } from "./base.js";

export interface Cleanup {
  maxAgeDays: number;
}

/** Removes what nobody needs any more, the notes about effects included. */
export class CleanupHandler extends BaseHandler<Cleanup, { removed: number }> {
  protected async work({ maxAgeDays }: Cleanup, { sql }: Step) {
    let removed = 0;
    for (const [table, column] of [
      ["emails", "created_at"],
      ["exports", "created_at"],
      ["backups", "created_at"],
      ["effects", "at"],
    ]) {
      const { rowCount } = await sql.query(
        `delete from ${table} where ${column} < now() - make_interval(days => $1)`,
        [maxAgeDays],
      );
      removed += rowCount ?? 0;
    }
    return { removed };
  }
}
