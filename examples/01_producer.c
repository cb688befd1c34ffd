/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The producer's three calls: create a ring, attach to it, claim slots; then write in place and
 * publish. Sends 1000 images of 64 x 64 floats, four at a time, to 01_consumer.
 *
 *     cc -std=c11 01_producer.c -o 01_producer $(pkg-config --cflags --libs slipring)
 *     ./01_producer [NAME]     in one terminal,
 *     ./01_consumer [NAME]     in another, within ten seconds, in either order
 */
#include <slipring/slipring.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { IMAGES = 1000, BATCH = 4, SIDE = 64 };
#define PATIENCE_NS INT64_C(10000000000)

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "01_producer: %s: %s\n", what, why);
    return EXIT_FAILURE;
}

static void draw(float *pixels, uint64_t number)
{
    for (int i = 0; i < SIDE * SIDE; i++) {
        pixels[i] = (float)(number + (uint64_t)i);
    }
}

/* Borrow, write, publish: the images never exist anywhere but in the ring. */
static int send_images(struct slipring_producer *producer)
{
    for (uint64_t number = 0; number < IMAGES; number += BATCH) {
        struct slipring_loan loan;
        int rc = slipring_producer_claim(producer, BATCH, &loan, slipring_now_ns() + PATIENCE_NS);
        if (rc == -ETIMEDOUT) {
            return failed("claim", "nobody reads; start 01_consumer in another terminal");
        }
        if (rc < 0) {
            return failed("claim", slipring_strerror(rc));
        }
        for (uint64_t i = 0; i < loan.slots; i++) {
            draw((float *)((char *)loan.data + i * loan.stride), number + i);
        }
        rc = slipring_producer_publish(producer, loan.slots, NULL);
        if (rc < 0) {
            return failed("publish", slipring_strerror(rc));
        }
    }
    printf("01_producer: published %d images\n", IMAGES);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "example-01";
    const int64_t shape[] = {SIDE, SIDE};
    /* The group "reader" exists from the start: what is sent before it comes waits for it. */
    const struct slipring_group reader = {.name = "reader"};
    struct slipring_field field;
    struct slipring_config config;
    struct slipring_ring *ring;
    struct slipring_producer *producer;
    struct slipring_error error;

    int rc = slipring_field_init(&field, "image", "f4", 2, shape);
    if (rc < 0) {
        return failed("field", slipring_strerror(rc));
    }
    slipring_config_init(&config);
    config.slots = 64;
    config.fields = &field;
    config.field_count = 1;
    config.lasting = &reader;
    config.lasting_count = 1;
    config.flags = SLIPRING_VANISH; /* the name goes with the last process that has it open */

    if (slipring_ring_create(name, &config, &ring, &error) < 0) {
        return failed(error.call, error.text);
    }
    if (slipring_producer_attach(ring, NULL, &producer, &error) < 0) {
        slipring_ring_close(ring);
        return failed(error.call, error.text);
    }
    const int status = send_images(producer);
    if (status == EXIT_SUCCESS) {
        slipring_producer_close(producer); /* readers drain the ring, then are told it is over */
    } else {
        slipring_producer_detach(producer);
    }
    slipring_ring_close(ring);
    return status;
}
