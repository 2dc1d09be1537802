import { pino } from 'pino';

/** For where there is nobody to read a log. */
export const silentLogger = pino({ level: 'silent' });
