import { BaseHandler, type Step } from "./base.js";

export interface ReportGeneration {
  /** `2026-01` */
  month: string;
}

export interface Report {
  month: string;
  changes: number;
  averageCents: number;
}

/** Sums up the price changes of a month. */
export class ReportGenerationHandler extends BaseHandler<ReportGeneration, Report> {
  protected async work({ month }: ReportGeneration, { sql }: Step) {
    const { rows } = await sql.query(
      `insert into reports
       select $1, count(*), coalesce(round(avg(cents)), 0) from price_changes
       where to_char(changed_at at time zone 'UTC', 'YYYY-MM') = $1
       on conflict (month) do update
       set changes = excluded.changes, average_cents = excluded.average_cents
       returning changes, average_cents`,
      [month],
    );
    const { changes, average_cents } = rows[0];
    return { month, changes: Number(changes), averageCents: Number(average_cents) };
  }
}
