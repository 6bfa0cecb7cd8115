import { Body, Controller, HttpCode, Param, Post } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import { ApiRoute, parseBody } from '@opsloop/platform';
import { z } from 'zod';
import type { TestedDelivery } from './test-delivery.service.js';
import { TestDeliveryService } from './test-delivery.service.js';

/** As much as one delivery may have. */
const BODY_CHARS_MAX = 500_000;
const HEADERS_MAX = 100;
const TestBody = z.strictObject({
  headers: z
    .record(z.string().max(200), z.string().max(8_000))
    .refine((headers) => Object.keys(headers).length <= HEADERS_MAX, `at most ${HEADERS_MAX}`)
    .default({}),
  /** As it would come: text, byte for byte. */
  body: z.string().max(BODY_CHARS_MAX),
});

@ApiTags('sources')
@ApiBearerAuth()
@Controller('v1/sources')
export class TestDeliveryController {
  constructor(private readonly service: TestDeliveryService) {}

  @Post(':name/test')
  @ApiRoute('What a source would make of a delivery; nothing is stored', { body: TestBody })
  @HttpCode(200)
  test(@Param('name') name: string, @Body() body: unknown): Promise<TestedDelivery> {
    const delivery = parseBody(TestBody, body);
    return this.service.test(name, delivery.headers, delivery.body);
  }
}
