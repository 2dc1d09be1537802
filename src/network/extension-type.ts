/** An extension of the network API, as clients find it in `GET /extensions` before they use what not every cloud has. */
export interface Extension {
  readonly alias: string;
  /** As Neutron names it; clients show it. */
  readonly name: string;
  readonly description: string;
  /** When Neutron last changed what it means. */
  readonly updated: string;
}
