// Who is on the other side: a site that takes webhooks, and a mail server. Both keep what they get.

import { EventEmitter, once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { json, text } from "node:stream/consumers";
import { SMTPServer } from "smtp-server";

export interface Delivery {
  readonly headers: IncomingHttpHeaders;
  readonly body: { event: string; data: unknown };
}

/** A site that takes webhooks, or does not. */
export class Site extends EventEmitter<{ delivery: [Delivery] }> {
  /** What it answers next, before it takes what comes. */
  readonly answers: { status: number; headers?: Record<string, string> }[] = [];
  readonly deliveries: Delivery[] = [];
  readonly #server = createServer(async (request, response) => {
    const delivery = { headers: request.headers, body: (await json(request)) as Delivery["body"] };
    const { status, headers } = this.answers.shift() ?? { status: 204 };
    response.writeHead(status, headers).end();
    this.deliveries.push(delivery);
    this.emit("delivery", delivery);
  });

  async listen(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/hook`;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

export interface Mail {
  readonly to: string[];
  readonly text: string;
}

/** A mail server. */
export class MailServer {
  readonly mails: Mail[] = [];
  /** So many mails are refused for now. */
  refuse = 0;
  readonly #server = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS"],
    onData: async (stream, session, done) => {
      const mail = {
        to: session.envelope.rcptTo.map(({ address }) => address),
        text: await text(stream),
      };
      if (this.refuse > 0) {
        this.refuse -= 1;
        done(Object.assign(new Error("try again later"), { responseCode: 451 }));
        return;
      }
      this.mails.push(mail);
      done();
    },
  });

  async listen(): Promise<string> {
    const server = this.#server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return `smtp://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.close();
  }
}
