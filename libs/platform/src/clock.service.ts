import { Injectable } from '@nestjs/common';

/** The only source of time for services; pure code gets the time as an argument, tests give their own clock. */
@Injectable()
export class Clock {
  now(): Date {
    return new Date();
  }
}
