/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames, newest first. The camera never waits (`overwrite`). A slow reader copies frames out of a
 * read-only mapping and is told what it missed; another holds its first frame in place to the end.
 *
 *     cc -std=c11 03_overwrite.c -o 03_overwrite $(pkg-config --cflags --libs slipring)
 *     ./03_overwrite
 */
#define _POSIX_C_SOURCE 200809L
#include <slipring/slipring.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 8, FRAME = 640 * 480, FRAMES = 400 };
#define PATIENCE_NS INT64_C(10000000000)
static const struct timespec frame_time = {.tv_nsec = 1000000}, work_time = {.tv_nsec = 7000000};

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "03_overwrite: %s: %s\n", what, why);
    return EXIT_FAILURE;
}

/* A whole frame has one colour; one torn by the camera would have two. */
static int whole(const unsigned char *frame, uint64_t sequence)
{
    return frame[0] == (unsigned char)sequence && memcmp(frame, frame + 1, FRAME - 1) == 0;
}

static int film(struct slipring_ring *ring)
{
    struct slipring_producer *producer;
    struct slipring_error error;
    struct slipring_loan loan;
    int rc = 0;
    if (slipring_producer_attach(ring, NULL, &producer, &error) < 0) {
        return failed(error.call, error.text);
    }
    for (int i = 0; i < FRAMES && rc == 0; i++) {
        rc = slipring_producer_try_claim(producer, 1, &loan);
        if (rc == 0) {
            memset(loan.data, (int)(loan.sequence & 0xff), FRAME);
            rc = slipring_producer_publish(producer, 1, NULL);
        }
        nanosleep(&frame_time, NULL);
    }
    slipring_producer_close(producer);
    return rc < 0 ? failed("film", slipring_strerror(rc)) : EXIT_SUCCESS;
}

static int watch(struct slipring_consumer *holder, struct slipring_consumer *copier)
{
    static unsigned char frame[FRAME];
    const int64_t deadline_ns = slipring_now_ns() + PATIENCE_NS;
    struct slipring_view held, view;
    uint64_t seen = 0, missed = 0;
    int rc = slipring_consumer_acquire(holder, 1, &held, deadline_ns);
    while (rc == 0 && !(rc = slipring_consumer_copy(copier, frame, FRAME, &view, deadline_ns))) {
        if (!whole(frame, view.slot.sequence)) {
            return failed("copy", "a torn frame");
        }
        seen++;
        missed += view.missed;
        nanosleep(&work_time, NULL);
    }
    if (rc != -EPIPE || seen + missed != FRAMES) {
        return failed("watch", rc != -EPIPE ? slipring_strerror(rc) : "frames do not add up");
    }
    const int changed = !whole(held.data, held.slot.sequence);
    rc = slipring_consumer_release(holder, &held); /* -ESTALE, had it been overwritten */
    if (rc < 0 || changed) {
        return failed("hold", changed ? "the held frame changed" : slipring_strerror(rc));
    }
    printf("03_overwrite: copied %d whole frames, told of %d missed; sequence %d stood still\n",
           (int)seen, (int)missed, (int)held.slot.sequence);
    return EXIT_SUCCESS;
}

int main(void)
{
    const struct slipring_consumer_config newest = {.struct_size = sizeof newest,
                                                    .flags = SLIPRING_NEWEST};
    struct slipring_config config;
    struct slipring_ring *ring, *mapped = NULL;
    struct slipring_consumer *holder = NULL, *copier = NULL;
    struct slipring_error error;
    int data_fd, control_fd, status, camera_status = 0;
    slipring_config_init(&config);
    config.full = SLIPRING_OVERWRITE;
    config.slots = SLOTS;
    config.slot_bytes = FRAME;
    if (slipring_ring_create(NULL, &config, &ring, &error) < 0) {
        return failed(error.call, error.text);
    }
    slipring_ring_fds(ring, &data_fd, &control_fd);
    if (slipring_ring_from_fds(data_fd, -1, &mapped, &error) < 0 || /* -1: map the data alone */
        slipring_consumer_attach(mapped, &newest, &copier, &error) < 0 ||
        slipring_consumer_attach(ring, NULL, &holder, &error) < 0) {
        status = failed(error.call, error.text);
    } else {
        const pid_t camera = fork();
        if (camera == 0) {
            exit(film(ring));
        }
        status = camera < 0 ? failed("fork", "no process left") : watch(holder, copier);
        if (camera > 0 && (waitpid(camera, &camera_status, 0) < 0 || camera_status != 0)) {
            status = EXIT_FAILURE;
        }
    }
    slipring_consumer_detach(holder);
    slipring_consumer_detach(copier);
    slipring_ring_close(mapped);
    slipring_ring_close(ring);
    return status;
}
