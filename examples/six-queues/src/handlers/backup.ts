import { UnrecoverableError } from "lessor";
import { isTable } from "../database.js";
import { BaseHandler, type Step } from "./base.js";

export interface Backup {
  tables: string[];
}

/** Copies tables as they are at one moment. */
export class BackupHandler extends BaseHandler<Backup, { rows: number }> {
  protected async work({ tables }: Backup, { sql, context }: Step) {
    let rows = 0;
    for (const [done, table] of tables.entries()) {
      // Trying again would not make a table of it.
      if (!isTable(table)) throw new UnrecoverableError(`there is no table ${table}`);
      const saved = await sql.query(
        `insert into backups (name, rows)
         select $1, coalesce(jsonb_agg(to_jsonb(it)), '[]') from ${table} as it
         returning jsonb_array_length(rows) as count`,
        [table],
      );
      rows += saved.rows[0].count;
      void context.progress({ message: table, done: done + 1, total: tables.length });
    }
    return { rows };
  }
}
