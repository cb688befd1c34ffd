/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

struct slipring_ring *ring_new(const struct slipring_config *config)
{
    struct slipring_ring *ring;
    struct slipring_error error = {0};
    if (slipring_ring_create(NULL, config, &ring, &error) != 0) {
        FAIL("%s: %s", error.call, error.text);
    }
    return ring;
}

struct slipring_ring *ring_simple(uint64_t slot_bytes, uint64_t slots)
{
    struct slipring_config config;
    slipring_config_init(&config);
    config.slot_bytes = slot_bytes;
    config.slots = slots;
    return ring_new(&config);
}

struct slipring_producer *ring_producer(struct slipring_ring *ring, enum slipring_wait wait)
{
    struct slipring_producer_config config;
    struct slipring_producer *producer;
    struct slipring_error error = {0};
    slipring_producer_config_init(&config);
    config.wait = wait;
    if (slipring_producer_attach(ring, &config, &producer, &error) != 0) {
        FAIL("%s: %s", error.call, error.text);
    }
    return producer;
}

struct slipring_consumer *ring_consumer(struct slipring_ring *ring, enum slipring_wait wait)
{
    struct slipring_consumer_config config;
    struct slipring_consumer *consumer;
    struct slipring_error error = {0};
    slipring_consumer_config_init(&config);
    config.wait = wait;
    if (slipring_consumer_attach(ring, &config, &consumer, &error) != 0) {
        FAIL("%s: %s", error.call, error.text);
    }
    return consumer;
}
