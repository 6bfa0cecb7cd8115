// Who plays what. Four victims in two racks; two of them are of the payment team, whose own rule wants them as well.
export const VICTIMS = [
  'host/dc1/rack1/web-01',
  'host/dc1/rack1/web-02',
  'host/dc1/rack2/web-05',
  'host/dc1/rack2/web-07',
];
/** Its restart exits 0 and it stays sick until it is replaced. */
export const LIAR = 'host/dc1/rack2/web-07';
/** Dies during the halt and must wait for the lift. */
export const LATE = 'host/dc1/rack3/web-12';
/** Dies during the halt and is repaired by hand meanwhile: its start must be withdrawn. */
export const BY_HAND = 'host/dc1/rack3/web-10';
