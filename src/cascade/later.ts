/** Not yet: nothing is wrong, but the work must be looked at again after `again_ms`. */
export class Later extends Error {
  constructor(
    readonly again_ms: number,
    message: string,
  ) {
    super(message);
    this.name = 'Later';
  }
}
