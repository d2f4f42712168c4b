import type { Job } from "lessor";
import { createTransport } from "nodemailer";
import type { Email } from "../jobs.js";

/** Sends e-mails through a mail server. What it throws, such as a refusal for now, is tried again. */
export function emailHandler(smtpUrl: string) {
  const transport = createTransport(smtpUrl);
  return async ({ id, data }: Job<Email>) => {
    const { messageId, accepted } = await transport.sendMail({
      from: "shop@example.com",
      ...data,
      // The same over all attempts: mail servers drop what they have already.
      messageId: `<${id}@example.com>`,
    });
    return { messageId, accepted: accepted.length };
  };
}
