import { BaseHandler, type Step } from "./base.js";

export interface EmailSend {
  to: string[];
  subject: string;
  body: string;
}

/** Puts an e-mail for each recipient into the outbox of the mail server. */
export class EmailSendHandler extends BaseHandler<EmailSend, { sent: number }> {
  protected async work({ to, subject, body }: EmailSend, { sql }: Step) {
    const { rowCount } = await sql.query(
      "insert into emails (recipient, subject, body) select unnest($1::text[]), $2, $3",
      [to, subject, body],
    );
    return { sent: rowCount ?? 0 };
  }
}
