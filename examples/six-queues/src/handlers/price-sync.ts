import { BaseHandler, type Step } from "./base.js";

export interface PriceSync {
  products: { sku: string; cents: number }[];
  /** Products per batch. Default 100. */
  batch?: number;
}

/** Takes over prices from a supplier, batch by batch, and writes down what changed. */
export class PriceSyncHandler extends BaseHandler<PriceSync, { changed: number }> {
  protected async work({ products, batch = 100 }: PriceSync, { sql, context }: Step) {
    let changed = 0;
    for (let done = 0; done < products.length; ) {
      const some = products.slice(done, done + batch);
      const { rowCount } = await sql.query(
        `with given as (select * from unnest($1::text[], $2::bigint[]) as given (sku, cents)),
         changes as (
           insert into prices select * from given
           on conflict (sku) do update set cents = excluded.cents
           where prices.cents <> excluded.cents
           returning sku, cents
         )
         insert into price_changes (sku, cents) select * from changes`,
        [some.map(({ sku }) => sku), some.map(({ cents }) => cents)],
      );
      changed += rowCount ?? 0;
      done += some.length;
      const { length: total } = products;
      // Not waited for: a broker that is away holds nothing up.
      void context.progress({ percent: Math.floor((100 * done) / total), done, total });
      context.signal.throwIfAborted();
    }
    return { changed };
  }
}
