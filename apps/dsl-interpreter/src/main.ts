/** dsl-interpreter in a process of its own. */
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { createHttpApp, platformConfigFromEnv, PlatformModule } from '@opsloop/platform';
import { TemporalModule, temporalConfigFromEnv } from '@opsloop/temporal';
import { dslInterpreterConfigFromEnv, readEnvironment, VERSION } from './config.js';
import { DslInterpreterModule } from './dsl-interpreter.module.js';

const env = readEnvironment();
const platform = platformConfigFromEnv(env, VERSION);

@Module({
  imports: [
    PlatformModule.forRoot(platform),
    TemporalModule.forRoot(temporalConfigFromEnv(env)),
    DslInterpreterModule.register(dslInterpreterConfigFromEnv(env)),
  ],
})
class Main {}

// Probes, metrics and readiness only: this app has no API of its own.
const app = await createHttpApp(Main, { title: 'opsloop dsl-interpreter' });
await app.listen(platform.port, platform.host);
