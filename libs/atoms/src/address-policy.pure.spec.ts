import { describe, expect, it } from 'vitest';
import { parseAllow, refusal, type AddressPolicy } from './address-policy.pure.js';

const closed: AddressPolicy = { allow: [], embedded: false, ownPorts: new Set() };
const embedded: AddressPolicy = { allow: [], embedded: true, ownPorts: new Set([7300, 7301]) };

describe('refusal', () => {
  it.each([
    '0.0.0.0',
    '0.1.2.3',
    '10.0.0.1',
    '10.255.255.255',
    '100.64.0.1',
    '127.0.0.1',
    '127.255.0.1',
    '169.254.1.1',
    '169.254.169.254',
    '172.16.0.1',
    '172.31.255.255',
    '192.0.0.8',
    '192.0.2.1',
    '192.88.99.1',
    '192.168.1.1',
    '198.18.0.1',
    '198.19.255.255',
    '198.51.100.7',
    '203.0.113.7',
    '224.0.0.1',
    '239.255.255.255',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::7f00:1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '::ffff:10.0.0.1',
    '::ffff:a9fe:a9fe',
    '64:ff9b::10.0.0.1',
    '64:ff9b::7f00:1',
    '64:ff9b:1::1',
    '100::1',
    '2001::1',
    '2001:db8::1',
    '2002:7f00:1::',
    'fc00::1',
    'fd12:3456::1',
    'fe80::1',
    'fe80::1%eth0',
    'fec0::1',
    'ff02::1',
    '0:0:0:0:0:0:0:1',
    '0:0:0:0:0:ffff:127.0.0.1',
    'not-an-address',
    '',
  ])('refuses %s', (address) => {
    expect(refusal(address, 443, closed)).toBeDefined();
  });

  it.each([
    '8.8.8.8',
    '1.1.1.1',
    '172.15.0.1',
    '172.32.0.1',
    '100.63.255.255',
    '100.128.0.1',
    '2606:4700::1111',
    '::ffff:8.8.8.8',
    '64:ff9b::808:808',
  ])('lets %s through', (address) => {
    expect(refusal(address, 443, closed)).toBeUndefined();
  });

  it.each([
    '169.254.169.254',
    '169.254.170.2',
    '100.100.100.200',
    '168.63.129.16',
    'fd00:ec2::254',
    '::ffff:169.254.169.254',
    '::ffff:a9fe:a9fe',
    '64:ff9b::a9fe:a9fe',
  ])('refuses the metadata address %s whatever is allowed', (address) => {
    const open = { ...embedded, allow: parseAllow(['0.0.0.0/0', '::/0']) };
    expect(refusal(address, 80, open)).toMatch(/metadata/);
  });

  it.each([
    ['127.0.0.1', 8080, true],
    ['127.9.9.9', 8080, true],
    ['::ffff:127.0.0.1', 8080, true],
    ['127.0.0.1', 7300, false],
    ['127.0.0.2', 7301, false],
    ['::1', 7300, false],
    ['10.0.0.1', 8080, false],
    ['0.0.0.0', 8080, false],
  ])('embedded: %s:%i allowed is %s', (address, port, allowed) => {
    expect(refusal(address, port, embedded) === undefined).toBe(allowed);
  });

  it('never opens own ports, not even by the allow list', () => {
    expect(refusal('127.0.0.1', 7300, { ...embedded, allow: parseAllow(['127.0.0.0/8']) })).toMatch(/opsloop itself/);
  });

  it.each([
    ['10.0.0.0/8', '10.1.2.3', 443, true],
    ['10.0.0.0/8', '11.1.2.3', 443, true],
    ['10.0.0.0/8', '192.168.0.1', 443, false],
    ['10.1.2.3', '10.1.2.3', 80, true],
    ['10.1.2.3', '10.1.2.4', 80, false],
    ['10.0.0.0/8:8080', '10.1.2.3', 8080, true],
    ['10.0.0.0/8:8080', '10.1.2.3', 8081, false],
    ['10.0.0.0/8', '::ffff:10.1.2.3', 80, true],
    ['fd00::/8', 'fd00::1', 80, true],
    ['[fd00::/8]:443', 'fd00::1', 443, true],
    ['[fd00::/8]:443', 'fd00::1', 80, false],
  ])('%s and %s:%i: allowed is %s', (entry, address, port, allowed) => {
    expect(refusal(address, port, { ...closed, allow: parseAllow([entry]) }) === undefined).toBe(allowed);
  });
});

describe('parseAllow', () => {
  it.each([
    '',
    '10.0.0.0/33',
    '10.0.0.0/x',
    'example.com',
    '10.0.0.0/8:70000',
    '10.0.0/8',
    'fd00::/129',
    '10.0.0.0/8/8',
    '*',
  ])('refuses "%s"', (entry) => {
    expect(() => parseAllow([entry])).toThrow(/OPSLOOP_HTTP_ALLOW/);
  });
});
