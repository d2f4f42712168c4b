/** An order of the shop. */
export interface Order {
  readonly id: string;
  readonly email: string;
  readonly cents: number;
}

/** The orders, in memory: yours are in a database. */
export class Orders {
  readonly #orders = new Map<string, Order>();

  add(order: Order): void {
    this.#orders.set(order.id, order);
  }

  list(): Order[] {
    return [...this.#orders.values()];
  }
}
