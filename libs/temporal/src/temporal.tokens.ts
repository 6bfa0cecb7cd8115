/** Token of {@link TemporalConfig} in the container. */
export const TEMPORAL_CONFIG = Symbol('TEMPORAL_CONFIG');
