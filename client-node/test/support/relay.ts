// A connection to the broker that can be broken, silenced or half cut.

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { TestContext } from "node:test";

export class Relay {
  /** Connections made so far. */
  connections = 0;
  /** What the broker says is dropped. */
  isDeaf = false;
  /** Nothing passes either way, and nothing is closed. */
  isHeld = false;
  readonly #pairs = new Set<[Socket, Socket]>();

  private constructor(
    private readonly server: Server,
    private readonly target: number,
  ) {
    server.on("connection", (near) => this.#accept(near));
  }

  static async to(t: TestContext, address: string): Promise<Relay> {
    const server = createServer();
    const relay = new Relay(server, Number(new URL(address).port));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => {
      server.close();
      relay.cut();
    });
    return relay;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Breaks all connections. */
  cut(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  #accept(near: Socket): void {
    this.connections += 1;
    const far = connect(this.target, "127.0.0.1");
    const pair: [Socket, Socket] = [near, far];
    // What began in silence stays silent.
    const isHeld = () => this.isHeld || held;
    let held = this.isHeld;
    this.#pairs.add(pair);
    near.on("data", (bytes) => {
      held = isHeld();
      if (!held) far.write(bytes);
    });
    far.on("data", (bytes) => {
      held = isHeld();
      if (!held && !this.isDeaf) near.write(bytes);
    });
    for (const [socket, other] of [pair, [far, near] as const]) {
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#pairs.delete(pair);
        other.destroy();
      });
    }
  }
}
