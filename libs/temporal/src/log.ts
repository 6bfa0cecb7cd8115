export type { Log } from '@opsloop/embedded';
