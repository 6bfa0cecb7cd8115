import { Body, Controller, HttpCode, Param, Post } from '@nestjs/common';
import { ApiBearerAuth, ApiTags } from '@nestjs/swagger';
import { ApiRoute, parseBody } from '@opsloop/platform';
import { z } from 'zod';
import { type VerifyAnswer, VerifyService } from './verify.service.js';

const VerifyBody = z.strictObject({
  version: z.string().max(200).optional().describe('range; default the newest'),
});

@ApiTags('catalog')
@ApiBearerAuth()
@Controller('v1/catalog/atom/:name/verify')
export class VerifyController {
  constructor(private readonly verify: VerifyService) {}

  @Post()
  @ApiRoute('Tries an atom on its worker, with the input that its manifest calls safe', { body: VerifyBody })
  @HttpCode(200)
  run(@Param('name') name: string, @Body() body: unknown): Promise<VerifyAnswer> {
    return this.verify.verify(name, parseBody(VerifyBody, body ?? {}).version);
  }
}
