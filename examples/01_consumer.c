/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer's three calls: open a ring, attach to it, acquire slots; then read in place and
 * release. Reads the images of 01_producer as batches of up to 16, with no copy.
 *
 *     cc -std=c11 01_consumer.c -o 01_consumer $(pkg-config --cflags --libs slipring)
 *     ./01_consumer [NAME]     in one terminal,
 *     ./01_producer [NAME]     in another, within ten seconds, in either order
 */
#define _POSIX_C_SOURCE 200809L
#include <slipring/slipring.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BATCH = 16 };
#define PATIENCE_NS INT64_C(10000000000)

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "01_consumer: %s: %s\n", what, why);
    return EXIT_FAILURE;
}

/* A producer that has not been started yet leaves nothing to wait on, so look now and then. */
static int open_when_there(const char *name, struct slipring_ring **ring,
                           struct slipring_error *error)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    const int64_t deadline_ns = slipring_now_ns() + PATIENCE_NS;
    int rc = slipring_ring_open(name, 0, ring, error);
    while (rc == -ENOENT && slipring_now_ns() < deadline_ns) {
        nanosleep(&pause, NULL);
        rc = slipring_ring_open(name, 0, ring, error);
    }
    return rc;
}

/* A view of n slots is one tensor (n, 64, 64); the first pixel of an image is its number. */
static int check_batch(const struct slipring_consumer *consumer, const struct slipring_view *view)
{
    struct slipring_tensor tensor;
    const int rc = slipring_view_field(consumer, view, 0, &tensor);
    if (rc < 0) {
        return failed("field", slipring_strerror(rc));
    }
    const float *images = tensor.data;
    const uint64_t pixels = tensor.bytes / sizeof(float) / view->slots;
    for (uint64_t i = 0; i < view->slots; i++) {
        if (images[i * pixels] != (float)(view->slot.sequence + i)) {
            return failed("check", "an image is not the one expected");
        }
    }
    return EXIT_SUCCESS;
}

static int read_images(struct slipring_consumer *consumer)
{
    uint64_t images = 0, batches = 0;
    for (;;) {
        struct slipring_view view;
        int rc = slipring_consumer_acquire(consumer, BATCH, &view, slipring_now_ns() + PATIENCE_NS);
        if (rc == -EPIPE) {
            printf("01_consumer: read %llu images in %llu batches\n", (unsigned long long)images,
                   (unsigned long long)batches);
            return EXIT_SUCCESS;
        }
        if (rc < 0) {
            return failed("acquire", slipring_strerror(rc));
        }
        const int status = check_batch(consumer, &view);
        images += view.slots;
        batches++;
        rc = slipring_consumer_release(consumer, &view);
        if (rc < 0) {
            return failed("release", slipring_strerror(rc));
        }
        if (status != EXIT_SUCCESS) {
            return status;
        }
    }
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "example-01";
    struct slipring_consumer_config config;
    struct slipring_ring *ring;
    struct slipring_consumer *consumer;
    struct slipring_error error;

    if (open_when_there(name, &ring, &error) < 0) {
        return failed(error.call, error.text);
    }
    slipring_consumer_config_init(&config);
    config.group = "reader"; /* the producer keeps everything for it, from the first image on */
    if (slipring_consumer_attach(ring, &config, &consumer, &error) < 0) {
        slipring_ring_close(ring);
        return failed(error.call, error.text);
    }
    const int status = read_images(consumer);
    slipring_consumer_detach(consumer);
    slipring_ring_close(ring);
    return status;
}
